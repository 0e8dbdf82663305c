"""How many bits of 256-bit hashes differ, counted by numpy in all fields of a word at once."""

import numpy as np

from pipelines.arrays import IntArray, UInt64Array


def distances(left: UInt64Array, right: UInt64Array) -> IntArray:
    """Bits that differ, (N, 4) against (N, 4) or one of them (1, 4)."""
    return differing(left[:, :2], right[:, :2]) + differing(left[:, 2:], right[:, 2:])


def differing(left: UInt64Array, right: UInt64Array) -> IntArray:
    """Bits that differ in two words, (N, 2) against (N, 2): half of a hash tells unrelated ones apart."""
    fields = [_nibble_counts(left[:, word] ^ right[:, word]) for word in range(2)]
    total = fields[0] + fields[1]  # at most 8 to each field of 4 bits
    high = total >> np.uint64(4)
    high &= np.uint64(0x0F0F_0F0F_0F0F_0F0F)
    total &= np.uint64(0x0F0F_0F0F_0F0F_0F0F)
    total += high
    total *= np.uint64(0x0101_0101_0101_0101)
    total >>= np.uint64(56)
    return total.view(np.int64)


def _nibble_counts(words: UInt64Array) -> UInt64Array:
    """Per 4 bits how many are set; the words are overwritten."""
    halves = words >> np.uint64(1)
    halves &= np.uint64(0x5555_5555_5555_5555)
    words -= halves
    pairs = words >> np.uint64(2)
    pairs &= np.uint64(0x3333_3333_3333_3333)
    words &= np.uint64(0x3333_3333_3333_3333)
    words += pairs
    return words
