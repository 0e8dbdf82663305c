"""The base of every settings model: frozen, finite, and rejecting unknown keys."""

from pydantic import BaseModel, ConfigDict


class UserError(Exception):
    """A mistake of the user's, told in one line: the value, the place and the remedy. Exit code 2."""


class Settings(BaseModel):
    """Settings of one part, declared beside the code that reads them.

    An unknown key, a wrong type or an infinite number is refused when the model is built. Fields carry their unit in
    the name (``_px``, ``_bytes``, ``_seconds``) and their bounds in ``Field``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)
