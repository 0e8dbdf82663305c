"""The whole command lines stand in tests/golden/launch.txt."""

import itertools
from pathlib import Path

from jobs.places.settings import LocalSettings
from jobs.places.spark import submit_locally


def test_a_setting_of_the_user_outweighs_our_own() -> None:
    settings = LocalSettings(spark_conf={"spark.log.level": "INFO", "spark.ui.enabled": "true"})
    argv = submit_locally(settings, Path("/venv/bin/python"), Path("/x.py"), ["--run", "y"]).argv
    confs = [word for before, word in itertools.pairwise(argv) if before == "--conf"]
    assert "spark.log.level=INFO" in confs
    assert "spark.ui.enabled=true" in confs
    assert len({conf.partition("=")[0] for conf in confs}) == len(confs)
    assert argv[-3:] == ("/x.py", "--run", "y")
