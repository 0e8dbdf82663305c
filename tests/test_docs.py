"""Every command in the documents can be given as it stands, and every link and path in them leads somewhere."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.exceptions import TyperException
from typer.main import get_command

from jobs.cli import app
from jobs.preflight import check_batch, check_objective
from jobs.settings import CONF, compose
from pipelines.settings import UserError

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]
SYSTEMS = sorted((CONF / "system").glob("*.yaml"))  # their comments say by which command they were run
MAX_PICTURE_BYTES = 300_000
MAX_README_WORDS = 1200

# Programs whose arguments are not ours to check.
FOREIGN = {"pip", "mkdir", "tar"}
# What a line is completed with where it leaves out what only its user knows.
COMPLETION = {
    "source.path": "/faces",
    "place.master": "spark://head:7077",
    "place.hosts": "a:4,b:4",
}

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_REPOSITORY_PATH = re.compile(r"(?:conf|pipelines|training|jobs|tests|docs|examples|\.ci)/[\w./*-]*")
_MODULE = re.compile(r"(?:pipelines|training|jobs)(?:\.\w+)+")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
_OPTION = re.compile(r"--?[a-z][\w-]*")


def commands(text: str) -> Iterator[str]:
    """The command lines of a document: those of its shell blocks, and spans that begin with a program."""
    for language, body in _BLOCK.findall(text):
        if language in ("sh", "bash"):
            for line in re.sub(r"\\\n\s*", "", body).splitlines():
                if bare := re.sub(r"(^|\s)#.*", "", line).strip():
                    yield bare
    for span in _SPAN.findall(_BLOCK.sub("", text)):
        line = " ".join(span.split())
        if re.match(r"(ringmill|python|make|pytest|spark-submit|horovodrun|torchrun) \S", line):
            yield line


def _lines() -> list[tuple[str, str]]:
    found = [(path.name, line) for path in DOCUMENTS for line in commands(path.read_text())]
    runs = [(path, re.search(r"^# run:\s*(.*)", path.read_text(), re.MULTILINE)) for path in SYSTEMS]
    return found + [(path.name, run[1]) for path, run in runs if run]


def check(line: str) -> None:
    """Raise an error or fail where a command line could not be given."""
    for part in re.split(r"\s&&\s", line):
        words = shlex.split(part)
        while _ASSIGNMENT.fullmatch(words[0]):
            words.pop(0)
        program = Path(words[0]).name
        if program not in FOREIGN:
            CHECKS[program](words[1:])


def check_ringmill(words: list[str]) -> None:
    command = get_command(app).commands[words[0]]
    if len(words) == 1:
        return  # the command's name, and no line to give
    if words[0] not in ("run", "plan"):
        command.make_context(words[0], list(words[1:]))
        return
    given = command.make_context(words[0], list(words[1:])).params["overrides"] or []
    has = {one.partition("=")[0] for one in given}
    place = [f"{key}={value}" for key, value in COMPLETION.items() if key not in has and "place=cluster" in given]
    settings = compose([*place, *(() if "source.path" in has else ("source.path=/faces",)), *given])
    check_batch(settings)
    check_objective(settings)


def check_python(words: list[str]) -> None:
    if words[0] == "-c":
        ast.parse(words[1])
    elif words[0] == "-m":
        if words[1] != "pip":
            assert find_spec(words[1]) is not None, f"there is no module {words[1]}"
            check_options(("-m", words[1]), words[2:])
    else:
        assert (ROOT / words[0]).is_file(), f"there is no file {words[0]}"
        check_options((words[0],), words[1:])


def check_options(target: tuple[str, ...], words: list[str]) -> None:
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    if options:
        assert options <= known_options(target)


@cache
def known_options(target: tuple[str, ...]) -> frozenset[str]:
    """Those that a script or module names when asked for help."""
    asked = subprocess.run(
        [sys.executable, *target, "--help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return frozenset(_OPTION.findall(asked.stdout))


def check_launcher(words: list[str]) -> None:
    """spark-submit, horovodrun or torchrun with options of their own, then a job of ours with its options."""
    jobs = [place for place, word in enumerate(words) if re.fullmatch(r"jobs/\w+\.py|jobs\.\w+", word)]
    assert len(jobs) == 1, "names no job, or several"
    [place] = jobs
    name = words[place].removesuffix(".py").replace("/", ".")
    assert find_spec(name) is not None, f"there is no {words[place]}"
    check_options(("-m", name), words[place + 1 :])


def check_make(words: list[str]) -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \?=", text, re.MULTILINE))
    for word in words:
        name, is_variable, _ = word.partition("=")
        assert name in (variables if is_variable else targets), f"the Makefile knows no {name}"


def check_pytest(words: list[str]) -> None:
    paths = [word for word in words if "/" in word]
    assert all((ROOT / path).exists() for path in paths)
    if "-k" in words:
        wanted = words[words.index("-k") + 1]
        files = [ROOT / path for path in paths] or (ROOT / "tests").rglob("test_*.py")
        assert any(re.search(rf"def test_\w*{wanted}", file.read_text()) for file in files), f"no test has {wanted}"


CHECKS = {
    "ringmill": check_ringmill,
    "python": check_python,
    "python3": check_python,
    "make": check_make,
    "pytest": check_pytest,
    "spark-submit": check_launcher,
    "horovodrun": check_launcher,
    "torchrun": check_launcher,
}


@pytest.mark.parametrize(("document", "line"), _lines())
def test_a_command_of_the_documents_can_be_given(
    document: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no run of the checkout is looked at
    check(line)


@pytest.mark.parametrize(
    "line",
    [
        "ringmill run source.path=/faces recipe.lr=0.1",
        "ringmill run source.path=/faces objective=f3c",
        "ringmill run source.path=/faces objective=f2c",  # its photos lie by identity
        "ringmill plan --pictures 42e6",
        "ringmill curate",
        "python tests/bench/heads.py --stepz 6",
        "python tests/bench/head.py",
        "python -m jobs.centers --run runs/mine/run.yaml",
        "python -m jobs.centres --walk runs/mine/run.yaml",
        "spark-submit --master local jobs/ingest.py --walk run.yaml",
        "make tests",
        "make gpu-wheels GPU_PYTHON=3 PYTHON_OF_THE_GPU=3",
        "pytest tests/test_river.py -k forgives",
        "grind --fine",
    ],
)
def test_a_command_that_could_not_be_given_is_found(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, KeyError, UserError, TyperException)):
        check(line)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_command_lines_stand_in_blocks_that_are_checked(path: Path) -> None:
    loose = [body for language, body in _BLOCK.findall(path.read_text()) if language not in ("sh", "python")]
    assert not [body for body in loose if re.search(r"^\s*(ringmill|make|python|pytest|pip) ", body, re.MULTILINE)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_in_the_documents_imports_what_exists(path: Path) -> None:
    for language, body in _BLOCK.findall(path.read_text()):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    assert [link for link in _LINK.findall(path.read_text()) if not _leads_somewhere(path, link)] == []


def _leads_somewhere(path: Path, link: str) -> bool:
    if link.startswith(("http://", "https://")):
        return True
    name, _, anchor = link.partition("#")
    target = (path.parent / name) if name else path
    return target.exists() and (not anchor or anchor in _anchors(target.read_text()))


def _anchors(text: str) -> set[str]:
    """The anchors of headings as GitHub and GitLab make them."""
    titles = re.findall(r"^#+ (.*)", _BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_paths_of_the_repository_exist(path: Path) -> None:
    spans = _SPAN.findall(_BLOCK.sub("", path.read_text()))
    named = [name for span in spans for name in span.split() if _REPOSITORY_PATH.fullmatch(name)]
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_modules_and_their_names_exist(path: Path) -> None:
    named = [span for span in _SPAN.findall(_BLOCK.sub("", path.read_text())) if _MODULE.fullmatch(span)]
    assert [name for name in named if not _is_importable(name)] == []


def _is_importable(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    try:
        return find_spec(name) is not None or hasattr(import_module(module), attribute)
    except ModuleNotFoundError:
        return hasattr(import_module(module), attribute)


def test_the_layout_names_what_is_there_and_no_folder_is_missing() -> None:
    text = (ROOT / "docs/layout.md").read_text()
    [block] = [body for language, body in _BLOCK.findall(text) if not language]
    named: set[str] = set()
    room = ""
    for line in block.splitlines():
        if not line.startswith(" "):
            room = line.split()[0]
            named.add(room)
        # What follows two spaces describes.
        names = re.split(r"\s{2,}", line.strip() if line.startswith(" ") else "")[0].split()
        named |= {room + name for name in names if name.endswith((".py", "/"))}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    folders = {
        f"{file.parent.relative_to(ROOT).as_posix()}/"
        for package in ("pipelines", "training", "jobs")
        for file in (ROOT / package).glob("**/__init__.py")
    }
    assert folders - named == set()


def test_the_readme_can_be_read_in_five_minutes_and_shows_the_report() -> None:
    assert len(README.read_text().split()) <= MAX_README_WORDS
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text())
    assert pictures == ["docs/report.png"]
    assert (ROOT / pictures[0]).stat().st_size <= MAX_PICTURE_BYTES


def test_every_document_is_linked_from_the_readme() -> None:
    linked = {ROOT / link for link in _LINK.findall(README.read_text())}
    assert set(DOCUMENTS) - linked == {README}
