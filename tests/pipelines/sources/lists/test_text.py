"""pipelines/sources/lists/text: encodings are recognised, and what is no text is refused."""

import codecs
from pathlib import Path

import pytest

from pipelines.settings import UserError
from pipelines.sources.lists.text import decoded, is_utf8, read_lines

TEXT = "path,identity\nfaces/josé/1.jpg,José\n顔/1.jpg,花子\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode("utf-16"),
        TEXT.removesuffix("\n").encode(),
    ],
)
def test_lines_are_the_same_in_any_encoding_and_with_any_end(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l.csv").write_bytes(content)
    assert list(read_lines(tmp_path / "l.csv")) == TEXT.splitlines()
    assert is_utf8(tmp_path / "l.csv")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_windows_1252_is_recognised_and_its_bytes_are_kept(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "l.csv"
    path.write_bytes(("x\n" * 5000 + "josé\n").encode(encoding))
    *_, last = read_lines(path)
    assert last.encode("utf-8", "surrogateescape") == b"jos\xe9"
    assert decoded(last) == "josé"
    assert not is_utf8(path)


@pytest.mark.parametrize(
    ("field", "words"),
    [("josé", "josé"), ("jos\udce9", "josé"), ("\udc81x", "\\x81x"), ("\ud800x", "\\ud800x"), ("\udcc3\udca9", "é")],
)
def test_a_field_is_text_whatever_its_bytes(field: str, words: str) -> None:
    assert decoded(field) == words


def test_a_zero_byte_in_a_text_is_left_to_its_line(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(b"a.jpg ann\nb\0.jpg bob\n")
    assert list(read_lines(tmp_path / "l.txt")) == ["a.jpg ann", "b\0.jpg bob"]


@pytest.mark.parametrize(
    "content", [bytes(1000), bytes(range(256)) * 4, b"PAR1" + bytes(50), b"\x89PNG\r\n\x1a\n\0\0\0\r"]
)
def test_what_is_no_text_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "l.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path} is no text .*save it as UTF-8$"):
        list(read_lines(path))
