"""Values that stand in the names of folders, such as `identity=alice/`, as Hive and Spark's partitionBy write them."""

from urllib.parse import unquote

_MISSING = "__HIVE_DEFAULT_PARTITION__"  # the folder of rows whose value is null or empty


def partition_values(folder: str) -> dict[str, str | None]:
    """Key -> value of every part `key=value` of a path, decoded from percent signs; None for a missing value."""
    pairs = (part.partition("=") for part in folder.split("/"))
    return {
        unquote(key): None if value == _MISSING else unquote(value, errors="backslashreplace")
        for key, equals, value in pairs
        if key and equals
    }
