"""The settings of the command line, which arrive as they were typed or are refused.

`KEY=VALUE` is cut at its first equals sign. A value is a text, which the type of its setting converts: a text or a path
is taken to the letter, with every space, `#`, `:`, bracket or `$`. Two things are read: `null` is none where a setting
may be none, and `[...]` or `{...}` is a list or a group in the notation of YAML where a setting takes one.
"""

import os
import re
import types
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs.secret_values import shown
from jobs.wording import models_of, models_of_values
from pipelines.paths import ADDRESS
from pipelines.settings import IsPath, UserError

Tree = dict[str, Any]

_NONE = ("null", "~")
_MAX_PART_BYTES = 255  # of a path between two slashes
_SHOWN = 60  # characters of a value that is too long
_EXPONENT = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?[eE][+-]?[0-9]+")  # pydantic takes none for a whole number


@dataclass(frozen=True)
class _Setting:
    """One setting, as far as reading its value needs it."""

    parts: tuple[str, ...]  # of its key; the last may contain dots where the user chooses the names
    is_text: bool = False  # a text, a path or one of several words
    is_path: bool = False
    is_local: bool = False  # a path of this machine, which no address can be
    may_be_none: bool = True


def read_overrides(
    overrides: Sequence[str], groups: Mapping[str, Sequence[str]], model: type[BaseModel]
) -> tuple[list[str], Tree]:
    """The choices of groups, as they are, and the tree of values; the latter may name what no file of conf/ does.

    Args:
        groups: group -> its options.
        model: of the whole, whose fields say what a value is.

    Raises:
        UserError: one of them is no setting, or its value cannot be taken as it is.
    """
    choices: list[str] = []
    values: Tree = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise UserError(f"{override!r} is no setting; write key=value, such as recipe.epochs=5")
        if key not in groups:
            setting = _find(key, model)
            merge(values, _nested(setting.parts, _read(key, value, setting)))
        elif value in (*groups[key], "null"):
            choices.append(override)
        else:
            options = ", ".join(groups[key])
            raise UserError(f"{key}={value}: there is no conf/{key}/{value}.yaml; choose one of {options}")
    return choices, values


def merge(into: Tree, values: Mapping[str, Any]) -> None:
    """Put values into a tree: groups are merged, anything else is replaced."""
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _nested(parts: Sequence[str], value: Any) -> Tree:
    for part in reversed(parts):
        value = {part: value}
    tree: Tree = value
    return tree


def _find(key: str, model: type[BaseModel]) -> _Setting:
    """The setting of a key; where there is none, one whose value the check of the whole will refuse with its key."""
    parts = key.split(".")
    models: Sequence[type[BaseModel]] = [model]
    place = 0
    while place < len(parts):
        fields = [one.model_fields[parts[place]] for one in models if parts[place] in one.model_fields]
        place += 1
        if fields and place == len(parts):
            return _of_fields(parts, fields)
        if any(_is_named_texts(field) for field in fields):
            return _Setting((*parts[:place], ".".join(parts[place:])), is_text=True, may_be_none=False)
        models = [inner for field in fields for inner in models_of(field)]
        if named := [inner for field in fields for inner in models_of_values(field)]:
            models, place = named, place + 1  # past a name that the user chooses, such as that of an evaluation set
    return _Setting(tuple(parts))


def _of_fields(parts: Sequence[str], fields: Sequence[FieldInfo]) -> _Setting:
    leaves = {leaf for field in fields for leaf in _leaves(field.annotation)}
    is_text = leaves <= {str, Path, None} and leaves != {None}
    is_marked = any(isinstance(mark, IsPath) for field in fields for mark in field.metadata)
    return _Setting(
        tuple(parts),
        is_text=is_text,
        is_path=is_text and (Path in leaves or is_marked),
        is_local=is_text and Path in leaves,
        may_be_none=not is_text or None in leaves,
    )


def _leaves(annotation: Any) -> set[type | None]:
    """The types that a value may have: str (or one of several words), Path, None, and object for any other."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return {leaf for one in get_args(annotation) for leaf in _leaves(one)}
    if origin is Literal:
        return {str if isinstance(word, str) else object for word in get_args(annotation)}
    if annotation is type(None):
        return {None}
    return {annotation if annotation in (str, Path) else object}


def _is_named_texts(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict and get_args(field.annotation)[1] is str


def _read(key: str, value: str, setting: _Setting) -> Any:
    _check_characters(key, value)
    if value in _NONE and setting.may_be_none and not (setting.is_path and value == "~"):
        return None
    if setting.is_text:
        _check_text(key, value, setting)
        return value
    if value.strip()[:1] in ("[", "{"):
        return _flow(key, value)
    return float(value) if _EXPONENT.fullmatch(value.strip()) else value


def _check_characters(key: str, value: str) -> None:
    """Refuse what a log, a command line or a file of settings cannot show in one line."""
    odd = next((one for one in value if unicodedata.category(one) in ("Cc", "Zl", "Zp")), None)
    if odd is not None:
        raise UserError(
            f"{key}={shown(key, value)!r} contains the control character {odd!r}; leave it out, or rename the file"
        )


def _check_text(key: str, value: str, setting: _Setting) -> None:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        raise UserError(
            f"{key}={shown(key, value)}: the quotes around the value would be part of it; leave them out, since a text "
            "is taken to the letter and only the shell needs its own"
        )
    if not setting.is_path:
        return
    if not value:
        raise UserError(f"{key}= names no path; give one" + (f", or {key}=null" if setting.may_be_none else ""))
    if value.startswith("~"):
        raise UserError(
            f"{key}={value}: a shell replaces ~ at the beginning of a word only; write the whole path, "
            f"or {key}=./{value} for a file of this name"
        )
    if setting.is_local and ADDRESS.match(value):
        raise UserError(f"{key}={shown(key, value)}: an address, and {key} takes a path of this machine; write one")
    longest = max(len(os.fsencode(part)) for part in value.split("/"))
    if longest > _MAX_PART_BYTES and not ADDRESS.match(value):
        raise UserError(
            f"{key}={value[:_SHOWN]}... has a part of {longest} bytes; shorten it to {_MAX_PART_BYTES}, as file "
            "systems allow"
        )


def _flow(key: str, value: str) -> Any:
    """A list or a group, whose leaves stay texts; plain `null` is none.

    Raises:
        UserError: it is neither, or uses what would change a text in it: a comment, an anchor, a tag.
    """
    loader = yaml.BaseLoader(value)
    try:
        node = loader.get_single_node()
        events = list(yaml.parse(value, yaml.BaseLoader))
        has_marks = any(getattr(one, "anchor", None) or getattr(one, "tag", None) for one in events)
        if node is None or has_marks or value.strip()[-1] not in "]}":
            raise yaml.YAMLError("it has a comment, an anchor or a tag")
        return _plain(node)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise UserError(
            f"{key}={shown(key, value)} cannot be read ({reason}); write a list as [a, b] and a group as {{key: a}}, "
            "and put texts with special characters in quotes: [\"a #1\", 'b: c']"
        ) from None
    finally:
        loader.dispose()


def _plain(node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_plain(one) for one in node.value]
    if isinstance(node, yaml.MappingNode):
        pairs = [(str(key.value), _plain(inner)) for key, inner in node.value]
        if len({name for name, _ in pairs}) < len(pairs):
            raise yaml.YAMLError("a key of it is given twice")
        return dict(pairs)
    is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return None if is_plain and node.value in (*_NONE, "") else node.value
