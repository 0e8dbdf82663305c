"""The command lines, against tests/golden/launch.txt; RINGMILL_GOLDEN=write writes it again."""

import os
import shlex
from pathlib import Path

from jobs.launch import command
from jobs.places.place import open_place
from jobs.places.settings import ClusterSettings, LocalSettings, SingleSettings, TorchrunSettings
from jobs.stages import STAGES

GOLDEN = Path(__file__).parents[1] / "golden" / "launch.txt"

PLACES = {
    "local": LocalSettings(),
    "single": SingleSettings(),
    "torchrun": TorchrunSettings(threads_per_rank=4),
    "cluster": ClusterSettings(
        master="spark://head:7077",
        hosts="a:4,b:4",
        ranks=6,
        executor_memory="16g",
        spark_conf={"spark.executor.cores": "4"},
    ),
}


def written_out() -> str:
    lines = []
    for name, settings in PLACES.items():
        place = open_place(settings, python=Path("/venv/bin/python"))
        for stage in (stage for stage in STAGES if stage.verb in ("ingest", "train", "report")):
            what = command(stage, place, Path("runs/x/run.yaml"), project=Path("/mill"))
            env = [f"{key}={value}" for key, value in sorted(what.env.items())]
            lines.append(f"{name} {stage.name}: {' '.join(env)} {shlex.join(what.argv)}")
    return "\n".join(lines) + "\n"


def test_the_command_lines_are_the_golden_ones() -> None:
    if os.environ.get("RINGMILL_GOLDEN") == "write":
        GOLDEN.write_text(written_out())
    assert written_out() == GOLDEN.read_text()
