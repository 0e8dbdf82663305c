"""Secrets among the settings of Spark, such as the keys of an object store: known by their names, and shown nowhere."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_CONF = "spark_conf."  # the section of settings whose names the user chooses
_NAME = re.compile(r"secret|passw|passphrase|token|key|credential|signature|(^|[._-])(sas|pwd)($|[._-])", re.IGNORECASE)
# In a value: -Djavax.net.ssl.keyStorePassword=... for Java, and the user of an address.
_ASSIGNED = re.compile(r"([\w.-]*(?:secret|passw|token|credential)[\w.-]*=)[^\s,;&]+", re.IGNORECASE)
_USER = re.compile(r"(://)[^/@\s]*:[^/@\s]+@")


def is_secret(name: str) -> bool:
    """True where the name of a setting of Spark says that its value is a secret."""
    return _NAME.search(name) is not None


def secrets_of(conf: Mapping[str, str]) -> dict[str, str]:
    """The settings of Spark that are secrets."""
    return {name: value for name, value in conf.items() if is_secret(name)}


def shown(key: str, value: object) -> str:
    """The value of a setting for messages and pages, without a secret.

    Args:
        key: with its section, such as `place.spark_conf.spark.ui.port`.
    """
    name = key.partition(_CONF)[2]
    return HIDDEN if name and is_secret(name) else hidden(str(value))


def hidden(text: str) -> str:
    """A text without the secrets that it names, or that stand in an address."""
    return _USER.sub(rf"\1{HIDDEN}@", _ASSIGNED.sub(rf"\1{HIDDEN}", text))


def without_secrets(value: Any, key: str = "") -> Any:
    """Settings as plain values, with secrets hidden at any depth."""
    if isinstance(value, Mapping):
        return {name: without_secrets(inner, f"{key}.{name}" if key else str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(inner, key) for inner in value]
    return shown(key, value) if isinstance(value, str) else value
