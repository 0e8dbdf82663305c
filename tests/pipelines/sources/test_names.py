"""pipelines/sources/names: a name is compared in one form, and its file looked for under the spellings it may have."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.names import bare, comparable, slashed, spellings


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        (b"ann/1.jpg", b"ann/1.jpg"),
        (b"ann\\1.jpg", b"ann/1.jpg"),
        (b"\\\\host\\ann\\1.jpg", b"//host/ann/1.jpg"),
        (b"\x83\x5c.jpg", b"\x83\x5c.jpg"),  # a letter of Shift JIS whose second byte is the backslash
    ],
)
def test_backslashes_are_separators_where_they_are_letters_of_their_own(name: bytes, plain: bytes) -> None:
    assert slashed(name) == plain


def test_a_bare_name_has_no_dot_before_it() -> None:
    assert bare(b"./ann/1.jpg") == bare(b".\\ann\\1.jpg") == bare(b"ann/1.jpg") == b"ann/1.jpg"
    assert bare(b".hidden/1.jpg") == b".hidden/1.jpg"


@pytest.mark.parametrize(
    "name",
    ["josé/1.jpg", "./josé/1.jpg", "josé//1.jpg", "jose\u0301/1.jpg", "josé\\1.jpg", " josé/1.jpg ", "josé/./1.jpg"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_all_spellings_of_a_name_compare_equal(name: str, encoding: str) -> None:
    if encoding == "utf-8" or "\u0301" not in name:
        assert comparable(name.encode(encoding)) == "josé/1.jpg"


@given(st.binary())
def test_any_bytes_can_be_compared_and_once_is_enough(name: bytes) -> None:
    once = comparable(name)
    assert once == unicodedata.normalize("NFC", once)
    assert comparable(once.encode("utf-8", "surrogateescape")) == once


def test_the_written_spelling_is_tried_first_and_none_twice() -> None:
    assert list(spellings("a.jpg")) == ["a.jpg"]
    assert list(spellings("a\\b.jpg")) == ["a\\b.jpg", "a/b.jpg"]
    assert list(spellings("é\\1.jpg")) == ["é\\1.jpg", "é/1.jpg", "e\u0301/1.jpg"]
    assert list(spellings(b"\xe9.jpg".decode(errors="surrogateescape"))) == ["\udce9.jpg", "é.jpg", "e\u0301.jpg"]
