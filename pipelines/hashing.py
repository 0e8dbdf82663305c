"""Perceptual hashes of many pictures at once, and the thumbnails by which pictures of close hashes are told apart.

A hash has 256 bits: the signs of the low frequencies of a 64x64 grey picture.

The frequencies are those of PDQ (Facebook's ThreatExchange, 2019): rows and columns 1 to 16 of a two-dimensional
DCT, each compared with their median. Not as there: the resize is area averaging, and the mirror image is not
transformed again, since mirroring only flips the sign of every odd horizontal frequency.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.arrays import Float32Array, Int32Array, UInt8Array

GREY_SIDE_PX = 64
FREQUENCIES = 16
THUMBNAIL_SIDE_PX = 48
THUMBNAIL_LEVELS = 64  # more do not tell copies apart better


@dataclass(frozen=True)
class Hashes:
    """Hashes of N pictures and of their mirror images, and the quality of each."""

    plain: UInt8Array  # (N, 32)
    flipped: UInt8Array  # (N, 32)
    quality: Float32Array  # (N,), 0..100; below about 50 the picture is too flat to be distinguished from others


def perceptual_hashes(greys: Float32Array) -> Hashes:
    """Hash a stack of grey pictures.

    Args:
        greys: (N, 64, 64), grey levels 0..255, as `to_hash_input` returns them.
    """
    basis = _dct_basis()
    spectra: Float32Array = np.matmul(np.matmul(basis, greys), basis.T)
    mirrored: Float32Array = spectra * _MIRROR_SIGNS
    return Hashes(plain=_bits(spectra), flipped=_bits(mirrored), quality=_quality(greys))


def to_hash_input(grey: UInt8Array) -> Float32Array:
    """Shrink one grey picture (height, width) to the 64x64 grid that is hashed."""
    small: NDArray[Any] = cv2.resize(grey, (GREY_SIDE_PX, GREY_SIDE_PX), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def thumbnails(greys: Float32Array) -> UInt8Array:
    """Shrink a stack of grey pictures (N, 64, 64) to thumbnails (N, 48, 48) of levels 0..63."""
    small = _three_of_four(_three_of_four(greys, axis=1), axis=2)
    levels: UInt8Array = (small * np.float32(THUMBNAIL_LEVELS / 256)).astype(np.uint8)
    return levels


def hamming(left: UInt8Array, right: UInt8Array) -> Int32Array:
    """Number of differing bits between hashes: (..., 32) against (..., 32), broadcast."""
    counts: Int32Array = _POPCOUNT[np.bitwise_xor(left, right)].sum(axis=-1, dtype=np.int32)
    return counts


def _dct_basis() -> Float32Array:
    # Rows 1..16 of the orthonormal DCT-II; row 0 is the mean and has no structure.
    frequency = np.arange(1, FREQUENCIES + 1)[:, None]
    position = np.arange(GREY_SIDE_PX)[None, :] + 0.5
    basis = np.sqrt(2.0 / GREY_SIDE_PX) * np.cos(np.pi * frequency * position / GREY_SIDE_PX)
    rows: Float32Array = basis.astype(np.float32)
    return rows


def _three_of_four(greys: Float32Array, *, axis: int) -> Float32Array:
    """Shrink one axis by 3/4: of each four pixels three become, by the areas that they share. Sums of slices take two
    thirds of the time of a product with a matrix of the shares, whose result they equal.
    """
    shape = list(greys.shape)
    shape[axis] = shape[axis] * 3 // 4
    small = np.empty(shape, np.float32)
    old, new = greys.swapaxes(1, axis), small.swapaxes(1, axis)
    first, second, third, fourth = (old[:, start::4] for start in range(4))
    quarter, half, most = np.float32(0.25), np.float32(0.5), np.float32(0.75)
    new[:, 0::3] = first * most + second * quarter
    new[:, 1::3] = (second + third) * half
    new[:, 2::3] = third * quarter + fourth * most
    return small


def _bits(spectra: Float32Array) -> UInt8Array:
    flat = spectra.reshape(len(spectra), FREQUENCIES * FREQUENCIES)
    return np.packbits(flat > np.median(flat, axis=1, keepdims=True), axis=1)


def _quality(greys: Float32Array) -> Float32Array:
    across = _steps(greys[:, :, 1:], greys[:, :, :-1])
    down = _steps(greys[:, 1:], greys[:, :-1])
    quality: Float32Array = np.minimum(100.0, (across + down) / 90.0).astype(np.float32)
    return quality


def _steps(ahead: Float32Array, behind: Float32Array) -> Float32Array:
    # A step between neighbours counts from 1 % of the range on, so that the grain of a flat wall does not.
    steps = np.subtract(ahead, behind)
    # In place, since allocating a new array takes as long as the operation.
    np.abs(steps, out=steps)
    np.divide(steps, 2.55, out=steps)
    np.floor(steps, out=steps)
    sums: Float32Array = steps.sum(axis=(1, 2))
    return sums


_MIRROR_SIGNS = np.where(np.arange(1, FREQUENCIES + 1) % 2 == 1, -1.0, 1.0).astype(np.float32)[None, None, :]
_POPCOUNT = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)
