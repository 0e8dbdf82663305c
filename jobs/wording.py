"""A wrong setting in one line: which key, which value, and what would be right. And sizes, as people say them."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from jobs.secret_values import shown
from pipelines.kinds import Kinds
from pipelines.settings import UserError

# pydantic's error type -> the rule, filled from the error's context.
_RULES = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "choose {expected}",
    "enum": "choose {expected}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be a text; put it in quotes where it stands in a list, a group or a file",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "model_type": "must be a group of settings, given key by key",
    "dict_type": "must be a mapping, such as {{a: b}}",
}


def size_of(num_bytes: int) -> str:
    """Three digits and a unit."""
    power = min(4, max(0, (len(str(num_bytes)) - 1) // 3))
    return f"{num_bytes / 1000**power:,.3g} {('bytes', 'KB', 'MB', 'GB', 'TB')[power]}"


def unknown_key(key: str, known: Iterable[str]) -> UserError:
    """An error that names the keys which look most like the one that nobody knows."""
    parent, _, name = key.rpartition(".")
    names = {other: other.rpartition(".")[2] for other in sorted(known)}
    siblings = [other for other in names if other.rpartition(".")[0] == parent]
    elsewhere = [other for other in names if names[other] == name]
    alike = difflib.get_close_matches(name, [names[other] for other in siblings], n=2, cutoff=0.65)
    close = elsewhere + [other for other in siblings if names[other] in alike]
    hint = f"did you mean {' or '.join(close)}?" if close else f"known here: {', '.join(siblings)}"
    return UserError(f"there is no setting {key}; {hint}")


def wrong_settings(error: ValidationError, model: type[BaseModel] | Kinds[Any], *, prefix: str) -> UserError:
    """The first of pydantic's complaints about a model whose keys begin with ``prefix`` ("" or "model.")."""
    first = error.errors()[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    key = (prefix + ".".join(str(part) for part in first["loc"])).rstrip(".")
    if first["type"] == "extra_forbidden":
        known = (_with_names(prefix + name, key) for name in known_keys(model))
        return UserError(f"{unknown_key(key, known)}{more}")
    if first["type"] == "missing":
        return UserError(f"{key} is not given; add {key}=VALUE{more}")
    # A rule over several settings belongs to the group; its message names them, and the group's content says nothing.
    subject = key if isinstance(first["input"], dict | BaseModel) else f"{key}={shown(key, first['input'])}"
    return UserError(f"{subject}: {_rule(first)}{more}")


def known_keys(model: type[BaseModel] | Kinds[Any], within: frozenset[type] = frozenset()) -> Iterator[str]:
    """The dotted names of every field, those of nested models and of all kinds of a table included.

    A name that the user chooses is `*`: `sets.*.path`.

    Args:
        within: the models around this one, which are not entered again.
    """
    for one in model.models() if isinstance(model, Kinds) else [model]:
        for name, field in one.model_fields.items() if one not in within else ():
            yield name
            for prefix, inner_models in ((name, models_of(field)), (f"{name}.*", models_of_values(field))):
                for inner_model in inner_models:
                    yield from (f"{prefix}.{inner}" for inner in known_keys(inner_model, within | {one}))


def models_of(field: FieldInfo) -> list[type[BaseModel]]:
    """The models that the value of a field may be an instance of."""
    tables = [table for table in field.metadata if isinstance(table, Kinds)]
    if tables:
        return [model for table in tables for model in table.models()]
    is_model = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    return [cast(type[BaseModel], field.annotation)] if is_model else []


def models_of_values(field: FieldInfo) -> list[type[BaseModel]]:
    """The models of the values of a field that is a dict."""
    if get_origin(field.annotation) is not dict:
        return []
    return models_of(FieldInfo.from_annotation(get_args(field.annotation)[1]))


def _with_names(known: str, key: str) -> str:
    """`sets.*.path` with the name that a key has in this place."""
    parts: list[str] = []
    given = key.split(".")
    for part in known.split("."):
        is_given = given[: len(parts)] == parts and len(parts) < len(given)
        parts.append(part if part != "*" else given[len(parts)] if is_given else "NAME")
    return ".".join(parts)


def _rule(details: ErrorDetails) -> str:
    context: dict[str, Any] = details.get("ctx", {})
    if details["type"] == "value_error":
        return str(context["error"])
    rule = _RULES.get(details["type"])
    return rule.format(**context) if rule else details["msg"][:1].lower() + details["msg"][1:]
