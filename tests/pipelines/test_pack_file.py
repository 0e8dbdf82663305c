"""The oracle is pickle itself, writing every protocol; the hostile packs are real attacks that must run nothing."""

import os
import pickle
import tracemalloc

import numpy as np
import pytest

from pipelines.pack_file import read_pack
from pipelines.settings import UserError

IMAGES = [bytes([place]) * 5 + b"\xff\xd8\0" for place in range(8)]
VERDICTS = [True, False, True, False]


def _load(content):
    return read_pack(content, path="pack.bin")


def _check(pack):
    assert pack == (IMAGES, VERDICTS)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("as_arrays", [False, True])
def test_packs_of_every_protocol_are_read(protocol, as_arrays):
    images = [np.frombuffer(image, np.uint8).copy() for image in IMAGES] if as_arrays else IMAGES
    verdicts = np.array(VERDICTS) if as_arrays else VERDICTS
    _check(_load(pickle.dumps((images, verdicts), protocol=protocol)))


def test_columns_are_read_as_rows():
    images = [np.frombuffer(image, np.uint8).reshape(-1, 1).copy() for image in IMAGES]
    _check(_load(pickle.dumps((images, VERDICTS), protocol=4)))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_names_of_numpy_2_are_read(protocol):
    content = pickle.dumps(([np.frombuffer(image, np.uint8).copy() for image in IMAGES], VERDICTS), protocol=protocol)
    # The length of a name stands before it from protocol 4 on.
    renamed = content.replace(b"cnumpy.core.", b"cnumpy._core.")
    for module in (b"numpy.core.multiarray", b"numpy.core.numeric"):
        spelt = module.replace(b".core", b"._core")
        renamed = renamed.replace(bytes([0x8C, len(module)]) + module, bytes([0x8C, len(spelt)]) + spelt)
    # The frame's length no longer fits; a pickle without frames is one too.
    if protocol >= 4:
        renamed = renamed[:2] + renamed[11:]
    assert b"numpy._core" in renamed
    assert b"numpy.core" not in renamed
    _check(_load(renamed))


def test_the_strings_of_python_2_are_pictures():
    strings = b"".join(b"U" + bytes([len(image)]) + image for image in IMAGES)  # SHORT_BINSTRING
    _check(_load(b"\x80\x02](" + strings + b"e](I01\nI00\nI01\nI00\ne\x86."))


class _Attack:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pack_that_calls_the_system_runs_nothing_and_is_named(tmp_path, protocol):
    witness = tmp_path / "was-here"
    content = pickle.dumps(([_Attack(os.system, f"touch {witness}")], [True]), protocol=protocol)
    with pytest.raises(UserError, match=r"posix\.system"):
        _load(content)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("builtins", "eval"), ("numpy", "load"), ("numpy", "ndarray.tofile"), ("codecs", "open"), ("", "")],
)
def test_any_name_outside_the_closed_world_is_refused(module, name):
    content = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93."
    with pytest.raises(UserError, match="do not trust this file"):
        _load(content)


def test_nothing_of_the_closed_world_can_be_altered_by_a_pack():
    function = b"cnumpy.core.multiarray\n_reconstruct\n"
    with pytest.raises(UserError, match="state for something that has none"):
        _load(b"\x80\x02" + function + b"NK\x01\x86b.")
    with pytest.raises(UserError, match="opcode EMPTY_DICT is not needed for data"):
        _load(b"\x80\x02" + function + b"}U\x05_makeK\x01sb.")
    _check(_load(pickle.dumps((IMAGES, VERDICTS))))


@pytest.mark.parametrize(
    "pack",
    [
        ([np.zeros(3, np.float32)] * 2, [True]),
        ([np.zeros((2, 2), np.uint8)] * 2, [True]),
        ([np.array([b"x"], dtype=object)] * 2, [True]),
        (["text"] * 2, [True]),
        ([b"a", b"b"], [2]),
        ([b"a", b"b"], ["x"]),
        ([b"a", b"b"],),
        {"images": 1},
        7,
    ],
)
def test_a_pickle_of_something_else_is_refused_in_one_line(pack):
    with pytest.raises(UserError, match="is no pickle of") as error:
        _load(pickle.dumps(pack))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"hello", pickle.dumps((IMAGES, VERDICTS))[:60], b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f"]
)
def test_a_damaged_pack_is_refused(content):
    with pytest.raises(UserError, match="is no pickle of"):
        _load(content)


def _array(raw: bytes, shape: bytes) -> bytes:
    """The opcodes of an array of protocol 5, with opcodes for its buffer and its shape."""
    dtype = b"cnumpy\ndtype\n\x8c\x02u1\x85R"
    return b"cnumpy.core.numeric\n_frombuffer\n(" + raw + dtype + shape + b"\x8c\x01CtR"


_MEGABYTE = b"B\x00\x00\x10\x00" + bytes(1 << 20)
_TEXT = b"X\x00\x00\x10\x00" + b"a" * (1 << 20)
_BOMBS = {
    "the greatest index of the memo": b"\x80\x04Nr\xff\xff\xff\x0f.",
    "an index of the memo in text": b"\x80\x04Np99999999999999\n.",
    **{
        f"a length announced by {code!r}": b"\x80\x05" + code + (1 << 36).to_bytes(8, "little") + b"abc."
        for code in (b"\x8e", b"\x8d", b"\x96", b"\x95")  # BINBYTES8, BINUNICODE8, BYTEARRAY8, FRAME
    },
    **{
        f"a length announced by {code!r}": b"\x80\x05" + code + b"\xff\xff\xff\x7fabc."
        for code in (b"B", b"X", b"T", b"\x8b")  # BINBYTES, BINUNICODE, BINSTRING, LONG4
    },
    "digits of a number": b"\x80\x04L" + b"9" * 1_000_000 + b"L\n.",
    "lists": b"\x80\x04" + b"]" * 200_000 + b".",
    "marks": b"\x80\x04" + b"(" * 200_000 + b".",
    "sets": b"\x80\x04" + b"\x8f" * 200_000 + b".",
    "tuples in tuples": b"\x80\x04)" + b"\x85" * 200_000 + b".",
    "entries of the memo": b"\x80\x04N" + b"\x94" * 200_000 + b".",
    "opcodes": b"\x80\x04" + b"N" * 450_000 + b".",
    "text that is encoded many times": (
        b"\x80\x04" + _TEXT + b"\x94c_codecs\nencode\n\x94\x8c\x06latin1\x94(" + b"h\x01h\x00h\x02\x86R" * 3_000 + b"t."
    ),
    "one picture many times": b"\x80\x04(" + _MEGABYTE + b"\x94" + b"h\x00" * 3_000 + b"l(t\x86.",
    "one buffer that is copied many times": (
        b"\x80\x05(" + _array(b"\x96" + (1 << 20).to_bytes(8, "little") + bytes(1 << 20), b"J\x00\x00\x10\x00\x85")
        + b"\x94" + b"h\x00" * 3_000 + b"l(t\x86."
    ),
    "a shape of great numbers": (
        b"\x80\x05("
        + _array(b"C\x01a", b"(" + (b"\x8b\x00\x00\x01\x00" + b"\x7f" * (1 << 16)) * 4 + b"t")
        + b"l(t\x86."
    ),
}  # fmt: skip


@pytest.mark.parametrize("content", _BOMBS.values(), ids=_BOMBS)
def test_a_pack_takes_memory_in_proportion_to_its_bytes(content):
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="is no pickle of") as error:
            _load(content)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < (8 << 20) + 32 * len(content)
    assert len(str(error.value)) < 400


def test_a_pack_whose_pairs_share_pictures_is_read():
    one, other = bytes(1_000), bytes(range(250)) * 4
    assert _load(pickle.dumps(([one, other] * 5, [True] * 5))) == ([one, other] * 5, [True] * 5)


def test_images_and_verdicts_that_do_not_match_are_counted():
    with pytest.raises(UserError, match="holds 8 images for 3 pairs"):
        _load(pickle.dumps((IMAGES, VERDICTS[:3])))
