"""What is packed, unpacked by tar, works elsewhere: on small environments written by hand."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import cli
from jobs.archives import check_archives, read_facts
from jobs.distributions import Side, installed, needed
from jobs.pack import Packed, pack, spark_conf, usage
from jobs.settings import PROJECT, compose
from pipelines.settings import UserError

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"lib/python{VERSION}/site-packages"
OWN = (
    "six",
    'pyspark; extra == "spark"',
    'torch; extra == "train"',
    'pytest; extra == "test"',
    'heif; extra == "heif"',
)
REQUIRES: dict[str, tuple[str, ...]] = {
    "ringmill": OWN,
    "six": (),
    "pyspark": ("py4j",),
    "py4j": (),
    "torch": ("sympy", "shared"),
    "sympy": (),
    "shared": (),
    "pytest": ("botocore",),
    "botocore": ("shared",),
    "horovod": ("absent",),
    "petastorm": ("pyspark", "sympy"),
    "s3fs": ("botocore",),
}


def distribution(
    environment: Path, name: str, requires: tuple[str, ...], *, files: dict[str, str], origin: str
) -> None:
    """Write an installed distribution as pip leaves it."""
    site = environment / SITE
    info = f"{name}-1.0.dist-info"
    lines = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {one}" for one in requires)]
    lines += [f"Provides-Extra: {extra}" for extra in ("spark", "train", "test", "heif") if name == "ringmill"]
    files = {**files, f"{info}/METADATA": "\n".join(lines) + "\n"}
    if origin:
        files[f"{info}/direct_url.json"] = origin
    if name == "ringmill":
        files[f"{info}/top_level.txt"] = "pipelines\nconf\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(content)
    for path in files:
        if path.startswith("../../../bin/"):
            (site / path).chmod(0o755)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's packages in a folder of their own."""
    files = {"pipelines/__init__.py": "", "pipelines/deep/grey.py": "LEVEL = 7\n", "conf/place/local.yaml": "a: 1\n"}
    for path, content in {**files, "tests/test_it.py": "", "pipelines/__pycache__/x.pyc": ""}.items():
        (tmp_path / "project" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / path).write_text(content)
    return tmp_path / "project"


@pytest.fixture
def environment(tmp_path: Path, project: Path) -> Path:
    """A virtual environment with the project installed editable."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    code = "import sys\nfrom pipelines.deep.grey import LEVEL\nprint(sys.prefix, LEVEL, sys.argv)\n"
    script = f"#!{folder}/bin/python\n{code}"
    for name, requires in REQUIRES.items():
        files = {f"{name}.py": f"NAME = {name!r}\n", "common/__init__.py": ""}
        origin = ""
        if name == "ringmill":
            files = {"__editable__.ringmill-1.0.pth": f"{project}\n", "../../../bin/ringmill": script}
            origin = '{"dir_info": {"editable": true}, "url": "file:///project"}'
        distribution(folder, name, requires, files=files, origin=origin)
    return folder


@pytest.fixture
def unpacked(environment: Path, project: Path, tmp_path: Path) -> Callable[..., Path]:
    """Pack the environment, take the original away, and unpack elsewhere."""

    def to(name: str, **options: object) -> Path:
        pack(tmp_path / "e.tar.gz", environment=environment, project=project, **options)  # type: ignore[arg-type]
        (tmp_path / name).mkdir()
        subprocess.run(["tar", "-xzf", tmp_path / "e.tar.gz", "-C", tmp_path / name], check=True)
        for folder in (environment, project):
            folder.rename(folder.with_name(f"{folder.name}, moved away"))
        return tmp_path / name

    return to


def told(*argv: str | Path) -> str:
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}, cwd="/")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_an_editable_project_is_imported_from_the_archive_with_its_metadata_and_data(
    unpacked: Callable[..., Path],
) -> None:
    host = unpacked("host")
    code = "import pipelines.deep.grey as g, importlib.metadata as m; print(g.__file__, m.version('ringmill'))"
    assert told(host / "bin/python", "-c", code) == f"{host}/{SITE}/pipelines/deep/grey.py 1.0"
    assert (host / SITE / "conf/place/local.yaml").read_text() == "a: 1\n"
    listed = told(host / "bin/python", "-c", "import importlib.metadata as m; print(*m.files('ringmill'), sep='\\n')")
    assert [path for path in listed.splitlines() if not (host / SITE / path).is_file()] == []
    assert {"pipelines/deep/grey.py", "conf/place/local.yaml", "../../../bin/ringmill"} <= set(listed.splitlines())
    assert not [path for path in host.rglob("*") if "editable" in path.name or path.name == "direct_url.json"]
    assert not list(host.rglob("test_it.py"))


def test_the_project_is_packed_as_its_wheel_has_it(environment: Path, tmp_path: Path) -> None:
    """The oracle is setuptools, which reads pyproject.toml."""
    source = tmp_path / "source"
    source.mkdir()
    packages = ("conf", "jobs", "pipelines", "training")
    for package in packages:
        shutil.copytree(PROJECT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / file, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    built = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(packages)}
    (environment / SITE / "ringmill-1.0.dist-info/top_level.txt").write_text("\n".join(packages))
    packed = pack(tmp_path / "e.tar.gz", environment=environment, project=PROJECT)
    with tarfile.open(packed.path) as archive:
        names = {name.removeprefix(f"{SITE}/") for name in archive.getnames()}
    assert "jobs/report/page.css" in built
    assert {name for name in names if name.startswith(packages)} == built


def test_scripts_start_the_python_beside_them_by_any_way_to_them(unpacked: Callable[..., Path], tmp_path: Path) -> None:
    host = unpacked("a host")
    (tmp_path / "link").symlink_to(host / "bin/ringmill")
    for way in (host / "bin/ringmill", tmp_path / "link"):
        assert told(way, "two words", "-x") == f"{host} 7 [{str(way)!r}, 'two words', '-x']"
    assert told("/bin/bash", "-c", f". '{host}/bin/activate' && ringmill").startswith(f"{host} 7")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "#!/bin/sh\n'''exec' \"BIN/python\" \"$0\" \"$@\"\n' '''\nprint('a path too long for the kernel')\n",
            "a path",
        ),
        ("#!BIN/python3 -I\nimport sys; print('isolated', sys.flags.isolated)\n", "isolated 1"),
        ("#!/usr/bin/env bash\necho no Python\n", "no Python"),
    ],
)
def test_scripts_of_every_kind_run_where_they_are_unpacked(
    text: str, said: str, environment: Path, unpacked: Callable[..., Path]
) -> None:
    script = environment / "bin/script"
    script.write_text(text.replace("BIN", f"{environment}/bin"))
    script.chmod(0o755)
    assert told(unpacked("host") / "bin/script").startswith(said)


def test_no_text_names_the_folder_that_was_packed(
    environment: Path, project: Path, unpacked: Callable[..., Path]
) -> None:
    host = unpacked("host")
    texts = {path: path.read_bytes() for path in host.rglob("*") if path.is_file() and path.name != "python"}
    assert len(texts) > len(REQUIRES)
    folders = (str(environment).encode(), str(project).encode())
    assert not [path for path, text in texts.items() if any(folder in text for folder in folders)]


def test_the_interpreter_is_where_the_hosts_have_it(unpacked: Callable[..., Path]) -> None:
    host = unpacked("host", python=Path("/opt/py/bin/python3.11"))
    assert os.readlink(host / "bin/python") == "/opt/py/bin/python3.11"
    assert os.readlink(host / "bin/python3") == "python"
    assert "home = /opt/py/bin\n" in (host / "pyvenv.cfg").read_text()


@pytest.mark.parametrize(
    ("side", "left"),
    [
        (Side.EXECUTORS, {"torch", "sympy", "pytest", "horovod", "petastorm", "pyspark"}),
        (Side.RANKS, {"pyspark", "py4j", "pytest"}),
        (Side.ALL, {"pytest"}),
    ],
)
def test_a_side_is_spared_what_only_another_needs(
    side: Side, left: set[str], environment: Path, unpacked: Callable[..., Path]
) -> None:
    """By hand: s3fs was added by somebody and stays, with botocore that the tests need too, and shared with that."""
    assert REQUIRES.keys() - needed(installed(environment / SITE), side) == left
    host = unpacked("host", side=side)
    assert {path.stem for path in (host / SITE).glob("*.py")} == REQUIRES.keys() - left - {"ringmill"}
    assert (host / SITE / "common/__init__.py").is_file(), "a file that several distributions share"
    facts = read_facts(host.with_name("e.tar.gz"))
    assert facts is not None
    assert (facts["for"], set(facts["left_out"])) == (side, left)


def test_the_same_environment_gives_the_same_archive(environment: Path, project: Path, tmp_path: Path) -> None:
    for name in ("a.tar.gz", "b.tgz"):
        pack(tmp_path / name, environment=environment, project=project)
        for path in (environment / SITE).glob("*.py"):
            os.utime(path, (1e9, 1e9))
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tgz").read_bytes()


def test_a_link_out_of_the_environment_becomes_the_file(environment: Path, unpacked: Callable[..., Path]) -> None:
    cache = environment.with_name("cache.py")
    cache.write_text("NAME = 'cached'\n")
    (environment / SITE / "six.py").unlink()
    (environment / SITE / "six.py").symlink_to(cache)
    (environment / SITE / "seven.py").symlink_to(environment / SITE / "shared.py")
    host = unpacked("host")
    cache.unlink()
    assert (host / SITE / "six.py").read_text() == "NAME = 'cached'\n"
    assert os.readlink(host / SITE / "seven.py") == "shared.py"


def test_an_archive_is_whole_or_not_there(
    environment: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    pack(out / "e.tar.gz", environment=environment, project=project)
    before = (out / "e.tar.gz").read_bytes()

    def full(self: object, *given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(OSError, match="No space"):
        pack(out / "e.tar.gz", environment=environment, project=project)
    assert [path.name for path in out.iterdir()] == ["e.tar.gz"]
    assert (out / "e.tar.gz").read_bytes() == before


def test_what_cannot_be_packed_is_refused_with_the_remedy(environment: Path, project: Path, tmp_path: Path) -> None:
    def refused(out: str, **options: object) -> str:
        with pytest.raises(UserError) as raised:
            pack(tmp_path / out, **{"environment": environment, "project": project, **options})  # type: ignore[arg-type]
        return str(raised.value)

    (tmp_path / "faces.tar.gz").write_bytes(b"faces")
    assert "end its name in .tar.gz" in refused("e.zip")
    assert "remove it, or name another file" in refused("faces.tar.gz")
    assert "there is no folder" in refused("nowhere/e.tar.gz")
    assert "name a file outside" in refused("environment/e.tar.gz")
    assert "absolute path of a Python" in refused("e.tar.gz", python=Path("python3.11"))
    assert "absolute path of a Python 3.11" in refused("e.tar.gz", python=Path("/usr/bin/python3.1"))
    assert "made by `python -m venv`" in refused("e.tar.gz", environment=project)
    origin = '{"dir_info": {"editable": true}, "url": "file:///six"}'
    distribution(environment, "six", (), files={}, origin=origin)
    assert "six is installed editable from file:///six" in refused("e.tar.gz")
    (environment / SITE / "torch-1.0.dist-info/METADATA").unlink()
    (environment / SITE / "torch-1.0.dist-info").rename(tmp_path / "torch")
    assert "lacks torch" in refused("e.tar.gz", side=Side.RANKS)
    assert not (tmp_path / "e.tar.gz").exists()


def test_an_environment_with_a_copy_of_the_interpreter_names_the_one_that_was_copied(
    environment: Path, unpacked: Callable[..., Path]
) -> None:
    base = (environment / "bin/python").resolve()
    for link in (environment / "bin").glob("python*"):
        link.unlink()
    venv.create(environment, with_pip=False, symlinks=False)
    assert not (environment / "bin/python").is_symlink()
    host = unpacked("host")
    assert Path(os.readlink(host / "bin/python")).samefile(base)
    assert told(host / "bin/ringmill").startswith(f"{host} 7")


def test_an_archive_of_this_code_is_taken_for_a_run(environment: Path, project: Path, tmp_path: Path) -> None:
    archive = tmp_path / "e.tar.gz"
    pack(archive, environment=environment, project=project)
    check_archives(spark_conf(archive), project=project)


def test_the_lines_that_are_shown_can_be_used(
    environment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pack, "__kwdefaults__", {**pack.__kwdefaults__, "environment": environment})
    assert cli.main(["pack", "e.tar.gz"]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    settings = compose([*lines[2][2:-1], "source.path=/faces", "place.master=spark://h:1", "place.hosts=a:1"])
    assert settings.place.spark_conf == spark_conf(tmp_path / "e.tar.gz")
    options = dict(word.split("=", 1) for word in lines[3] if "=" in word)
    assert options.items() >= spark_conf(tmp_path / "e.tar.gz").items()
    assert Path(options["spark.pyspark.driver.python"]).samefile(sys.executable)
    folder = Path(lines[4][2])
    assert lines[4] == ["mkdir", "-p", sys.prefix, "&&", "tar", "-xzf", str(tmp_path / "e.tar.gz"), "-C", str(folder)]


def test_the_lines_of_the_documentation_can_be_used(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pack, "__kwdefaults__", {**pack.__kwdefaults__, "environment": environment})
    text = (PROJECT / "docs/environments.md").read_text().replace("/opt/mill", f"{tmp_path}/mill")
    blocks = "".join(text.split("```")[1::2]).replace("\\\n", " ")
    ran = set()
    for line in blocks.splitlines():
        words = shlex.split(re.sub(r"\s#.*", "", line))
        ran.update(words[:2])
        if words[:2] == ["ringmill", "pack"]:
            assert cli.main(words[1:]) == 0
            assert Path(words[2]).is_file()
        elif words[:2] == ["ringmill", "run"]:
            settings = compose([*words[2:], "source.path=/faces"])
            assert settings.place.spark_conf == spark_conf(Path("/shared/executors.tar.gz"))
        elif words[:1] == ["spark-submit"]:
            shown = usage(Packed(Path("/shared/executors.tar.gz"), Side.EXECUTORS, 1, 1, 0, Path("/p"), VERSION))
            keys = {word.partition("=")[0] for word in shlex.split(shown) if word.startswith("spark.")}
            assert {word.partition("=")[0] for word in words if word.startswith("spark.")} == keys
        elif words[:1] == ["mkdir"]:
            subprocess.run(line, shell=True, check=True)
            assert (tmp_path / "mill" / SITE / "horovod.py").is_file()
    assert ran >= {"pack", "run", "spark-submit", "mkdir"}


def test_executors_only_are_shown_no_line_of_ranks(tmp_path: Path) -> None:
    ends = {side: usage(Packed(tmp_path / "e.tgz", side, 1, 1, 0, Path("/p"), VERSION)) for side in Side}
    assert ends[Side.ALL] == f"{ends[Side.EXECUTORS]}\n{ends[Side.RANKS]}"
    assert "tar -xzf" in ends[Side.RANKS]
    assert "spark" not in ends[Side.RANKS]
