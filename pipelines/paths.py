"""Paths in settings, made absolute and written in one way, since jobs may read them in another working directory and
compare them as texts."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pipelines.settings import IsPath, Settings

Model = TypeVar("Model", bound=Settings)

ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:(//|:)")  # scheme:// or a chain such as zip::


def with_absolute_paths(settings: Model, base: Path) -> Model:
    """The settings with every relative path below a folder; addresses such as ``s3://bucket`` stay.

    Paths are the values of type Path, and texts in fields that are marked by ``IsPath``, at any depth.
    """
    changes = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        mark = next((one for one in field.metadata if isinstance(one, IsPath)), None)
        absolute = _absolute(value, base, mark)
        if absolute != value:
            changes[name] = absolute
    return settings.model_copy(update=changes) if changes else settings


def tidy(path: str, *, keeps_end: bool = False) -> str:
    """An absolute path without what changes nothing: doubled slashes, `.`, a slash at its end, `..` behind a folder.

    `..` behind a link, or behind what is no folder, stays: it leads elsewhere, or is part of a pattern.

    Args:
        keeps_end: a slash at the end stays, since the path is the beginning of others.
    """
    parts: list[str] = []
    for part in path.split("/"):
        before = "/" + "/".join(parts)
        if part == ".." and parts and os.path.isdir(before) and not os.path.islink(before):
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    end = "/" if keeps_end and path.endswith("/") and parts else ""
    return f"/{'/'.join(parts)}{end}"


def _absolute(value: Any, base: Path, mark: IsPath | None) -> Any:
    if isinstance(value, Settings):
        return with_absolute_paths(value, base)
    if isinstance(value, Path):
        return Path(tidy(str(base / value)))
    if isinstance(value, str):
        return value if mark is None else _absolute_text(value, base, mark)
    if isinstance(value, tuple | list):
        return type(value)(_absolute(one, base, mark) for one in value)
    if isinstance(value, Mapping):
        return {key: _absolute(one, base, mark) for key, one in value.items()}
    return value


def _absolute_text(value: str, base: Path, mark: IsPath) -> str:
    # Braces may stand for several absolute paths, as in {/a,/b}/*.tar.
    if ADDRESS.match(value) or value.startswith("{/"):
        return value
    return tidy(value if value.startswith("/") else f"{base}/{value}", keeps_end=mark.is_beginning)
