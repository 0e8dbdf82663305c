"""The code of a stage: a changed module is seen by the stages that run it, and by no other."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs import cli, code_parts
from jobs.code_parts import changed_parts, code_of, describe_change
from jobs.planning import PlannedStage, plan
from jobs.settings import PROJECT, RunSettings
from jobs.stages import STAGES
from pipelines import manifest

PlanThrough = Callable[..., list[PlannedStage]]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's code, to be changed and put right again."""
    root = tmp_path_factory.mktemp("mill")
    for package in ("jobs", "pipelines", "training"):
        shutil.copytree(PROJECT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture(scope="module")
def made_by(copy: Path) -> dict[str, dict[str, str]]:
    """Verb -> the code of its stage."""
    return {stage.verb: code_of(stage.job, copy) for stage in STAGES if stage.makes}


@contextlib.contextmanager
def edited(path: Path) -> Iterator[None]:
    content = path.read_bytes()
    path.write_bytes(content + b"\n_EDITED = True\n")
    code_parts.part_digest.cache_clear()
    yield
    path.write_bytes(content)
    code_parts.part_digest.cache_clear()


@pytest.mark.parametrize(
    ("file", "part", "stages"),
    [
        ("training/objectives/softmax.py", "training/objectives", {"train", "evaluate"}),
        ("training/loop.py", "training/loop.py", {"train"}),
        ("training/export.py", "training/export.py", {"export"}),
        ("pipelines/dedup/near.py", "pipelines/dedup", {"pairs", "curate"}),
        ("pipelines/clean.py", "pipelines/clean.py", {"curate"}),
        ("pipelines/sources/recordio.py", "pipelines/sources", {"ingest", "reference"}),
        ("pipelines/score/score.py", "pipelines/score", {"score"}),
        ("jobs/shard.py", "jobs/shard.py", {"shard"}),
        ("pipelines/manifest.py", "pipelines/manifest.py", set()),
        ("jobs/report/page.py", "jobs/report", set()),
    ],
)
def test_a_changed_module_is_seen_by_the_stages_that_run_it(
    copy: Path, made_by: dict[str, dict[str, str]], file: str, part: str, stages: set[str]
) -> None:
    def changed() -> dict[str, list[str]]:
        return {verb: parts for verb, known in made_by.items() if (parts := changed_parts(known, copy))}

    assert changed() == {}
    with edited(copy / file):
        assert changed() == {verb: [part] for verb in stages}
    assert changed() == {}


def test_a_part_that_is_gone_is_changed(copy: Path) -> None:
    assert changed_parts({"training/objectives": "0" * 12, "training/elsewhere.py": "1" * 12}, copy) == [
        "training/objectives",
        "training/elsewhere.py",
    ]


def test_the_parts_cover_what_a_job_imports() -> None:
    """The oracle is Python: the modules of an interpreter that imported the job and a builder of each table."""
    script = (
        "import sys, importlib, pkgutil; importlib.import_module('jobs.train')\n"
        "from training.objectives.settings import OBJECTIVES\n"
        "[pkgutil.resolve_name(kind.builder) for kind in OBJECTIVES.values()]\n"
        "print(*(name for name in sys.modules if name.startswith('training.')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    parts = code_of("jobs.train")
    files = {"/".join(name.split(".")[:2]) for name in done.stdout.split()}
    missing = {name for name in files if name not in parts and f"{name}.py" not in parts}
    assert missing == {"training/settings"}  # which carries values that the fingerprint has anyway


def test_few_parts_are_named_and_the_others_counted() -> None:
    assert describe_change([]) == ""
    assert describe_change(["training/objectives"]) == "made by other code (training/objectives changed since)"
    assert describe_change(list("abcdef")) == "made by other code (a, b, c, d and 2 more changed since)"


def finished(settings: RunSettings, plan_through: PlanThrough, plant: Callable[..., None]) -> None:
    """Let the artefacts of a run appear, made by the present code but for a loss."""
    for one in plan_through(settings):
        plant(one, content=str(one.fingerprint))
        if one.folder is None or one.stage.makes is None:
            continue
        made_by = code_of(one.stage.job)
        if one.name == "train":
            made_by = {**made_by, "training/objectives": "0" * 12}
        manifest.write(one.folder, manifest.read(one.folder).model_copy(update={"code": made_by}))


def test_the_plan_names_an_artefact_that_other_code_made(
    real_settings: RunSettings,
    plan_through: PlanThrough,
    plant: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finished(real_settings, plan_through, plant)
    said = {one.name: one.other_code for one in plan(real_settings) if one.other_code}
    assert said == {"train": "made by other code (training/objectives changed since)"}
    ignoring = real_settings.model_copy(update={"code": "ignored"})
    assert not [one.name for one in plan(ignoring) if one.other_code]
    monkeypatch.setattr(cli, "compose", lambda overrides: real_settings)
    monkeypatch.setattr(cli, "identities_of", lambda planned: None)
    assert cli.main(["plan"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "train: cached, made by other code (training/objectives changed since)" in shown


def test_with_code_in_the_fingerprint_a_changed_part_redoes_its_stage_and_what_follows(
    real_settings: RunSettings, plan_through: PlanThrough, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = real_settings.model_copy(update={"code": "fingerprint"})

    def marks() -> dict[str, str | None]:
        return {one.name: one.fingerprint for one in plan_through(settings, content=lambda fingerprint: "the same")}

    before = marks()
    assert marks() == before
    plain = {one.name: one.fingerprint for one in plan(real_settings)}
    assert all(plain[name] != before[name] for name in ("ingest", "pairs", "curate"))
    real = code_parts.part_digest
    monkeypatch.setattr(
        code_parts, "part_digest", lambda part, *rest: "1" if part == "training/loop.py" else real(part, *rest)
    )
    after = marks()
    assert [name for name in before if before[name] != after[name]] == ["train", "evaluate.val", "report"]
