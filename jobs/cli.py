"""The command `ringmill`: run, plan, status, report, evaluate, sample, install, pack."""

import os
import subprocess
import sys
import tempfile
import traceback
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from typer.exceptions import TyperException

from jobs.child import USER_EXIT_CODE, run_command
from jobs.cost import Forecast, forecast
from jobs.deliveries import with_deliveries
from jobs.distributions import Side
from jobs.faults.surroundings import Surroundings
from jobs.heads import device_gib, head_size, head_table, identities_of
from jobs.launch import command
from jobs.listeners.screen import Screen
from jobs.pack import pack, usage
from jobs.places.place import open_place
from jobs.places.settings import PlaceSettings
from jobs.planning import PlannedStage, hypothetical
from jobs.run import PYTHON, StageFailedError, drive, plan_run
from jobs.settings import PROJECT, compose, load
from jobs.stages import STAGES
from jobs.wording import size_of
from pipelines.requirements import missing_library
from pipelines.run_folder import SETTINGS_NAME, RunFolder, RunState, named_folder
from pipelines.settings import UserError
from pipelines.sources.listing import SourceListing

INTERRUPTED_EXIT_CODE = 130

app = typer.Typer(no_args_is_help=True, add_completion=False)

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="such as source.path=/faces system=arcface")
]
Runs = Annotated[Path, typer.Option(help="folder of the run folders")]
Cache = Annotated[Path, typer.Option(help="folder in which compiled wheels are kept")]


def _show_version(is_asked_for: bool) -> None:
    if is_asked_for:
        print(f"ringmill {version('ringmill')}")
        raise typer.Exit


@app.callback()
def ringmill(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="show the version")
    ] = False,
) -> None:
    """Raw photographs to a dataset to a model."""


@app.command()
def run(overrides: Overrides = None) -> None:
    """Run every stage that is due, and say where the report is."""
    settings = compose(overrides or [])
    console = Console()
    with Screen(console) as screen:
        report_path = drive(settings, [screen])
    console.print(f"report: {report_path}", soft_wrap=True, highlight=False)


@app.command()
def plan(
    overrides: Overrides = None,
    images: Annotated[float | None, typer.Option(help="plan for so many pictures that need not be here")] = None,
    image_bytes: Annotated[float, typer.Option(help="mean bytes of each of them")] = 7_000,
    image_px: Annotated[float | None, typer.Option(help="mean side in pixels; else estimated from the bytes")] = None,
    identities: Annotated[float | None, typer.Option(min=1, help="whose heads to compare; else the dataset's")] = None,
    room_gib: Annotated[
        float | None, typer.Option("--device-gib", min=0, help="memory of a rank's device; else that of a GPU here")
    ] = None,
) -> None:
    """Show the stages, which of them are due, and what they will cost; nothing is run."""
    if images is None:
        settings = with_deliveries(compose(overrides or []))
        planned = plan_run(settings)
    else:
        settings = compose(["source.path=not-here", *(overrides or [])])
        listing = SourceListing(round(images), round(images * image_bytes), digest="", is_exact=False)
        planned = plan_run(settings, hypothetical(listing))
    console = Console()
    console.print(_plan_table(planned, forecast(settings, planned, image_px=image_px), settings.place))
    for one in planned:
        if one.other_code:
            console.print(f"{one.name}: cached, {one.other_code}", soft_wrap=True, highlight=False, markup=False)
    for one in planned:
        note = one.listing.passed_over.note() if one.listing else ""
        if note:
            console.print(f"{one.name}: {note}", soft_wrap=True, highlight=False, markup=False)
    num_identities = identities_of(planned) if identities is None else round(identities)
    if num_identities is not None:
        room_gib = device_gib() if room_gib is None else room_gib
        console.print(head_table(head_size(settings, num_identities), room_gib))


@app.command()
def status(name: Annotated[str, typer.Argument(help="of the run")] = "default", runs: Runs = Path("runs")) -> None:
    """Show what became of the stages of a run."""
    state = named_folder(runs, name).read_state()
    if state is None:
        raise UserError(f"there is no run {name} in {runs}; {_known_runs(runs)}")
    # By the name of the folder: that of the record is another where the folder was copied.
    Console().print(_status_table(state.model_copy(update={"name": name})))


@app.command()
def report(name: Annotated[str, typer.Argument(help="of the run")] = "default", runs: Runs = Path("runs")) -> None:
    """Write the report of a run again."""
    folder = named_folder(runs.absolute(), name)
    if not folder.settings.is_file():
        raise UserError(f"there is no run {name} in {runs}; {_known_runs(runs)}")
    _run_report(folder)
    Console().print(f"report: {folder.report}", soft_wrap=True, highlight=False, markup=False)


@app.command()
def evaluate(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL_FOLDER] [KEY=VALUE]...", help="such as store/model/abc pairs=bin path=lfw.bin"),
    ] = None,
    run_name: Annotated[str | None, typer.Option("--run", help="whose set, dataset and (unless given) model")] = None,
    set_name: Annotated[str | None, typer.Option("--set", help="of that run's evaluate.sets")] = None,
    out: Annotated[Path | None, typer.Option(help="file to write the result to, as JSON")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Judge a finished model on any set; pairs=val also needs dataset=FOLDER."""
    from jobs.judge import figure_table, judge, question_of, question_of_run, write_result

    folder, assignments = _model_and_settings(arguments or [])
    if run_name is not None:
        question = question_of_run(named_folder(runs, run_name).path, set_name, assignments, model=folder)
    elif folder is None or set_name is not None:
        raise UserError("name the folder of a model, or a run by --run and one of its sets by --set")
    else:
        question = question_of(folder, assignments)
    result = judge(question)
    console = Console()
    console.print(result.about, soft_wrap=True, highlight=False, markup=False)
    console.print(figure_table(result))
    if out is not None:
        write_result(out, result)


@app.command()
def sample(
    out: Annotated[Path, typer.Argument(help="folder to draw into")],
    identities: Annotated[int, typer.Option(help="people")] = 60,
    photos: Annotated[int, typer.Option(help="clean photos of each")] = 20,
    seed: Annotated[int, typer.Option()] = 0,
    processes: Annotated[int, typer.Option(help="that draw")] = 1,
) -> None:
    """Draw a sample set of faces with planted faults, and its truth."""
    from jobs.sample import draw

    draw(out, identities=identities, photos=photos, seed=seed, processes=processes)


@app.command()
def install(cache: Cache = Path("~/.cache/ringmill/wheels")) -> None:
    """Install Petastorm, and Horovod compiled against the installed torch, which pip cannot install beside it."""
    script = Path(__file__).with_name("install_ring.sh")
    done = subprocess.run(["bash", str(script), sys.executable, str(cache.expanduser())])
    if done.returncode:
        raise typer.Exit(done.returncode)


@app.command("pack")
def pack_environment(
    out: Annotated[Path, typer.Argument(help="archive to write, such as environment.tar.gz")],
    side: Annotated[Side, typer.Option("--for", help="executors need no torch, ranks no Spark")] = Side.ALL,
    python: Annotated[Path | None, typer.Option(help="the interpreter's path on the hosts; else as here")] = None,
) -> None:
    """Pack this environment for Spark's executors and hosts of ranks, and show the lines that use it."""
    console = Console()
    with console.status("packing"):
        packed = pack(out, side=side, python=python)
    size = f"{size_of(packed.num_bytes)}, {packed.num_files:,} files, {packed.num_left_out:,} distributions left out"
    need = f"hosts need Python {packed.version} as {packed.python}; for another path pack with --python"
    lines = [f"{packed.path}: {size}", need, usage(packed)]
    console.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)


def main(argv: list[str] | None = None) -> int:
    """The console script; the exit code is 0, 2 for a mistake of the user's, 1 for ours."""
    try:
        # Typer turns Ctrl-C and Exit into a returned exit code; a command that went well returns nothing.
        code = app(args=argv, prog_name="ringmill", standalone_mode=False) or 0
        if code == INTERRUPTED_EXIT_CODE:
            return _say("stopped; the same command goes on from here", code)
        return int(code)
    except TyperException as error:
        return _say(f"{error.format_message().rstrip(chr(46))}; see `ringmill --help`", USER_EXIT_CODE)
    except Exception as error:
        return _say_why(missing_library(error) if isinstance(error, ModuleNotFoundError) else error)


def _say_why(error: Exception) -> int:
    if isinstance(error, UserError):
        return _say(str(error), USER_EXIT_CODE)
    if isinstance(error, StageFailedError):
        return _say(str(error), 1)
    handle, log = tempfile.mkstemp(prefix="ringmill-", suffix=".log")
    with os.fdopen(handle, "w") as stream:
        traceback.print_exception(error, file=stream)
    return _say(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}; see {log}", 1)


def _say(line: str, code: int) -> int:
    print(f"ringmill: {line}", file=sys.stderr)
    return code


def _model_and_settings(arguments: list[str]) -> tuple[Path | None, list[str]]:
    if arguments and ("=" not in arguments[0] or Path(arguments[0]).is_dir()):
        return Path(arguments[0]), arguments[1:]
    return None, arguments


def _known_runs(runs: Path) -> str:
    names = sorted(path.parent.name for path in runs.glob(f"*/{SETTINGS_NAME}"))
    return f"there are {', '.join(names)}" if names else "`ringmill run` makes one"


def _run_report(folder: RunFolder) -> None:
    stage, settings = STAGES[-1], load(folder.settings)
    log = folder.log(stage.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    place = open_place(settings.place, python=PYTHON)
    what = command(stage, place, folder.settings, project=PROJECT)
    fault = run_command(place, what, log, around=Surroundings.of(settings, stage.launcher))
    if fault is not None:
        raise UserError(fault.line) if fault.is_users else StageFailedError(f"report failed: {fault.line}; see {log}")


def _plan_table(planned: list[PlannedStage], expected: dict[str, Forecast], place: PlaceSettings) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("stage", ""):
        table.add_column(title)
    for title in ("images", "bytes", "tasks", "time"):
        table.add_column(title, justify="right")
    table.add_column("folder", overflow="fold")
    for one in planned:
        cost = expected[one.name]
        state = ("cached*" if one.other_code else "cached") if one.is_done else "due"
        size = "" if cost.num_bytes is None else size_of(cost.num_bytes)
        tasks = "" if cost.tasks is None else f"{cost.tasks:,}"
        table.add_row(
            one.name, state, f"{cost.images:,}", size, tasks, _time(cost), "" if one.folder is None else str(one.folder)
        )
    table.caption = (
        f"images and bytes are at most; on {place.num_cores:,} cores of Spark and {place.num_ranks:,} ranks, "
        "~ as earlier runs went, ? as one core of a server and one of its cores as a rank would"
    )
    return table


def _time(cost: Forecast) -> str:
    if not cost.seconds:
        return ""
    return f"{'~' if cost.is_measured else '?'} {timedelta(seconds=round(cost.seconds))}"


def _status_table(state: RunState) -> Table:
    died = state.status == "running" and not state.is_alive
    table = Table(
        box=None, pad_edge=False, title=f"{state.name}: {'died' if died else state.status}", title_justify="left"
    )
    for title in ("stage", "state", "seconds", "attempts", "summary"):
        table.add_column(title, justify="right" if title in ("seconds", "attempts") else "left")
    for name, stage in state.stages.items():
        attempts = str(stage.attempts) if stage.attempts else ""
        table.add_row(name, stage.status, f"{stage.seconds:.1f}" if stage.seconds else "", attempts, stage.summary)
    return table
