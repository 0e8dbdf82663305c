"""A verification pack: a pickle of `(images, is_same)`, as InsightFace ships LFW, CFP-FP and AgeDB-30.

Pair p is images 2p and 2p+1, each the bytes of an encoded picture or a uint8 array of them. A pickle can name any
function of the machine and call it, and ask for any amount of memory, so this one is read by a reader of our own: the
few names that arrays need are replaced by stand-ins, every other name is refused, and no other code, not even numpy's,
gets the content of the file.
"""

import math
from collections.abc import Callable
from typing import Any, NoReturn

from pipelines.pickle_reader import Budget, ForeignGlobalError, PickleError, read_pickle
from pipelines.settings import UserError

_MOST_USES = 16  # of each byte of a pack in its pictures, which may be the same for several pairs
_MOST_WORDS = 200  # characters of a file in a message


def read_pack(content: bytes, *, path: str) -> tuple[list[bytes], list[bool]]:
    """The 2P encoded pictures of a pack, and for each of the P pairs whether they show one person.

    Args:
        path: the path of the content, for messages.

    Raises:
        UserError: the pack has anything but pairs, or names a function that pairs do not need.
    """
    try:
        budget = Budget(len(content))
        images, answers = read_pickle(content, _stand_ins(budget), budget)
        pictures, same = _to_pictures(images, most_bytes=_MOST_USES * len(content)), _to_answers(answers)
    except ForeignGlobalError as error:
        name = str(error)[:_MOST_WORDS]
        raise UserError(f"{path} calls {name}, which pairs do not need; do not trust this file") from None
    # A damaged pickle can raise nearly any error.
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"[:_MOST_WORDS]
        raise UserError(f"{path} is no pickle of (images, is_same) ({problem}); name a verification pack") from None
    if len(pictures) != 2 * len(same):
        raise UserError(f"{path} holds {len(pictures)} images for {len(same)} pairs; two each are expected")
    return pictures, same


class _Array:
    """Stand-in for an array; accepts arrays of plain bytes only."""

    def __init__(self) -> None:
        self.raw: bytes | bytearray = b""
        self.dtype = ""

    def restore(self, state: tuple[Any, ...]) -> None:
        """Take the state of a numpy array."""
        _version, shape, dtype, _is_fortran, raw = state
        self.fill(raw, dtype, shape)

    def fill(self, raw: Any, dtype: Any, shape: Any) -> None:
        """Take the buffer, which is not copied."""
        if not isinstance(dtype, _Dtype) or not isinstance(raw, (bytes, bytearray)):
            raise PickleError("an array of neither bytes nor booleans")
        # The product of sides that are not checked may be a number of gigabytes.
        is_small = all(isinstance(side, int) and 0 <= side <= len(raw) for side in shape)
        # One of InsightFace's own packs holds columns, of shape (n, 1).
        if not is_small or not len(raw) == math.prod(shape) == max(shape):
            raise PickleError("an array that is neither a row nor a column")
        self.raw, self.dtype = raw, dtype.name


class _Dtype:
    """Stand-in for a dtype of one byte, whose byte order has no meaning."""

    def __init__(self, name: str) -> None:
        self.name = name

    def restore(self, state: Any) -> None:
        """Take nothing."""


def _make_dtype(name: Any, *_flags: Any) -> _Dtype:
    text = name.decode("ascii") if isinstance(name, bytes) else name
    if text not in ("u1", "b1"):
        raise PickleError(f"an array of {str(text)[:_MOST_WORDS]!r}; bytes (u1) and booleans (b1) are expected")
    return _Dtype(text)


def _make_array(*_template: Any) -> _Array:
    return _Array()


def _make_array_of_buffer(raw: Any, dtype: Any, shape: Any, _order: Any) -> _Array:
    array = _Array()
    array.fill(raw, dtype, shape)
    return array


def _make_nothing(*_arguments: Any) -> NoReturn:
    raise PickleError("an array made without its content")


def _stand_ins(budget: Budget) -> dict[tuple[str, str], Callable[..., Any]]:
    """Stand-ins for the functions of arrays and bytes, by module and name."""

    def make_bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
        # Python 3 writes bytes for Python 2 as text of code points below 256, and empty ones as `bytes()`.
        if encoding != "latin1" or not isinstance(text, str):
            raise PickleError("text in another encoding than latin1")
        budget.spend(len(text))  # the same text may be encoded again and again
        return text.encode("latin1")

    # numpy 2 renamed `core` to `_core`; packs of both kinds exist.
    return {
        ("numpy", "ndarray"): _make_nothing,
        ("numpy", "dtype"): _make_dtype,
        ("_codecs", "encode"): make_bytes,
        ("__builtin__", "bytes"): make_bytes,
        **{(f"numpy.{core}.multiarray", "_reconstruct"): _make_array for core in ("core", "_core")},
        **{(f"numpy.{core}.numeric", "_frombuffer"): _make_array_of_buffer for core in ("core", "_core")},
    }


def _to_pictures(images: Any, *, most_bytes: int) -> list[bytes]:
    pictures: list[bytes] = []
    for image in images:
        raw = image.raw if isinstance(image, _Array) else image
        if not isinstance(raw, bytes) and not (isinstance(image, _Array) and isinstance(raw, bytearray)):
            raise TypeError(f"an image is of type {type(raw).__name__}, not bytes")
        most_bytes -= len(raw)
        if most_bytes < 0:
            raise PickleError("its pictures have many times the bytes of the file")
        pictures.append(bytes(raw))
    return pictures


def _to_answers(answers: Any) -> list[bool]:
    values = list(answers.raw) if isinstance(answers, _Array) else list(answers)
    if any(value not in (0, 1) for value in values):
        raise TypeError("is_same holds something other than true and false")
    return [bool(value) for value in values]
