"""The oracle is pickle itself, writing every protocol; the hostile packs are real attacks that must run nothing."""

import os
import pickle

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
    for state in (b"}U\x05_makeK\x01s", b"N}U\x05_makeK\x01s\x86"):
        with pytest.raises(UserError, match="state for a function"):
            _load(b"\x80\x02" + function + state + b"b.")
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


def test_images_and_verdicts_that_do_not_match_are_counted():
    with pytest.raises(UserError, match="holds 8 images for 3 pairs"):
        _load(pickle.dumps((IMAGES, VERDICTS[:3])))
