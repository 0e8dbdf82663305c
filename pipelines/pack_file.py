"""A verification pack: a pickle of `(images, is_same)`, as InsightFace ships LFW, CFP-FP and AgeDB-30.

Pair p is images 2p and 2p+1, each the bytes of an encoded picture or a uint8 array of them. A pickle can name any
function of the machine and call it, so this one is read by a restricted unpickler: the few names that arrays need are
replaced by stand-ins, every other name is refused, and no other code, not even numpy's, gets the content of the file.
"""

import io
import math
import pickle
from collections.abc import Callable
from typing import Any, NoReturn

from pipelines.settings import UserError


def read_pack(content: bytes, *, path: str) -> tuple[list[bytes], list[bool]]:
    """The 2P encoded pictures of a pack, and for each of the P pairs whether they show one person.

    Args:
        path: the path of the content, for messages.

    Raises:
        UserError: the pack has anything but pairs, or names a function that pairs do not need.
    """
    try:
        images, answers = _RestrictedUnpickler(io.BytesIO(content)).load()
        pictures, same = [_to_bytes(image) for image in images], _to_answers(answers)
    except _ForeignGlobalError as error:
        raise UserError(f"{path} calls {error}, which pairs do not need; do not trust this file") from None
    # A damaged pickle can raise nearly any error.
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is no pickle of (images, is_same) ({problem}); name a verification pack") from None
    if len(pictures) != 2 * len(same):
        raise UserError(f"{path} holds {len(pictures)} images for {len(same)} pairs; two each are expected")
    return pictures, same


class _ForeignGlobalError(Exception):
    """A pickle names a function that is not in the table of stand-ins."""


class _Array:
    """Stand-in for an array; accepts arrays of plain bytes only."""

    def __init__(self) -> None:
        self.raw = b""
        self.dtype = ""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, _is_fortran, raw = state
        self._fill(raw, dtype, shape)

    def _fill(self, raw: Any, dtype: Any, shape: Any) -> None:
        if not isinstance(dtype, _Dtype) or not isinstance(raw, (bytes, bytearray)):
            raise pickle.UnpicklingError("an array of neither bytes nor booleans")
        # One of InsightFace's own packs holds columns, of shape (n, 1).
        if not len(raw) == math.prod(shape) == max(shape):
            raise pickle.UnpicklingError(f"an array of shape {shape}, not a row or column")
        self.raw, self.dtype = bytes(raw), dtype.name


class _Dtype:
    """Stand-in for a dtype of one byte, whose byte order has no meaning."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass


class _Function:
    """Stand-in for a function: it can be called, and its state cannot be set."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> NoReturn:
        raise pickle.UnpicklingError("state for a function")


def _make_dtype(name: Any, *_flags: Any) -> _Dtype:
    text = name.decode("ascii") if isinstance(name, bytes) else name
    if text not in ("u1", "b1"):
        raise pickle.UnpicklingError(f"an array of {text!r}; bytes (u1) and booleans (b1) are expected")
    return _Dtype(text)


def _make_array(*_template: Any) -> _Array:
    return _Array()


def _make_array_of_buffer(raw: Any, dtype: Any, shape: Any, _order: Any) -> _Array:
    array = _Array()
    array._fill(raw, dtype, shape)
    return array


def _make_nothing(*_arguments: Any) -> NoReturn:
    raise pickle.UnpicklingError("an array made without its content")


def _make_bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    # Python 3 writes bytes for Python 2 as text of code points below 256, and empty ones as `bytes()`.
    if encoding != "latin1" or not isinstance(text, str):
        raise pickle.UnpicklingError(f"text in encoding {encoding!r}")
    return text.encode("latin1")


# numpy 2 renamed `core` to `_core`; packs of both kinds exist.
_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _make_nothing,
    ("numpy", "dtype"): _make_dtype,
    ("_codecs", "encode"): _make_bytes,
    ("__builtin__", "bytes"): _make_bytes,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _make_array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _make_array_of_buffer for core in ("core", "_core")},
}


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="bytes")  # Python 2 wrote the pictures as its `str`

    def find_class(self, module: str, name: str) -> _Function:
        if (module, name) not in _STAND_INS:
            raise _ForeignGlobalError(f"{module}.{name}")
        return _Function(_STAND_INS[module, name])


def _to_bytes(image: Any) -> bytes:
    if isinstance(image, _Array):
        image = image.raw
    if not isinstance(image, bytes):
        raise TypeError(f"an image is of type {type(image).__name__}, not bytes")
    return image


def _to_answers(answers: Any) -> list[bool]:
    values = list(answers.raw) if isinstance(answers, _Array) else list(answers)
    if any(value not in (0, 1) for value in values):
        raise TypeError("is_same holds something other than true and false")
    return [bool(value) for value in values]
