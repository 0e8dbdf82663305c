"""Hamming distances of 256-bit hashes, counted by numpy in all fields of a word at once."""

import numpy as np

from pipelines.arrays import IntArray, UInt64Array


def distances(left: UInt64Array, right: UInt64Array) -> IntArray:
    """Number of differing bits (N,) of hashes (N, 4) and (N, 4); one of them may be (1, 4)."""
    return differing(left[:, :2], right[:, :2]) + differing(left[:, 2:], right[:, 2:])


def differing(left: UInt64Array, right: UInt64Array) -> IntArray:
    """Number of differing bits (N,) in two words, (N, 2) and (N, 2): half of a hash separates unrelated pictures."""
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
    """The number of set bits in each field of 4 bits; the words are overwritten."""
    halves = words >> np.uint64(1)
    halves &= np.uint64(0x5555_5555_5555_5555)
    words -= halves
    pairs = words >> np.uint64(2)
    pairs &= np.uint64(0x3333_3333_3333_3333)
    words &= np.uint64(0x3333_3333_3333_3333)
    words += pairs
    return words
