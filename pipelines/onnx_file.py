"""The weights of an ONNX model that lie in other files, found without a library for the format.

A model may say that the values of a tensor are in another file (`TensorProto.data_location`, onnx/onnx.proto3). A
runtime that gets the model from memory looks for that file in the working directory, its path may lead anywhere, and no
digest of the model covers it. So such a model is refused.

The walk follows the messages that can contain a tensor, by their numbers in onnx.proto3, in the encoding of Protocol
Buffers: a field is a number and a type, then its content.
"""

from collections.abc import Iterator

from pipelines.settings import UserError

# Message -> number of a field -> the message that it holds.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14  # fields of a tensor
_EXTERNAL = 1
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5  # types of fields
_FIXED = {_FIXED_64: 8, _FIXED_32: 4}


def require_whole(onnx: bytes, *, setting: str) -> None:
    """Refuse a model with values in other files.

    Args:
        setting: with its value, such as `embed.model=a.onnx`.

    Raises:
        UserError: it names another file.
    """
    if outside := external_tensors(onnx):
        raise UserError(
            f"{setting} has the values of {outside[0]!r} in another file, and only one file is read; save it as one "
            "file (onnx.save_model with save_as_external_data=False)"
        )


def external_tensors(onnx: bytes) -> list[str]:
    """The names of the tensors whose values are in other files; none where the bytes are no ONNX model."""
    found: list[str] = []
    waiting = [("model", memoryview(onnx))]
    try:
        while waiting:
            kind, content = waiting.pop()
            if kind == "tensor":
                found += _external(content)
                continue
            for number, value in _fields(content):
                inner = _FIELDS[kind].get(number)
                if inner is not None and isinstance(value, memoryview):
                    waiting.append((inner, value))
    except (IndexError, ValueError):  # the runtime says what is wrong with it
        return found
    return found


def _external(tensor: memoryview) -> list[str]:
    fields = list(_fields(tensor))
    is_external = any(
        number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == _EXTERNAL) for number, value in fields
    )
    names = (bytes(value) for number, value in fields if number == _NAME and isinstance(value, memoryview))
    return [next(names, b"").decode("utf-8", "backslashreplace")] if is_external else []


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: number, and content as a number or bytes.

    Raises:
        ValueError, IndexError: it is no message.
    """
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = _varint(content, place)
            yield number, value
            continue
        if kind == _BYTES:
            size, place = _varint(content, place)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ValueError(f"a field of type {kind}")
        if place + size > len(content):
            raise ValueError("a field that is cut")
        yield number, content[place : place + size]
        place += size


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the place behind it."""
    number = shift = 0
    while True:
        byte = content[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
