"""How every job begins and ends: reads run.yaml, holds the artefact's lock, and turns errors into exit codes."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.child import USER_EXIT_CODE, Fault, write_fault
from jobs.progress import Progress, progress_file, silent
from jobs.settings import PROJECT, RunSettings, load
from jobs.stages import STAGES, Stage, artefact_folder, settings_read
from pipelines.manifest import File, Manifest, code_version, exclusive, is_done, write
from pipelines.settings import UserError

_CODE = {"spark": "pipelines", "ranks": "training", "local": "jobs"}


@dataclass(frozen=True)
class JobContext:
    """What a job is given."""

    settings: RunSettings
    stage: Stage
    folder: Path  # of its artefact; what an interrupted attempt left may lie there
    parents: dict[str, Path]  # stage -> folder of its artefact
    run_folder: Path  # runs/<name>
    rank: int  # 0 unless a launcher of ranks says otherwise
    progress: Callable[[int, int, str], None]  # done, total, text; the last text is the stage's summary
    log: logging.Logger

    def finish(self, *, counts: dict[str, int], files: Sequence[File], facts: dict[str, Any] | None = None) -> None:
        """Write the manifest, by rank 0 and after everything else: from here on the artefact exists.

        Args:
            counts: what the input came to; the driver shows them.
            files: from ``manifest.describe``.
        """
        assert self.stage.kind is not None, "a stage without a kind makes no artefact"
        manifest = Manifest(
            kind=self.stage.kind,
            fingerprint=self.settings.fingerprints[self.stage.name],
            parents={name: self.settings.fingerprints[name] for name in self.stage.parents},
            settings=settings_read(self.settings, self.stage),
            code_version=code_version(PROJECT / _CODE[self.stage.launcher]),
            counts=counts,
            files=tuple(files),
            facts=facts or {},
        )
        write(self.folder, manifest)


def run_job(
    name: str,
    work: Callable[[JobContext], None],
    *,
    argv: Sequence[str] | None = None,
    stages: Sequence[Stage] = STAGES,
) -> int:
    """Do a stage's work if its artefact is due; return the exit code: 0 done, 2 the user's mistake, 1 ours.

    Every rank calls it. The work finds its folder as an earlier attempt left it, and ends with ``context.finish``.
    """
    parser = argparse.ArgumentParser(prog=f"python -m jobs.{name}")
    parser.add_argument("--run", type=Path, required=True, metavar="RUN_YAML", help="written by `ringmill run`")
    path: Path = parser.parse_args(argv).run
    stage = next(stage for stage in stages if stage.name == name)
    rank = _rank(stage)
    _set_up_logging(stage, rank)
    log = logging.getLogger(f"jobs.{name}")
    stage_log = path.parent / "logs" / f"{name}.log"
    try:
        settings = load(path)
        stage_log = settings.log_file(name)
        context = _context(settings, stage, stages, rank=rank)
        _work_alone(context, work)
    except UserError as error:
        print(f"ringmill: {error}", file=sys.stderr)
        _keep(stage_log, Fault(True, str(error)))
        return USER_EXIT_CODE
    except Exception as error:
        log.exception("%s failed", name)
        _keep(stage_log, Fault(False, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"))
        return 1
    return 0


def _work_alone(context: JobContext, work: Callable[[JobContext], None]) -> None:
    if context.stage.kind is None:
        work(context)
        return
    if is_done(context.folder):
        return
    if context.rank != 0:
        work(context)
        return
    with exclusive(context.folder, on_wait=lambda: context.log.info("waiting for another process that builds this")):
        if not is_done(context.folder):
            work(context)
        elif context.stage.launcher == "ranks":
            # The other ranks looked before it was finished, and wait for this one.
            raise UserError(f"{context.folder} was finished by another process meanwhile; nothing is left to do")


def _context(settings: RunSettings, stage: Stage, stages: Sequence[Stage], *, rank: int) -> JobContext:
    missing = {stage.name, *stage.parents} - settings.fingerprints.keys()
    if missing:
        raise UserError(f"the run.yaml names no artefact of {', '.join(sorted(missing))}; freeze it by `ringmill run`")
    by_name = {other.name: other for other in stages}
    folders = {
        parent: artefact_folder(settings, by_name[parent], settings.fingerprints[parent]) for parent in stage.parents
    }
    for parent, folder in folders.items():
        if by_name[parent].kind is not None and not is_done(folder):
            raise UserError(
                f"{folder} is no finished artefact, and {stage.name} reads it; run the stage {parent} first"
            )
    log = settings.log_file(stage.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    return JobContext(
        settings=settings,
        stage=stage,
        folder=artefact_folder(settings, stage, settings.fingerprints[stage.name]),
        parents=folders,
        run_folder=settings.folder,
        rank=rank,
        progress=Progress(progress_file(log)) if rank == 0 else silent,
        log=logging.getLogger(f"jobs.{stage.name}"),
    )


def _rank(stage: Stage) -> int:
    if stage.launcher != "ranks":
        return 0
    # horovodrun's word and torchrun's; none of the two is one rank alone.
    return int(os.environ.get("HOROVOD_RANK") or os.environ.get("RANK") or 0)


def _set_up_logging(stage: Stage, rank: int) -> None:
    prefix = f"rank {rank} " if stage.launcher == "ranks" else ""
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING,
        format=f"%(asctime)s {prefix}%(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )


def _keep(stage_log: Path, fault: Fault) -> None:
    if stage_log.parent.is_dir():
        write_fault(stage_log, fault)
