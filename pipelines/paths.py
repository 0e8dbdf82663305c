"""Relative paths in settings, made absolute, since jobs may read the settings in another working directory."""

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
        is_path = any(isinstance(mark, IsPath) for mark in field.metadata)
        absolute = _absolute(value, base, is_path=is_path)
        if absolute != value:
            changes[name] = absolute
    return settings.model_copy(update=changes) if changes else settings


def _absolute(value: Any, base: Path, *, is_path: bool) -> Any:
    if isinstance(value, Settings):
        return with_absolute_paths(value, base)
    if isinstance(value, Path):
        return base / value
    if isinstance(value, str):
        # Braces may stand for several absolute paths, as in {/a,/b}/*.tar.
        is_relative = is_path and not ADDRESS.match(value) and not value.startswith(("/", "{/"))
        return f"{base}/{value.removeprefix('./')}" if is_relative else value
    if isinstance(value, tuple | list):
        return type(value)(_absolute(one, base, is_path=is_path) for one in value)
    if isinstance(value, Mapping):
        return {key: _absolute(one, base, is_path=is_path) for key, one in value.items()}
    return value
