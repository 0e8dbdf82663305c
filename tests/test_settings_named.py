"""Every setting that a message, a file of conf/ or a document names exists, and every value it is given is accepted."""

import ast
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from jobs.cli import app, sample
from jobs.settings import CONF, RunSettings, group_options
from jobs.stages import STAGES
from pipelines.kinds import Kinds
from pipelines.sample.settings import SampleSettings

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipelines", "training", "jobs")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(CONF.rglob("*.yaml"))]
FREE = "**"  # below it any key is taken
ANY_NAME = "*"  # one name that the user chooses

# Last words that make a dotted word the name of a file: model.safetensors, embed.py.
_FILES = {
    "py",
    "json",
    "jsonl",
    "safetensors",
    "onnx",
    "yaml",
    "html",
    "txt",
    "png",
    "md",
    "tar",
    "parquet",
    "pt",
    "sh",
}
_DOTTED = re.compile(r"(?<![\w./@:-])[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+(?![\w(/])")
_CHOICE = re.compile(r"(?<![\w./-])([a-z]\w*(?:\.\w+)*)=([^\s`;|{}<>()\[\]'\"]*[^\s`;|{}<>()\[\]'\".,:])")
_PLACEHOLDER = re.compile(r"[A-Z]{2,}|^[A-Z]$|%|\.\.\.")


@dataclass
class Node:
    """What may stand at one place in the tree of settings."""

    below: dict[str, "Node"] = field(default_factory=dict)
    annotations: list[Any] = field(default_factory=list)  # of a value given at this place; any of them may take it

    def find(self, key: str) -> "Node | None":
        node: Node | None = self
        for name in key.split("."):
            if node is None or FREE in node.below:
                return node
            node = node.below.get(name) or node.below.get(ANY_NAME)
        return node

    def accepts(self, value: Any) -> bool:
        return any(_is_valid(annotation, value) for annotation in self.annotations)


def _is_valid(annotation: Any, value: Any) -> bool:
    try:
        TypeAdapter(annotation).validate_python(value)
    except ValidationError:
        return False
    return True


def walk(model: type[BaseModel], node: Node, within: frozenset[type[BaseModel]] = frozenset()) -> Node:
    """Add the fields of a model, and of the models within it, below a node; a model within itself only once."""
    if model in within:
        return node
    for name, info in model.model_fields.items():
        child = node.below.setdefault(name, Node())
        whole = typing.Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        child.annotations.append(whole)
        _walk_annotation(whole, child, within | {model})
    return node


def _walk_annotation(annotation: Any, node: Node, within: frozenset[type[BaseModel]]) -> None:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        walk(annotation, node, within)
    elif origin in (typing.Union, types.UnionType):
        for one in arguments:
            _walk_annotation(one, node, within)
    elif origin is typing.Annotated:
        tables = [one for one in arguments[1:] if isinstance(one, Kinds)]
        for one in [model for table in tables for model in table.models()] or arguments[:1]:
            _walk_annotation(one, node, within)
    elif origin is dict and _has_model(arguments[1]):
        _walk_annotation(arguments[1], node.below.setdefault(ANY_NAME, Node(annotations=[arguments[1]])), within)
    elif origin is dict or annotation is dict:
        node.below[FREE] = Node(annotations=[Any])


def _has_model(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(_has_model(one) for one in typing.get_args(annotation))


@cache
def known() -> Node:
    """Every setting of a run, those of all kinds included."""
    return walk(RunSettings, Node())


@cache
def sections() -> frozenset[str]:
    """The settings of a run that have settings of their own."""
    return frozenset(name for name, node in known().below.items() if node.below and FREE not in node.below)


@cache
def inner_groups() -> dict[str, list[Node]]:
    """Groups within sections by name: messages of a section's own rules name settings from there, as the key is given
    by whoever shows the message ("recipe: schedule.warmup_epochs=...")."""
    found: dict[str, list[Node]] = {}

    def visit(node: Node) -> None:
        for name, child in node.below.items():
            if child.below and FREE not in child.below:
                found.setdefault(name, []).append(child)
                visit(child)

    for section in sections():
        visit(known().below[section])
    return found


def unknown_in(text: str) -> list[str]:
    """The dotted words that look like settings and are none."""
    return [word for word in _DOTTED.findall(text) if word.rpartition(".")[2] not in _FILES and not _exists(word)]


def _exists(word: str) -> bool:
    head, _, rest = word.partition(".")
    if head in sections():
        return known().find(word) is not None
    return head not in inner_groups() or any(node.find(rest) is not None for node in inner_groups()[head])


def refused_in(text: str) -> list[str]:
    """The assignments, such as objective=f2c or shard.layout=identity, whose value is not accepted."""
    return [f"{key}={value}" for key, value in _CHOICE.findall(text) if not _is_accepted(key, value)]


def _is_accepted(key: str, value: str) -> bool:
    if _PLACEHOLDER.search(value):
        return True
    groups = group_options(CONF)
    if key in groups:
        return value in (*groups[key], "null")
    head, dot, _ = key.partition(".")
    if not dot or head not in sections():
        return True
    node = known().find(key)
    return node is not None and node.accepts(yaml.safe_load(value))


def literals(tree: ast.AST) -> Iterator[str]:
    """The string literals of a module but for docstrings and names of collectives (`name="pool.labels"`); an f-string
    has a placeholder for each of its values."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "name":
            skipped.add(id(node.value))
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            skipped.add(id(body[0].value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            parts = (part.value if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
            yield "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def own_rules() -> Iterator[tuple[type[BaseModel], str]]:
    """The messages in the rules of each settings model, which name its fields without the section."""
    for path in SOURCES:
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Settings" for base in node.bases):
                model = getattr(importlib.import_module(module), node.name)
                for rule in ast.walk(node):
                    if isinstance(rule, ast.Raise):
                        yield from ((model, text) for text in literals(rule))


def unknown_in_rule(model: type[BaseModel], text: str) -> list[str]:
    """What is assigned in a message of a model's own and is neither a field below it nor a setting of a run."""
    root = walk(model, Node())
    assigned = re.findall(r"(?<![\w.])([a-z]\w*(?:\.\w+)*)=", text)
    return [key for key in assigned if root.find(key) is None and known().find(key) is None]


def _texts(path: Path) -> list[str]:
    if path.suffix == ".py":
        return list(literals(ast.parse(path.read_text())))
    if path.suffix == ".yaml":
        return [line.partition("#")[2] for line in path.read_text().splitlines()]
    # Python in documents has attributes, which look like settings.
    return [re.sub(r"```python\n.*?```", "", path.read_text(), flags=re.DOTALL)]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [*SOURCES, *TEXTS], ids=_name)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    assert [word for text in _texts(path) for word in unknown_in(text)] == []


@pytest.mark.parametrize("path", [*SOURCES, *TEXTS], ids=_name)
def test_every_value_that_is_advised_is_accepted(path: Path) -> None:
    assert [word for text in _texts(path) for word in refused_in(text)] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("it diverged: lower recipe.lr and train again", ["recipe.lr"]),
        ("lower evaluate.sets.lfw.folds, enlarge split.val, or evaluate", ["split.val"]),
        ("set recipe.schedule.base_lr, or curate.split.val_fraction=0", []),
        ("set place.spark_conf.spark.archives, and read model.safetensors in embed.py", []),
        ("schedule.warmup_epochs=VALUE is not below epochs=VALUE", []),
        ("schedule.warm=VALUE", ["schedule.warm"]),
        ("objective.pool.slotz=VALUE cannot hold", ["objective.pool.slotz"]),
    ],
)
def test_a_setting_that_is_none_is_found(text: str, wrong: list[str]) -> None:
    assert unknown_in(text) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("set objective=f2c, shard.layout=identity or place=cluster.", []),
        ("set objective=f3c", ["objective=f3c"]),
        ("choose shard.layout=person", ["shard.layout=person"]),
        ("recipe.epochs=ten", ["recipe.epochs=ten"]),
        ("curate.blur.min=50, curate.dominance.max=null, source.path=VALUE is", []),
    ],
)
def test_a_value_that_is_refused_is_found(text: str, wrong: list[str]) -> None:
    assert refused_in(text) == wrong


def test_rules_of_the_models_name_their_fields() -> None:
    rules = list(own_rules())
    assert len(rules) > 10
    assert {(model.__name__, key) for model, text in rules for key in unknown_in_rule(model, text)} == set()


# The rule on the two sides cannot be broken by the command, which has no option for them.
NOT_OF_THE_COMMAND = "min_side_px="
STAGE_NAMES = {stage.verb for stage in STAGES}
_STAGE_NAMED = re.compile(r"\b(?:the|its) stages? ([a-z_]+)(?=[\s;,.)]|$)(?! of\b)")


def options_of_sample() -> set[str]:
    return {name for name in inspect.signature(sample).parameters if name != "out"}


def wrong_options_in(text: str) -> list[str]:
    """The settings of the sample that a message names and the command `ringmill sample` cannot set."""
    named = [name for name in SampleSettings.model_fields if re.search(rf"\b{name}\b", text.replace("--", ""))]
    return [name for name in named if name not in options_of_sample() and NOT_OF_THE_COMMAND not in text]


def unknown_stages_in(text: str) -> list[str]:
    return [name for name in _STAGE_NAMED.findall(text) if name not in STAGE_NAMES | _NO_NAMES]


_NO_NAMES = {
    "again",
    "is",
    "are",
    "that",
    "has",
    "of",
    "to",
    "was",
    "in",
    "may",
    "and",
    "writes",
    "reads",
    "makes",
    "gets",
}


def user_errors(path: Path) -> Iterator[str]:
    """The texts of the errors that a file raises for the user."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("UserError", "StageFailedError", "Fault"):
            yield from literals(node)


@pytest.mark.parametrize("path", [path for path in SOURCES if "sample" in path.parts], ids=_name)
def test_messages_of_the_sample_name_options_of_its_command(path: Path) -> None:
    assert [word for text in user_errors(path) for word in wrong_options_in(text)] == []


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_every_stage_that_a_message_names_exists(path: Path) -> None:
    assert [name for text in user_errors(path) for name in unknown_stages_in(text)] == []


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_no_message_advises_another_name_of_the_run_where_none_would_help(path: Path) -> None:
    """Artefacts lie under their fingerprints, so a run of another name meets the same ones."""
    advised = [text for text in user_errors(path) if re.search(r"(?:use|choose) another name", text)]
    assert advised == []


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_every_command_that_a_message_names_exists(path: Path) -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    named = {name for text in user_errors(path) for name in re.findall(r"`ringmill ([a-z]+)", text)}
    assert named <= commands


@pytest.mark.parametrize(
    ("text", "options", "stages"),
    [
        ("raise photos or lower min_faults", ["min_faults"], []),
        ("raise --photos or --identities", [], []),
        ("run the stage export-all first", [], []),
        ("run the stage press first", [], ["press"]),
        ("run its stage train; the stage is due", [], []),
    ],
)
def test_an_option_or_a_stage_that_is_none_is_found(text: str, options: list[str], stages: list[str]) -> None:
    assert wrong_options_in(text) == options
    assert unknown_stages_in(text) == stages


class _Kitchen(BaseModel):
    size: int = 1


class _Garden(BaseModel):
    trees: dict[str, int] = {}


class _House(BaseModel):
    room: typing.Annotated[_Kitchen | _Garden, "chosen by kind"] = _Kitchen()
    rooms: dict[str, _Kitchen | _Garden] = {}
    maybe: _Kitchen | None = None


@pytest.mark.parametrize(
    ("key", "exists"),
    [
        ("room.size", True),
        ("room.trees.oak", True),
        ("room.door", False),
        ("rooms.east.size", True),
        ("rooms.east.door", False),
        ("maybe.size", True),
        ("maybe.door", False),
    ],
)
def test_the_walk_knows_unions_and_mappings(key: str, exists: bool) -> None:
    assert (walk(_House, Node()).find(key) is not None) is exists


def test_a_field_that_a_rule_invents_is_found() -> None:
    assert unknown_in_rule(_House, "room.size=VALUE, maybe.door=VALUE or recipe.epochs=VALUE") == ["maybe.door"]
