"""Tables of kinds: each kind has a settings model and a builder, and the settings name the kind that they choose.

A field ``objective: Annotated[ObjectiveSettings, OBJECTIVES]`` takes the settings of any kind in the table OBJECTIVES,
distinguished by the field ``name`` (or ``kind``): a discriminated union to which a line can be added at any time.
Builders are given by name and imported on use, so that reading settings imports none of them.
"""

import pkgutil
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from pydantic import GetCoreSchemaHandler, SerializationInfo, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from pipelines.settings import Settings

Chosen = TypeVar("Chosen", bound=Settings)


@dataclass(frozen=True)
class Kind(Generic[Chosen]):
    """One line of a table."""

    settings: (
        "type[Chosen] | Kinds[Chosen]"  # a table where the kind has kinds of its own, distinguished by another key
    )
    builder: str  # "package.module:function", or "package.module" where the module itself is the implementation


class Kinds(dict[str, Kind[Chosen]], Generic[Chosen]):
    """Name -> kind; as the annotation of a field it makes the field a union of the kinds' settings."""

    def __init__(self, key: str, kinds: dict[str, Kind[Chosen]], *, default: str | None = None) -> None:
        """Make a table.

        Args:
            key: the field of each kind's settings that holds its name.
            default: the kind where the key is not given; None = it must be.
        """
        super().__init__(kinds)
        self.key = key
        self.default = default

    def builder(self, settings: Settings) -> Any:
        """The builder of the kind that the settings choose, imported."""
        return pkgutil.resolve_name(self[getattr(settings, self.key)].builder)

    def validate(self, value: Any) -> Chosen:
        """The settings as the model of the kind that they name.

        Raises:
            ValidationError: the kind is unknown or not named, or a field does not belong to it.
        """
        if isinstance(value, Settings):
            return cast(Chosen, value)
        if not isinstance(value, dict):
            raise self._error(PydanticCustomError("kind", "must be a group of settings, given key by key"), (), value)
        name = value.get(self.key, self.default)
        if name is None:
            missing = InitErrorDetails(type="missing", loc=(self.key,), input=value)
            raise ValidationError.from_exception_data(self.key, [missing])
        if name not in self:
            error = PydanticCustomError("kind", "choose {known}", {"known": _or_list([repr(one) for one in self])})
            raise self._error(error, (self.key,), name)
        values = {**self._own_fields(name, value), self.key: name}
        chosen = self[name].settings
        return chosen.validate(values) if isinstance(chosen, Kinds) else chosen.model_validate(values)

    def models(self) -> list[type[Chosen]]:
        """The settings of every kind."""
        return [model for kind in self.values() for model in _models(kind)]

    def _own_fields(self, name: str, value: dict[str, Any]) -> dict[str, Any]:
        """The value without the null fields of other kinds: null takes back what conf/ says of another kind."""
        fields = {
            other: {field for model in _models(kind) for field in model.model_fields} for other, kind in self.items()
        }
        for field in value.keys() - fields[name]:
            owners = [other for other in self if field in fields[other]]
            if owners and value[field] is not None:
                message = "belongs to {owners}, and {key} is {name}; set it to null, or choose another {key}"
                context = {"owners": _or_list(owners), "key": self.key, "name": name}
                raise self._error(PydanticCustomError("kind", message, context), (field,), value[field])
            if owners:
                value = {key: inner for key, inner in value.items() if key != field}
        return value

    def _error(self, error: PydanticCustomError, loc: tuple[str, ...], value: Any) -> ValidationError:
        return ValidationError.from_exception_data(self.key, [InitErrorDetails(type=error, loc=loc, input=value)])

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def dump(value: Settings, info: SerializationInfo) -> dict[str, Any]:
            return value.model_dump(mode=info.mode)

        serialization = core_schema.plain_serializer_function_ser_schema(dump, info_arg=True)
        return core_schema.no_info_plain_validator_function(self.validate, serialization=serialization)


def _models(kind: Kind[Chosen]) -> list[type[Chosen]]:
    return kind.settings.models() if isinstance(kind.settings, Kinds) else [kind.settings]


def _or_list(names: list[str]) -> str:
    """``a, b or c``."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
