"""The table of libraries against pyproject.toml, and each kind of machine without the libraries of the other."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from jobs import cli
from jobs.stages import STAGES
from pipelines.requirements import EXTRAS, INSTALL, missing_library
from pipelines.settings import UserError

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

WITHOUT = """
import importlib, importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def distributions(requirements: list[str]) -> set[str]:
    return {re.match(r"[A-Za-z0-9_-]+", line)[0].lower().replace("_", "-") for line in requirements}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_table_names_a_module_of_each_requirement_of_an_extra_and_no_other(extra: str) -> None:
    installed = packages_distributions()
    found = {name.lower().replace("_", "-") for module in EXTRAS[extra] for name in installed[module]}
    always = distributions(PROJECT["dependencies"])
    assert found - always == distributions(PROJECT["optional-dependencies"][extra])


def python_without(absent: set[str], code: str) -> subprocess.CompletedProcess[str]:
    script = WITHOUT.format(absent=absent) + code
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize(("launcher", "extra"), [("spark", "train"), ("ranks", "spark")])
def test_the_jobs_of_one_kind_of_machine_need_no_library_of_the_other(launcher: str, extra: str) -> None:
    own = EXTRAS["spark" if launcher == "spark" else "train"]
    absent = set(EXTRAS[extra]) - set(own) | {"petastorm", "horovod"}
    jobs = sorted({stage.job for stage in STAGES if stage.launcher == launcher})
    done = python_without(absent, f"for job in {jobs!r}: importlib.import_module(job)")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("absent", "line"),
    [
        ("pyspark", "ringmill: pyspark is not installed; run `pip install 'ringmill[spark]'`\n"),
        ("torch", "ringmill: torch is not installed; run `pip install 'ringmill[train]'`\n"),
    ],
)
def test_a_command_that_needs_a_missing_library_says_how_to_install_it(absent: str, line: str) -> None:
    code = f"import jobs.cli; jobs.cli.app.command('need')(lambda: __import__('{absent}')); "
    done = python_without({absent}, code + "sys.exit(jobs.cli.main(['need']))")
    assert (done.returncode, done.stderr) == (2, line)


def test_a_plan_needs_no_heavy_library() -> None:
    code = "import jobs.cli; sys.exit(jobs.cli.main(['plan', '--images', '1000']))"
    done = python_without({"petastorm", "horovod", "pyspark", "torch"}, code)
    assert done.returncode == 0, done.stderr


def test_a_library_that_nothing_here_installs_stays_a_fault_of_ours() -> None:
    error = ModuleNotFoundError("No module named 'jobs.gone'", name="jobs.gone")
    assert missing_library(error) is error
    assert isinstance(missing_library(ModuleNotFoundError(name="petastorm.reader")), UserError)


def test_the_commands_exist() -> None:
    own = {command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    for command in set(INSTALL.values()):
        if command.startswith("ringmill "):
            assert command.removeprefix("ringmill ") in own
        else:
            assert re.search(r"\[(.*)\]", command)[1] in PROJECT["optional-dependencies"]
