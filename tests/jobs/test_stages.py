"""The stages of a run: which there are, and what each reads."""

import ast
import dataclasses
import re
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from jobs.rounds import in_every_round
from jobs.settings import PROJECT, RunSettings
from jobs.stages import STAGES, Stage, river
from jobs.wording import known_keys, models_of
from pipelines.records import ROWS

Change = Callable[..., RunSettings]

SECTIONS = {name for name, field in RunSettings.model_fields.items() if models_of(field)} - {"place"}
# Of a run that asks for nothing special.
ALL = ["ingest", "pairs", "curate", "shard", "train", "evaluate.val", "report"]


def names(settings: RunSettings) -> list[str]:
    return [stage.name for stage in river(settings)]


def reads(settings: RunSettings, stages: tuple[Stage, ...] = STAGES) -> dict[str, dict[str, str]]:
    return {stage.name: dict(stage.lineage) for stage in river(settings, stages)}


def test_a_plain_run_has_the_plain_stages(real_settings: RunSettings) -> None:
    assert names(real_settings) == ALL


def test_references_embeddings_and_rounds_add_their_stages(real_settings: RunSettings, change: Change) -> None:
    sources = [{"kind": "folder", "path": real_settings.source.path}]
    settings = change(real_settings, reference={"sources": sources}, embed={"model": "face.onnx"}, curate={"rounds": 3})
    first = ["ingest", "reference", "pairs", "embed", "score", "curate", "shard", "train", "evaluate.val"]
    again = ["export", "embed", "score", "curate", "shard", "train", "evaluate.val"]
    rounds = [f"{name}-{number}" for number in (2, 3) for name in again]
    assert names(settings) == [*first, *rounds, "report"]


def test_a_later_round_reads_the_newest_artefact_of_every_kind(real_settings: RunSettings, change: Change) -> None:
    stages = reads(change(real_settings, curate={"rounds": 3}))
    assert stages["embed-2"] == {"records": "ingest", "onnx": "export-2"}
    assert stages["export-3"] == {"model": "train-2"}
    assert stages["curate-3"] == {"records": "ingest", "pairs": "pairs", "scores": "score-3"}
    assert stages["evaluate.val"] == {"dataset": "shard", "model": "train"}
    assert stages["report"]["model"] == "train-3"
    assert stages["report"]["evaluation.val"] == "evaluate.val-3"


PRUNE = Stage("prune", "model", ("train",), (), "ranks", "prune", applies=in_every_round)
DISTIL = Stage("distil", "model", ("dataset", "model", "train"), (), "ranks", "distil", applies=in_every_round)


def with_stage(*more: Stage) -> tuple[Stage, ...]:
    at = [stage.verb for stage in STAGES].index("train") + 1
    return (*STAGES[:at], *more, *STAGES[at:])


def test_of_two_stages_that_make_one_kind_a_reader_gets_the_newer_unless_it_names_the_other(
    real_settings: RunSettings,
    change: Change,
) -> None:
    stages = reads(change(real_settings, curate={"rounds": 2}), with_stage(PRUNE, DISTIL))
    assert stages["prune"] == {"train": "train"}
    assert stages["distil"] == {"dataset": "shard", "model": "prune", "train": "train"}
    assert stages["evaluate.val"]["model"] == "distil"
    assert stages["export-2"] == {"model": "distil"}
    assert stages["prune-2"] == {"train": "train-2"}
    assert (stages["report"]["model"], stages["report"]["train"]) == ("distil-2", "train-2")


def test_a_stage_is_done_once_for_each_instance_and_a_reader_gets_them_all(
    real_settings: RunSettings, change: Change
) -> None:
    several = tuple(
        dataclasses.replace(stage, instances=lambda settings: ("lfw", "cfp-fp")) if stage.verb == "evaluate" else stage
        for stage in STAGES
    )
    stages = reads(change(real_settings, curate={"rounds": 2}), several)
    assert [name for name in stages if name.startswith("evaluate")] == [
        "evaluate.lfw",
        "evaluate.cfp-fp",
        "evaluate.lfw-2",
        "evaluate.cfp-fp-2",
    ]
    assert stages["evaluate.cfp-fp"] == {"dataset": "shard", "model": "train"}
    assert {key: name for key, name in stages["report"].items() if key.startswith("evaluation")} == {
        "evaluation.lfw": "evaluate.lfw-2",
        "evaluation.cfp-fp": "evaluate.cfp-fp-2",
    }


def test_a_kind_that_no_stage_makes_is_a_fault_of_the_table(real_settings: RunSettings) -> None:
    with pytest.raises(AssertionError, match="prune reads"):
        river(real_settings, with_stage(dataclasses.replace(PRUNE, reads=("modle",))))


def test_a_verb_that_is_also_a_kind_makes_that_kind() -> None:
    kinds = {stage.makes for stage in STAGES}
    assert [stage.verb for stage in STAGES if stage.verb in kinds and stage.verb != stage.makes] == []
    assert len({stage.verb for stage in STAGES}) == len(STAGES)


def test_what_is_read_of_the_decisions_is_their_main_table() -> None:
    by_content = {stage.verb: dict(stage.by_content) for stage in STAGES if stage.by_content}
    assert by_content == {"shard": {"decisions": ROWS}}


def test_every_section_is_read_by_a_stage() -> None:
    read = {name.partition(".")[0] for stage in STAGES for name in (*stage.settings, *stage.checks_only)}
    assert read == SECTIONS | {"seed"}


def test_what_enters_no_fingerprint_is_a_setting() -> None:
    assert {name for stage in STAGES for name in stage.not_in_fingerprint} <= set(known_keys(RunSettings))


def _last_call(function: ast.FunctionDef, names: Collection[str]) -> ast.Call | None:
    """The call of one of these names with which a function ends; within `if` and `with`, which end there too."""
    statement: ast.stmt = function.body[-1]
    while isinstance(statement, ast.If | ast.With):
        statement = statement.body[-1]
    call = statement.value if isinstance(statement, ast.Expr) else None
    return call if isinstance(call, ast.Call) and ast.unparse(call.func) in names else None


def _functions(path: Path) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.makes], ids=lambda stage: stage.verb)
def test_a_job_ends_with_its_manifest(stage: Stage) -> None:
    """Else the driver calls what failed after it cached."""
    path = PROJECT / f"{stage.job.replace('.', '/')}.py"
    text, functions = path.read_text(), _functions(path)
    assert text.count("context.finish(") == 1
    assert "manifest.write(" not in text
    (finisher,) = (name for name, one in functions.items() if "context.finish(" in ast.unparse(one))
    body = functions[finisher].body
    assert _last_call(functions[finisher], ["context.finish"]), f"{finisher} goes on after context.finish"
    assert isinstance(body[-1], ast.Expr), f"{finisher} leaves a block after context.finish"
    (started,) = re.findall(rf'run_job\("{stage.verb}", (\w+)\)', text)
    if finisher != started:
        call = _last_call(functions[started], ["on_all_ranks"])
        assert call is not None, f"{started} goes on after what calls {finisher}"
        assert ast.unparse(call.args[-1]) == finisher


def test_what_finishes_for_a_job_does_nothing_more() -> None:
    assert _last_call(_functions(PROJECT / "jobs/rank_work.py")["on_all_ranks"], ["finish"])
    assert _last_call(_functions(PROJECT / "jobs/entry.py")["finish"], ["write"])
