"""An environment in one archive, for executors and hosts that have the same Python and nothing else.

The method is venv-pack's: the files of the virtual environment without the interpreter, scripts that find their Python
beside them, and a pyvenv.cfg for the host. Not that library (0.2.0, 2018): it refuses a project that is installed
editable, its scripts take the first Python on the PATH, and it cannot tell the distributions of one side from another.
"""

import io
import json
import os
import shlex
import stat
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import yaml
from isal import igzip_threaded

from jobs.archives import FACTS, read_facts
from jobs.distributions import Side, installed, needed
from jobs.places.spark import DAEMON
from jobs.relocate import PYTHON_NAME, Member, Members, base_interpreter, relocatable, site_packages
from jobs.settings import PROJECT
from pipelines.manifest import code_version
from pipelines.settings import UserError

SUFFIXES = (".tar.gz", ".tgz")  # of which Spark knows that they are to be unpacked

_FOLDER = "environment"  # where executors find it unpacked, below the folder in which they run
_LEVEL = 1  # of isal's 0 to 3
_MTIME = 315532800  # 1980, the first year that a zip file can tell: the same files give the same archive
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Packed:
    """An archive that was written."""

    path: Path
    side: Side
    num_bytes: int
    num_files: int
    num_left_out: int  # distributions that this side does not need
    python: Path  # the interpreter that hosts must have
    version: str  # of it, such as 3.11


def pack(
    out: Path,
    *,
    side: Side = Side.ALL,
    python: Path | None = None,
    environment: Path = Path(sys.prefix),
    project: Path = PROJECT,
) -> Packed:
    """Write an environment to a .tar.gz that works in any folder; it appears whole or not at all.

    Args:
        side: what is left out are the distributions that only another side needs.
        python: path of the interpreter on the hosts; None = where this environment has it.
        environment: a virtual environment in which the project is installed, editable or not.
        project: the folder that holds its packages.

    Raises:
        UserError: ``out`` or ``python`` is of no use, or the environment cannot be packed.
    """
    out = out.absolute()
    environment = environment.resolve()
    _check_out(out, environment)
    site = site_packages(environment)
    version = site.parent.name.removeprefix("python")
    python = _interpreter(environment, python, version)
    found = installed(site)
    left_out = found.keys() - needed(found, side)
    members = relocatable(environment, found, left_out, python=python, project=project)
    facts = {
        "for": side,
        "python": version,
        "pipelines": code_version(project / "pipelines"),
        "left_out": sorted(left_out),
    }
    _write(out, {FACTS: Member(content=json.dumps(facts).encode()), **dict(sorted(members.items()))})
    return Packed(out, side, out.stat().st_size, len(members) + 1, len(left_out), python, version)


def usage(packed: Packed, *, environment: Path = Path(sys.prefix)) -> str:
    """The lines that use an archive, for a shell; those of both sides, or of the one that it was packed for.

    Args:
        environment: of the driver. A run starts ranks by the path of its own Python, so hosts unpack it there.
    """
    lines = []
    if packed.side != Side.RANKS:
        conf = spark_conf(packed.path)
        setting = "place.spark_conf=" + yaml.safe_dump(conf, default_flow_style=True, width=sys.maxsize).strip()
        lines += ["# executors, of a run:", shlex.join(["ringmill", "run", "place=cluster", setting]) + " ..."]
        options = conf | {"spark.pyspark.driver.python": str(environment / "bin" / "python"), **DAEMON}
        words = [word for key, value in options.items() for word in ("--conf", f"{key}={value}")]
        lines += ["# executors, of one stage:", shlex.join(["spark-submit", *words]) + " ..."]
    if packed.side != Side.EXECUTORS:
        folder = shlex.quote(str(environment))
        unpack = f"mkdir -p {folder} && tar -xzf {shlex.quote(str(packed.path))} -C {folder}"
        lines += ["# ranks, once on each other host:", unpack]
    return "\n".join(lines)


def spark_conf(path: Path) -> dict[str, str]:
    """The settings by which Spark unpacks an archive beside each executor and takes its Python."""
    return {"spark.archives": f"{path}#{_FOLDER}", "spark.pyspark.python": f"./{_FOLDER}/bin/python"}


def _check_out(out: Path, environment: Path) -> None:
    if not out.name.endswith(SUFFIXES):
        raise UserError(f"{out}: Spark would not unpack it; end its name in {SUFFIXES[0]}")
    if not out.parent.is_dir():
        raise UserError(f"{out}: there is no folder {out.parent}; make it, or name another")
    if out.parent.resolve().is_relative_to(environment):
        raise UserError(f"{out} lies in the environment that is packed; name a file outside of {environment}")
    if out.exists() and read_facts(out) is None:
        raise UserError(f"{out} exists and is no packed environment; remove it, or name another file")


def _interpreter(environment: Path, python: Path | None, version: str) -> Path:
    if python is None:
        return base_interpreter(environment, version)
    named = PYTHON_NAME.match(python.name)
    if not python.is_absolute() or (named and named[1] and not f"{version}.".startswith(f"{named[1]}.")):
        raise UserError(f"--python={python}: write the absolute path of a Python {version} on the hosts")
    return python


def _write(out: Path, members: Members) -> None:
    staged = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        threads = len(os.sched_getaffinity(0))
        with (
            igzip_threaded.open(staged, "wb", _LEVEL, threads=threads) as stream,  # type: ignore[no-untyped-call]
            tarfile.open(fileobj=stream, mode="w|", bufsize=_COPY_BYTES) as archive,
        ):
            for name, member in members.items():
                _add(archive, name, member)
        with staged.open("rb") as stream:
            os.fsync(stream.fileno())
        staged.replace(out)
    finally:
        staged.unlink(missing_ok=True)


def _add(archive: tarfile.TarFile, name: str, member: Member) -> None:
    entry = tarfile.TarInfo(name)
    entry.mtime = _MTIME
    if member.link is not None:
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, member.link, 0o777
        archive.addfile(entry)
    elif member.content is not None:
        entry.size, entry.mode = len(member.content), member.mode
        archive.addfile(entry, io.BytesIO(member.content))
    else:
        assert member.source is not None
        with member.source.open("rb") as stream:
            about = os.fstat(stream.fileno())
            entry.size, entry.mode = about.st_size, 0o755 if about.st_mode & stat.S_IXUSR else 0o644
            archive.addfile(entry, stream)
