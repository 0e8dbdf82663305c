"""From a stage and a place to the command that runs it."""

from pathlib import Path

from jobs.places.place import Command, Place
from jobs.stages import Stage


def command(stage: Stage, place: Place, run_yaml: Path, *, project: Path) -> Command:
    """The command of one stage.

    Args:
        project: the folder that holds jobs/.
    """
    # The name says which round and instance; without it the job does the first.
    which = () if stage.name == stage.verb else ("--stage", stage.name)
    arguments = ("--run", str(run_yaml), *which)
    if stage.launcher == "spark":
        return place.spark_command(project / f"{stage.job.replace('.', '/')}.py", arguments)
    start = {"ranks": place.ring_command, "local": place.local_command}[stage.launcher]
    return start(stage.job, arguments)
