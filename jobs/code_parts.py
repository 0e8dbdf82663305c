"""The code that a stage runs, as digests of its parts: they tell whether an artefact was made by other code.

The parts of a stage are its job and what that imports, directly or not, of `pipelines` and `training`: each folder of
these as a whole, each file beside the folders alone. A builder that a table of kinds names counts as imported. What
only carries artefacts and settings from place to place does not count.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PROJECT = Path(__file__).parent.parent

_MOST_NAMED = 4
_PACKAGES = ("pipelines", "training")
_BUILDER = re.compile(r"(?:pipelines|training)(?:\.\w+)+(?::\w+)?")
_CARRIERS = frozenset(
    f"pipelines/{name}.py"
    for name in ("durable", "kinds", "locks", "manifest", "paths", "requirements", "run_folder", "sealed", "settings")
) | {"pipelines/store.py", "training/settings.py"}


def code_of(job: str, project: Path = PROJECT) -> dict[str, str]:
    """Part -> 12 hex digits over its files, for a stage's job such as `jobs.train`; sorted by part.

    Args:
        project: the folder that holds jobs/, pipelines/ and training/.
    """
    return {part: part_digest(part, project) for part in _parts_of(job, project)}


def describe_change(parts: Sequence[str]) -> str:
    """Changed parts in a line; "" for none."""
    if not parts:
        return ""
    more = f" and {len(parts) - _MOST_NAMED} more" if len(parts) > _MOST_NAMED else ""
    return f"made by other code ({', '.join(parts[:_MOST_NAMED])}{more} changed since)"


def changed_parts(made_by: Mapping[str, str], project: Path = PROJECT) -> list[str]:
    """The parts of the code that differ from those by which an artefact was made.

    Args:
        made_by: the `code` of its manifest; empty where an earlier version did not write it.
    """
    return [part for part, digest in made_by.items() if part_digest(part, project) != digest]


@functools.lru_cache(maxsize=256)
def part_digest(part: str, project: Path = PROJECT) -> str:
    """12 hex digits over the Python files of a part; "" where there is none any more."""
    root = project / part
    files = sorted(root.rglob("*.py")) if root.is_dir() else [root] if root.is_file() else []
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(project).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12] if files else ""


@functools.lru_cache(maxsize=64)
def _parts_of(job: str, project: Path) -> tuple[str, ...]:
    """The parts of a job, sorted; the job alone where it is none of ours."""
    parts: set[str] = set()
    seen: set[Path] = set()
    waiting = [project / f"{job.replace('.', '/')}.py"]
    while waiting:
        file = waiting.pop()
        if file in seen or not file.is_file():
            continue
        seen.add(file)
        room = _part(file, project)
        if room not in parts and (project / room).is_dir():
            waiting += (project / room).rglob("*.py")
        parts.add(room)
        if room in _CARRIERS:
            continue
        waiting += [path for module in _modules(file) for path in _files(module, project)]
    return tuple(sorted(parts - _CARRIERS))


def _part(file: Path, project: Path) -> str:
    """The folder of a package's folder, or a file beside them."""
    names = file.relative_to(project).parts
    return "/".join(names[:2])


def _modules(file: Path) -> Iterator[str]:
    """The modules of `pipelines` and `training` that a file imports, or whose builders it names."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _BUILDER.fullmatch(node.value):
            yield node.value.partition(":")[0]


def _files(module: str, project: Path) -> list[Path]:
    if module.partition(".")[0] not in _PACKAGES or "." not in module:
        return []
    path = project / module.replace(".", "/")
    return [path.with_suffix(".py"), path / "__init__.py"]
