"""The members of an environment that works in any folder: its files, and the few that are written anew.

Scripts find their Python beside them, pyvenv.cfg names the interpreter of the hosts, and a project that is installed
editable lies among the packages as files.
"""

import os
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

from jobs.distributions import RINGMILL, Found
from pipelines.settings import UserError

PYTHON_NAME = re.compile(r"^python(\d+(\.\d+)?)?$")

# Written by venv for other shells; activate is the one that is mended.
_LEFT_OUT_SCRIPTS = {"bin/activate.csh", "bin/activate.fish", "bin/Activate.ps1", "bin/activate.nu"}
# As pip writes it, on one line or, where the path is too long for the kernel, on three.
_SHEBANG = re.compile(
    rb"""\A(?:#![ ]*/\S*/python[0-9.]*(?P<flags>[^\n]*)\n"""
    rb"""|#!/bin/sh\n'''exec' "?/[^\n]*/python[0-9.]*"? "\$0" "\$@"\n' '''\n)"""
)
# Both shell and Python read it: to the one a command that never returns, to the other a string.
_OWN_SHEBANG = b"""#!/bin/sh
'''exec' "$(dirname "$(readlink -f "$0")")/python"%s "$0" "$@"
' '''
"""
_OWN_FOLDER = '"$(cd "$(dirname "${BASH_SOURCE:-$0}")/.." && pwd)"'


@dataclass(frozen=True)
class Member:
    """One entry of the archive: exactly one of the three."""

    source: Path | None = None  # whose content and mode it has
    content: bytes | None = None
    link: str | None = None  # what it points to
    mode: int = 0o644


Members = dict[str, Member]  # by path in the archive


def site_packages(environment: Path) -> Path:
    """The folder of the packages of a virtual environment, below ``lib/python3.x``.

    Raises:
        UserError: it is no virtual environment.
    """
    folders = list(environment.glob("lib/python3.*/site-packages"))
    if not (environment / "pyvenv.cfg").is_file() or len(folders) != 1:
        raise UserError(
            f"{environment} is no virtual environment; install {RINGMILL} in one made by `python -m venv`, "
            "or pack a conda environment by conda-pack"
        )
    return folders[0]


def base_interpreter(environment: Path, version: str) -> Path:
    """The interpreter that a virtual environment was made of, for a version such as 3.11."""
    python = (environment / "bin" / "python").resolve()
    # `python -m venv --copies` makes no link.
    return Path(_config(environment)["home"], f"python{version}") if python.is_relative_to(environment) else python


def relocatable(environment: Path, found: Found, left_out: Set[str], *, python: Path, project: Path) -> Members:
    """All that the archive of an environment holds.

    Args:
        found: its distributions; ``left_out`` names those whose files stay behind.
        python: path of the interpreter on the hosts.
        project: the folder that holds the project's packages, in the environment or elsewhere.

    Raises:
        UserError: a link leads to a folder outside of the environment.
    """
    members = _files(environment, _only_of(found, left_out))
    site = site_packages(environment).relative_to(environment)
    members |= _project_files(found[RINGMILL], site, project, members)
    return members | _mended(environment, members, python)


def _only_of(found: Found, names: Set[str]) -> set[Path]:
    """The files of some distributions that no other one shares."""
    return _files_of(found, names) - _files_of(found, found.keys() - names)


def _files_of(found: Found, names: Set[str]) -> set[Path]:
    files = ((found[name], file) for name in names for file in found[name].files or ())
    return {Path(os.path.normpath(str(one.locate_file(file)))) for one, file in files}


def _files(environment: Path, without: Set[Path]) -> Members:
    members = {}
    for path in _walk(environment):
        name = path.relative_to(environment).as_posix()
        if path not in without and name not in _LEFT_OUT_SCRIPTS:
            members[name] = _member(path, environment)
    return members


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder, and links to folders; no bytecode, which names the paths of this machine."""
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        for name in (*files, *links):
            path = Path(root, name)
            if not name.endswith(".pyc") and (path.is_symlink() or path.is_file()):
                yield path


def _member(path: Path, environment: Path) -> Member:
    if not path.is_symlink():
        return Member(source=path)
    target = path.resolve()
    if target.is_relative_to(environment):
        return Member(link=os.path.relpath(target, path.parent.resolve()))
    if target.is_file():
        return Member(source=target)
    raise UserError(f"{path} points to {target}, which no host has; replace the link by what it points to")


def _project_files(own: Distribution, site: Path, project: Path, members: Members) -> Members:
    """The project's packages as files, wherever they lie, and metadata as of an ordinary installation."""
    packages = (own.read_text("top_level.txt") or "").split()
    files = {
        (site / path.relative_to(project)).as_posix(): Member(source=path)
        for package in packages
        for path in _walk(project / package)
        if not path.name.startswith(".")
    }
    listed = {PurePosixPath(os.path.normpath(site / file)).as_posix() for file in own.files or ()}
    for name in listed & members.keys():
        path = PurePosixPath(name)
        if path.name in ("direct_url.json", "RECORD") or not (path.parts[0] == "bin" or ".dist-info" in name):
            # Of an editable installation: the path that leads to the project.
            del members[name]
    kept = sorted({*files, *(listed & members.keys())})
    info = next(PurePosixPath(name).parent for name in kept if name.endswith(".dist-info/METADATA"))
    record = "".join(f"{os.path.relpath(name, site)},,\n" for name in [*kept, f"{info}/RECORD"])
    return {**files, f"{info}/RECORD": Member(content=record.encode())}


def _mended(environment: Path, members: Members, python: Path) -> Members:
    """The few files that name the environment's folder or its interpreter, written for any folder."""
    mended = {}
    for name, member in members.items():
        path = PurePosixPath(name)
        if path.parent.as_posix() != "bin":
            continue
        if PYTHON_NAME.match(path.name):
            mended[name] = Member(link=str(python) if path.name == "python" else "python")
        elif name == "bin/activate":
            text = (environment / name).read_text()
            own = re.sub(rf"""(["']?){re.escape(str(environment))}\1""", lambda found: _OWN_FOLDER, text)
            mended[name] = Member(content=own.encode())
        elif member.source is not None and (script := _script(member.source)) is not None:
            mended[name] = Member(content=script, mode=0o755)
    config = _config(environment) | {"home": str(python.parent), "include-system-site-packages": "false"}
    lines = [f"{key} = {config[key]}" for key in ("home", "include-system-site-packages", "version") if key in config]
    mended["pyvenv.cfg"] = Member(content=("\n".join(lines) + "\n").encode())
    return mended


def _config(environment: Path) -> dict[str, str]:
    lines = (environment / "pyvenv.cfg").read_text().splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def _script(path: Path) -> bytes | None:
    """A script of Python that starts the interpreter beside it; None if it is no such script."""
    with path.open("rb") as stream:
        if stream.read(2) != b"#!":
            return None
    text = path.read_bytes()
    found = _SHEBANG.match(text)
    return found and _OWN_SHEBANG % (found["flags"] or b"").rstrip() + text[found.end() :]
