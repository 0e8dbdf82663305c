"""pipelines/sealed: JSON in which no byte can change unseen."""

import json

import pytest

from pipelines.sealed import seal, unseal

DOCUMENT = {"kind": "records", "counts": {"rows": 12}, "files": [{"path": "rows/0", "sha256": "ab"}], "facts": {}}


def test_what_was_sealed_comes_back_and_is_plain_json() -> None:
    content = seal(DOCUMENT)
    assert unseal(content) == DOCUMENT
    assert {name: value for name, value in json.loads(content).items() if name in DOCUMENT} == DOCUMENT
    assert content == seal(dict(reversed(DOCUMENT.items()))), "equal documents give equal bytes"


def test_no_bit_of_it_can_change_unseen() -> None:
    content = seal(DOCUMENT)
    unseen = []
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            try:
                found = unseal(bytes(damaged))
            except ValueError:
                continue
            # A seal whose name was hit is an entry that no reader knows.
            if found.keys() == DOCUMENT.keys():
                unseen.append((position, bit))
    assert not unseen


@pytest.mark.parametrize("keep", range(0, len(seal(DOCUMENT)), 7))
def test_a_cut_one_is_refused(keep: int) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        unseal(seal(DOCUMENT)[:keep])


@pytest.mark.parametrize("more", [b" ", b"\n", b"{}"])
def test_one_with_more_behind_it_is_refused(more: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        unseal(seal(DOCUMENT) + more)


def test_one_of_an_earlier_version_has_no_seal() -> None:
    assert unseal(b'{"kind": "records"}') == {"kind": "records"}


@pytest.mark.parametrize("content", [b"[1]", b"3", b'"sealed_by"', b"\xff", b""])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        unseal(content)
