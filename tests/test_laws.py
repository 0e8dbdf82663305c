"""The laws of the house, read off the imports: what flows where, and which one file knows which library."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ("pipelines", "training", "jobs")
SOURCES = [path for package in ORDER for path in sorted((ROOT / package).rglob("*.py"))]
# What training may take from pipelines: the contracts, how bytes become pixels, and the format that both rooms read.
MEETING_PLACES = {
    "pipelines",
    "pipelines.settings",
    "pipelines.kinds",
    "pipelines.arrays",
    "pipelines.requirements",
    "pipelines.records",
    "pipelines.columns",
    "pipelines.manifest",
    "pipelines.durable",
    "pipelines.sealed",
    "pipelines.column_digest",
    "pipelines.run_folder",
    "pipelines.pixels",
    "pipelines.pack_file",
}
# Packages whose rooms (modules at the top and folders) import one another in one direction only.
LAYERED = ("pipelines", "jobs")
QUESTION_WORDS = {"What", "How", "Where", "Whether", "Which", "Whence", "Who", "Whom", "Whose", "Why", "When"}
OWNERS = {
    "horovod": {"training/comm/horovod.py"},
    "petastorm": {"training/feed/petastorm_adapter.py"},
    "hydra": {"jobs/settings.py"},
}


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_go_upstream_only(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    downstream = ORDER[ORDER.index(package) + 1 :]
    assert not [name for name in _imports(path) if name.split(".")[0] in downstream]


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_pipelines_know_no_torch_and_training_no_spark(path: Path) -> None:
    foreign = {"pipelines": {"torch", "horovod", "petastorm"}, "training": {"pyspark"}}
    package = path.relative_to(ROOT).parts[0]
    assert not {name.split(".")[0] for name in _imports(path)} & foreign.get(package, set())


@pytest.mark.parametrize("path", [path for path in SOURCES if _name(path).startswith("training/")], ids=_name)
def test_training_meets_pipelines_only_where_they_agreed(path: Path) -> None:
    taken = {name for name in _imports(path) if name.split(".")[0] == "pipelines"}
    assert taken <= MEETING_PLACES


def _cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """The names along a cycle, the first again at the end; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _module_graph(package: str) -> dict[str, set[str]]:
    """Module -> the modules of the same package that it imports."""
    modules = {_module(path): path for path in SOURCES if _name(path).startswith(f"{package}/")}
    return {module: (_imported_modules(path) & modules.keys()) - {module} for module, path in modules.items()}


def _room_graph(package: str) -> dict[str, set[str]]:
    """The same between rooms, which are named by the first two parts of a module's name."""
    rooms: dict[str, set[str]] = {}
    for module, imported in _module_graph(package).items():
        rooms.setdefault(_room(module), set()).update(_room(name) for name in imported)
    return {room: imported - {room} for room, imported in rooms.items()}


def _module(path: Path) -> str:
    return _name(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _imported_modules(path: Path) -> set[str]:
    """The modules that a file imports when it runs: `from a import b` takes the module a, and perhaps a.b."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            waiting += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("package", ORDER)
def test_modules_import_one_another_without_a_cycle(package: str) -> None:
    assert _cycle(_module_graph(package)) == []


@pytest.mark.parametrize("package", LAYERED)
def test_rooms_import_one_another_without_a_cycle(package: str) -> None:
    assert _cycle(_room_graph(package)) == []


def test_a_cycle_of_imports_is_found() -> None:
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert set(_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}
    assert _room("pipelines.dedup.near") == _room("pipelines.dedup") == "pipelines.dedup"


@pytest.mark.parametrize("library", OWNERS)
def test_one_file_knows_the_library(library: str) -> None:
    knowing = {_name(path) for path in SOURCES if library in {name.split(".")[0] for name in _imports(path)}}
    assert knowing == OWNERS[library]


def test_one_file_builds_a_spark_session() -> None:
    building = {_name(path) for path in SOURCES if "SparkSession.builder" in path.read_text()}
    assert building == {"pipelines/session.py"}


def test_no_module_of_jobs_hides_one_of_the_standard_library() -> None:
    # A stage is started as a script, jobs/ingest.py, whose folder comes first on the path of its imports.
    hidden = {_name(path) for path in (ROOT / "jobs").glob("*.py") if path.stem in sys.stdlib_module_names}
    assert hidden == set()


def test_importing_everything_prints_nothing_and_starts_nothing() -> None:
    modules = [_name(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in SOURCES]
    script = "\n".join(
        [
            "import importlib, threading, multiprocessing",
            f"for name in {modules!r}: importlib.import_module(name)",
            "assert threading.active_count() == 1, threading.enumerate()",
            "assert not multiprocessing.active_children()",
        ]
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_file_stays_under_three_hundred_lines_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_docstring_opens_with_the_thing_and_not_with_a_question(path: Path) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, documented)]
    openings = [(ast.get_docstring(node) or "").split(maxsplit=1)[:1] for node in nodes]
    assert not [word for opening in openings for word in opening if word.rstrip(":,") in QUESTION_WORDS]


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_function_fits_a_screen(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    assert not [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 60]


def test_the_loop_stays_short() -> None:
    assert (ROOT / "training" / "loop.py").read_text().count("\n") < 200
