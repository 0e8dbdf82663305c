"""A run folder and its artefacts -> report.html: one file, no network, nothing in it that could run."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2

from pipelines.manifest import write_atomically
from pipelines.records import IDENTITY
from pipelines.run_folder import METRICS_NAME, REPORT_NAME
from training.report.artefact import Artefact, open_artefact
from training.report.broken import broken_parts
from training.report.curves import Row, identity_chart, read_metrics, result_charts, training_charts
from training.report.funnel import Funnel, measure_funnel
from training.report.gallery import build_galleries
from training.report.kept import kept_records
from training.report.lineage import Run, origins, read_run
from training.report.merges import closest_merges
from training.report.rounds import compare_rounds, read_result
from training.report.variance import LARGE_SHARE, MEASURED, spreads
from training.tasks.result import Format, Result, shown

KINDS = ("records", "references", "pairs", "scores", "decisions", "dataset", "model", "evaluation")


@dataclass(frozen=True)
class Figure:
    """A number that stands at the head of the page."""

    label: str
    value: str
    note: str = ""


def build_report(
    run_folder: Path,
    artefacts: dict[str, Path],
    *,
    rounds: Sequence[dict[str, Path]] = (),
    earlier_records: Sequence[Path] = (),
    made: Mapping[str, Path] | None = None,
) -> Path:
    """Write the report of a run, as far as the run has come, and return its path.

    Args:
        artefacts: kind (one of KINDS) -> folder, of the last round; a kind that is missing is shown as not yet run.
        rounds: the same of every round, where there is more than one.
        earlier_records: the records of the deliveries that the run extends.
        made: name of a stage -> folder of its artefact, of every stage of the run; None = `artefacts` are all.

    Raises:
        UserError: a folder holds no finished artefact.
    """
    assert set(artefacts) <= set(KINDS), f"unknown kinds among {sorted(artefacts)}"
    earlier = {"records": earlier_records}
    opened = {kind: open_artefact(artefacts[kind], earlier.get(kind, ())) for kind in KINDS if kind in artefacts}
    content = {
        **_content(run_folder, opened),
        "rounds": compare_rounds(rounds) if len(rounds) > 1 else [],
        "origins": origins(opened if made is None else {name: open_artefact(folder) for name, folder in made.items()}),
    }
    page = _environment().get_template("page.html").render(content)
    path = run_folder / REPORT_NAME
    write_atomically(path, page.encode())
    return path


def _content(run_folder: Path, artefacts: dict[str, Artefact]) -> dict[str, Any]:
    """What the template shows; a section that has not been run is None."""
    records, decisions, dataset = (artefacts.get(kind) for kind in ("records", "decisions", "dataset"))
    run = read_run(run_folder)
    metrics = read_metrics(run_folder / METRICS_NAME)
    funnel = measure_funnel(records, decisions, dataset) if records else None
    result = read_result(artefacts["evaluation"]) if "evaluation" in artefacts else None
    return {
        "run": run,
        "figures": [
            *_data_figures(funnel),
            *_training_figures(dataset, metrics),
            *_result_figures(result),
            *_time(run),
        ],
        "funnel": funnel,
        "search": artefacts["pairs"].manifest.facts["near_duplicates"] if "pairs" in artefacts else None,
        "broken": broken_parts(records) if records else None,
        "is_trained": "model" in artefacts,
        "num_epochs": 1 + max((row["epoch"] for row in metrics if "epoch" in row), default=-1),
        "merges": closest_merges(records, decisions, artefacts["scores"])
        if records and decisions and "scores" in artefacts
        else None,
        "galleries": build_galleries(records, decisions) if records and decisions else None,
        "spreads": spreads(kept_records(records, decisions, [IDENTITY, *MEASURED])) if records and decisions else None,
        "large_share": LARGE_SHARE,
        "identities": identity_chart(dataset) if dataset else None,
        "training": training_charts(metrics),
        "result": result,
        "result_charts": result_charts(result) if result else [],
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": "{:,}".format,
        "percent": _percent,
        "duration": duration,
        "size": _size,
        "number": _number,
        "cell": _cell,
    }
    return environment


def _data_figures(funnel: Funnel | None) -> list[Figure]:
    if funnel is None:
        return []
    raw = Figure("pictures in", f"{funnel.raw:,}", f"{funnel.raw - funnel.decoded:,} unreadable")
    if funnel.decided is None:
        return [raw]
    return [raw, Figure("kept", f"{funnel.kept:,}", f"{_percent(funnel.kept / max(1, funnel.raw))} of them")]


def _training_figures(dataset: Artefact | None, metrics: list[Row]) -> list[Figure]:
    figures = []
    if dataset:
        train = dataset.manifest.facts["splits"]["train"]
        figures.append(Figure("identities", f"{train['classes']:,}", f"{train['rows']:,} training pictures"))
    steps = [row for row in metrics if "loss" in row]
    if steps:
        speed = statistics.median(row["images_per_second"] for row in steps)
        waited = sum(row["feed_wait_seconds"] for row in steps) / max(1e-9, sum(row["step_seconds"] for row in steps))
        figures.append(Figure("images/s", f"{speed:,.0f}", f"{_percent(waited)} waiting for the feed"))
    bad_rows = max((row["bad_rows"] for row in metrics if "bad_rows" in row), default=0)
    if bad_rows:
        figures.append(Figure("bad pictures", f"{bad_rows:,}", "met in an epoch, others shown instead; see logs"))
    return figures


def _result_figures(result: Result | None) -> list[Figure]:
    if result is None:
        return []
    measured = [(one, one.value) for one in map(result.figures.__getitem__, result.headline) if one.value is not None]
    spreads = ["" if one.spread is None else f"± {shown(one.spread, one.format)}" for one, _ in measured]
    return [
        Figure(one.label, shown(value, one.format), ", ".join(filter(None, (spread, one.note))))
        for (one, value), spread in zip(measured, spreads, strict=True)
    ]


def _time(run: Run) -> list[Figure]:
    return [Figure("in all", duration(run.seconds), f"{len(run.stages)} stages")] if run.stages else []


def duration(seconds: float) -> str:
    """A time for people: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if share > 0.9 else f"{100 * share:.1f} %"


def _cell(value: float | str | None, style: Format | Literal["text"]) -> str:
    """A value of a table of a result."""
    if value is None:
        return "not measurable"
    return str(value) if isinstance(value, str) or style == "text" else shown(value, style)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _size(num_bytes: int) -> str:
    power = min(4, max(0, (num_bytes.bit_length() - 1) // 10))
    return f"{num_bytes / 1024**power:.3g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
