"""The run-length codings of BMP, RLE8 and RLE4 (Microsoft's "Bitmap compression")."""

import numpy as np

from pipelines.arrays import UInt8Array
from pipelines.decode_faults import CORRUPT, TRUNCATED, DecodeError

_END_OF_ROW, _END_OF_PICTURE, _DELTA = 0, 1, 2


def decode_runs(data: bytes, width: int, height: int, bits: int) -> UInt8Array:
    """The indices of the colours (H, W), in stored order of the rows; what the coding skips is 0.

    Args:
        bits: of an index, 4 or 8.

    Raises:
        DecodeError: the runs end before the last row, or leave the picture.
    """
    rows = bytearray(width * height)
    position = column = row = 0
    while row < height and (row < height - 1 or column < width):
        if position + 2 > len(data):
            raise DecodeError(TRUNCATED, f"the runs end in row {row} of {height}")
        count, value = data[position], data[position + 1]
        position += 2
        if count:
            run = bytes((value,)) * count if bits == 8 else _pairs(bytes((value,)) * ((count + 1) // 2), count)
        elif value == _END_OF_ROW:
            column, row = 0, row + 1
            continue
        elif value == _END_OF_PICTURE:
            if row < height - 1:
                raise DecodeError(TRUNCATED, f"the runs end in row {row} of {height}")
            break
        elif value == _DELTA:
            column, row = _moved(data[position : position + 2], column, row)
            position += 2
            continue
        else:
            num_bytes = value if bits == 8 else (value + 1) // 2
            content = data[position : position + num_bytes]
            if len(content) < num_bytes:
                raise DecodeError(TRUNCATED, f"the runs end in row {row} of {height}")
            run = content if bits == 8 else _pairs(content, value)
            position += num_bytes + num_bytes % 2
        run = run[: max(0, width - column)]  # encoders pad runs beyond the end of the row
        start = row * width + column
        rows[start : start + len(run)] = run
        column += len(run)
    if row > height:
        raise DecodeError(CORRUPT, f"the runs lead to row {row} of {height}")
    return np.frombuffer(rows, np.uint8).reshape(height, width)


def _moved(offsets: bytes, column: int, row: int) -> tuple[int, int]:
    if len(offsets) < 2:
        raise DecodeError(TRUNCATED, f"the runs end in row {row}")
    return column + offsets[0], row + offsets[1]


def _pairs(content: bytes, count: int) -> bytes:
    """Two indices of each byte, the upper half first."""
    values = np.frombuffer(content, np.uint8)
    return np.stack([values >> 4, values & 15], axis=1).tobytes()[:count]
