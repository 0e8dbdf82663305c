"""pipelines/dedup/hamming: differing bits as numpy counts them when they are unpacked."""

import numpy as np

from pipelines.dedup.hamming import distances


def test_distances_are_the_numbers_of_differing_bits() -> None:
    bits = np.random.default_rng(8).integers(0, 2, (2, 500, 256), dtype=np.uint8)
    bits[1, 0] = 1 - bits[0, 0]
    words = [np.packbits(rows, axis=1).view(np.uint64) for rows in bits]
    assert distances(*words).tolist() == (bits[0] != bits[1]).sum(axis=1).tolist()
