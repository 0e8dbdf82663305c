"""Names of columns, members and keys that hold a picture's name or identity, found in any case of letters."""

from collections.abc import Iterable, Sequence

NAME_COLUMNS = (
    *("path", "file", "filename", "file_name", "image", "name", "source"),
    *("filepath", "file_path", "image_path", "img_path", "image_name", "img", "image_id"),
)
IDENTITY_COLUMNS = ("identity", "label", "class", "person", "id")


def find_column(columns: Sequence[str], wanted: Iterable[str]) -> str | None:
    """The first wanted name that is a column, as the column writes it; None if none is.

    A name in exactly the wanted letters goes before one in another case or with blanks around it.
    """
    plain: dict[str, str] = {}
    for column in columns:
        plain.setdefault(_plain(column), column)
    for name in wanted:
        if name in columns:
            return name
        if _plain(name) in plain:
            return plain[_plain(name)]
    return None


def _plain(name: str) -> str:
    return name.strip().casefold()
