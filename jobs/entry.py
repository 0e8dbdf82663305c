"""The begin and end of every job: reads run.yaml, holds the artefact's lock, and turns errors into exit codes."""

import argparse
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.child import USER_EXIT_CODE
from jobs.code_parts import code_of
from jobs.faults.explain import explain
from jobs.faults.fault import Fault, write_fault
from jobs.faults.surroundings import Surroundings
from jobs.places.rings import rank_of
from jobs.planning import parents_of, settings_read, verify_artefact
from jobs.progress import Progress, silent
from jobs.rounds import APPLIES_TO
from jobs.settings import PROJECT, RunSettings, load
from jobs.stages import STAGES, Stage, river
from pipelines.locks import exclusive
from pipelines.manifest import File, Manifest, code_version, damaged, is_as_written, is_done, read, write
from pipelines.run_folder import RunFolder, progress_file
from pipelines.settings import UserError
from pipelines.store import Store

# The last line of the traceback in Spark's PythonException.
_RAISED_BY_EXECUTOR = re.compile(rf"^{UserError.__module__}\.{UserError.__name__}: (.+)$", re.MULTILINE)
_CODE = {"spark": "pipelines", "ranks": "training", "local": "jobs"}


@dataclass(frozen=True)
class JobContext:
    """The input of a job."""

    settings: RunSettings
    stage: Stage
    folder: Path  # of its artefact; what an interrupted attempt left may lie there
    parents: dict[str, Path]  # what the stage reads -> folder of its artefact; what is not part of the run is missing
    earlier: list[dict[str, Path]]  # of each earlier delivery, oldest first: kind -> folder of its artefact
    run_folder: Path  # runs/<name>
    rank: int  # 0 unless a launcher of ranks says otherwise
    progress: Callable[[int, int, str], None]  # done, total, text
    log: logging.Logger
    stages: Mapping[str, Stage] = field(default_factory=dict)  # of the run, by name, in their order
    code: Mapping[str, str] = field(default_factory=dict)  # part -> digest, when the job began

    @property
    def read(self) -> list[Path]:
        """The folders of all artefacts that the job reads, each once."""
        earlier = (folder for delivery in self.earlier for folder in delivery.values())
        return list(dict.fromkeys([*self.parents.values(), *earlier]))

    @property
    def instance(self) -> str:
        """The instance of the stage that is done, of several; "" = it is done once."""
        return self.stage.instance

    def say_waiting(self, holder: str) -> None:
        """Log who builds the artefact now; called as `exclusive` waits."""
        self.log.warning("waiting for %s, which builds %s", holder, self.folder)

    def finish(
        self,
        *,
        counts: dict[str, int],
        files: Sequence[File],
        summary: str = "",
        facts: dict[str, Any] | None = None,
        measured: Sequence[str] = (),
    ) -> None:
        """Write the manifest: from here on the artefact exists, so this is the last line of a job, by rank 0.

        Args:
            counts: what the input came to; the driver shows them.
            files: from ``manifest.describe``.
            summary: the stage in a line, for the screen; without one the counts are shown.
            measured: names of further files in the folder, which hold times and so differ with each attempt.
        """
        assert self.stage.makes is not None, "a stage without a kind makes no artefact"
        manifest = Manifest(
            kind=self.stage.makes,
            fingerprint=self.settings.fingerprints[self.stage.name],
            parents=parents_of(self.settings, self.stages, self.stage),
            settings=settings_read(self.settings, self.stage),
            code_version=code_version(PROJECT / _CODE[self.stage.launcher]),
            code=dict(self.code),
            counts=counts,
            files=tuple(files),
            facts=facts or {},
            measured=tuple(measured),
        )
        if summary:
            self.progress(1, 1, summary)
        write(self.folder, manifest)


def run_job(
    name: str,
    work: Callable[[JobContext], None],
    *,
    argv: Sequence[str] | None = None,
    stages: Sequence[Stage] = STAGES,
    model: type[RunSettings] = RunSettings,
) -> int:
    """Do a stage's work if its artefact is due; return the exit code: 0 done, 2 the user's mistake, 1 ours.

    The artefacts that it reads are verified before, so that damaged ones are named and never used.

    Every rank calls it; the ranks find out together whether there is work (`jobs.rank_work`). The work finds its folder
    as an earlier attempt left it, and ends with ``context.finish``.

    Args:
        model: of the run.yaml, where it has further sections.
    """
    parser = argparse.ArgumentParser(prog=f"python -m jobs.{name}")
    parser.add_argument("--run", type=Path, required=True, metavar="RUN_YAML", help="written by `ringmill run`")
    parser.add_argument("--stage", help=f"its name in the run, such as {name}-2 in the second round; else the first")
    arguments = parser.parse_args(argv)
    path: Path = arguments.run
    launcher = next(stage.launcher for stage in stages if stage.verb == name)
    context: JobContext | None = None
    log = logging.getLogger(f"jobs.{name}")
    stage_log = RunFolder(path.parent).log(arguments.stage or name)
    settings, rank = None, 0
    try:
        settings = load(path, model)
        rank = rank_of(settings.place, os.environ) if launcher == "ranks" else 0
        _set_up_logging(launcher, rank)
        run = river(settings, stages)
        stage = arguments.stage or next((one.name for one in run if one.verb == name), name)
        # The folder of the file and not that of its settings, which is another where a run folder was copied.
        folder = RunFolder(path.absolute().parent)
        stage_log = folder.log(stage)
        context = _context(settings, stage, run, folder, rank=rank)
        _work_alone(context, work)
    except Exception as error:
        fault = _explain(error, context, settings, launcher)
        if not fault.is_users:
            log.exception("%s failed", name)
            fault = replace(fault, line=f"rank {rank}: {fault.line}") if launcher == "ranks" else fault
        print(f"ringmill: {fault.line}", file=sys.stderr)
        _keep(stage_log, fault)
        return USER_EXIT_CODE if fault.is_users else 1
    return 0


def _explain(error: Exception, context: JobContext | None, settings: RunSettings | None, launcher: str) -> Fault:
    users = error if isinstance(error, UserError) else _named(context, error)
    if users is not None:
        return Fault(True, str(users))
    if settings is None:
        return Fault(False, f"{type(error).__name__}: {error}")
    return explain(error, Surroundings.of(settings, launcher))


def _work_alone(context: JobContext, work: Callable[[JobContext], None]) -> None:
    if context.stage.makes is None or context.stage.launcher == "ranks":
        work(context)
        return
    with exclusive(context.folder, by=f"run {context.settings.name}", on_wait=context.say_waiting):
        if not is_done(context.folder):
            work(context)


def _context(
    settings: RunSettings, name: str, stages: Sequence[Stage], run_folder: RunFolder, *, rank: int
) -> JobContext:
    by_name = {stage.name: stage for stage in stages}
    if name not in by_name:
        wanted = next((one for one in STAGES if one.verb == re.split(r"[.-]", name)[0]), None)
        runs = APPLIES_TO.get(wanted.applies) if wanted else None
        why = f", which only some runs have: {runs}" if runs else ""
        raise UserError(f"the run {settings.name} has no stage {name}{why}; it has {', '.join(by_name)}")
    stage = by_name[name]
    missing = {name, *stage.lineage.values()} - settings.fingerprints.keys()
    if missing:
        raise UserError(f"the run.yaml names no artefact of {', '.join(sorted(missing))}; freeze it by `ringmill run`")
    prints = settings.fingerprints
    parents = {key: _finished(settings, by_name[parent], prints[parent]) for key, parent in stage.lineage.items()}
    makers = {one.makes: one for one in stages if one.round == 1}
    earlier = [
        {kind: _finished(settings, makers[kind], delivery.fingerprints[kind]) for kind in stage.earlier}
        for delivery in settings.earlier
    ]
    log = run_folder.log(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    return JobContext(
        settings=settings,
        stage=stage,
        folder=run_folder.path if stage.makes is None else _folder(settings, stage, prints[name]),
        parents=parents,
        earlier=earlier,
        run_folder=run_folder.path,
        rank=rank,
        progress=Progress(progress_file(log)) if rank == 0 else silent,
        log=logging.getLogger(f"jobs.{stage.verb}"),
        stages=by_name,
        code=code_of(stage.job) if rank == 0 else {},
    )


def _finished(settings: RunSettings, stage: Stage, mark: str) -> Path:
    folder = _folder(settings, stage, mark)
    if stage.makes is not None:
        if not is_done(folder):
            raise UserError(f"{folder} is no finished artefact, and is to be read; run the stage {stage.name} first")
        verify_artefact(settings, stage.makes, mark)
    return folder


def _named(context: JobContext | None, error: Exception) -> UserError | None:
    """The mistake or the damage behind an error that came through a library, such as from an executor of Spark's."""
    text = str(error)
    if raised := _RAISED_BY_EXECUTOR.search(text):
        return UserError(raised[1])
    for folder in context.read if context is not None else ():
        for file in read(folder).files:
            is_mentioned = f"{folder.parent.name}/{folder.name}/{file.path}" in text
            if is_mentioned and not is_as_written(folder / file.path, file):
                return damaged(folder, file.path)
    return None


def _folder(settings: RunSettings, stage: Stage, mark: str) -> Path:
    return settings.folder if stage.makes is None else Store(settings.store).folder(stage.makes, mark)


def _set_up_logging(launcher: str, rank: int) -> None:
    prefix = f"rank {rank} " if launcher == "ranks" else ""
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING,
        format=f"%(asctime)s {prefix}%(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )


def _keep(stage_log: Path, fault: Fault) -> None:
    if stage_log.parent.is_dir():
        write_fault(stage_log, fault)
