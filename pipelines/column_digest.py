"""The digest of a column's values: what is compared is what was read, so no damage on the way to it goes unseen.

Checksums of a file or of its pages say nothing of a footer, of the header of a page or of a fault of whoever decodes
them.
"""

import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def column_digest(column: pa.ChunkedArray) -> int:
    """CRC-32 of the type and the values of a column of numbers, texts, bytes, or lists of these.

    Equal columns have equal digests, whatever their chunks, their offsets and the bytes below their nulls.
    """
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return _digest(array, 0)


def _digest(array: pa.Array, before: int) -> int:
    digest = zlib.crc32(struct.pack("<qq", len(array), array.null_count), before)
    if array.null_count:
        digest = zlib.crc32(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).data, digest)
        array = array.drop_null()
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        digest = zlib.crc32(pc.list_value_length(array).to_numpy(zero_copy_only=False).data, digest)
        return _digest(array.flatten(), digest)
    digest = zlib.crc32(str(kind).encode(), digest)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        _, offset_buffer, data = array.buffers()
        if not len(array):
            return digest
        offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + len(array) + 1]
        digest = zlib.crc32((offsets - offsets[0]).data, digest)
        return zlib.crc32(memoryview(data or b"")[offsets[0] : offsets[-1]], digest)
    return zlib.crc32(np.ascontiguousarray(array.to_numpy(zero_copy_only=False)).data, digest)
