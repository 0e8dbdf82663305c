"""The residual of two thumbnails: the part of one that the other does not explain, in the places that differ most.

Close hashes say that the coarse structure is the same, which it also is in two photos of one person in one pose. A copy
has the same grey levels but for a tone curve (brightness, contrast, clipping), which is fitted by least squares: a
function of the grey level, piecewise linear, kept near a straight line where few pixels support it. Another expression
leaves an edge in a few places, another light a slope over the whole picture. So two energies of the remainder are
compared with the picture's own: that of its edges (Sobel's gradients) and that of its grey levels (their variance),
each in the blocks where the remainder is largest. A curve that clips cannot be inverted, so the better of both
directions counts.

Every sum is of integers or runs in one order, so the residual of a pair does not depend on the pairs beside it.
"""

import numpy as np

from pipelines.arrays import BoolArray, Float32Array, Float64Array, IntArray, UInt8Array
from pipelines.hashing import THUMBNAIL_LEVELS, THUMBNAIL_SIDE_PX

_SIDE = THUMBNAIL_SIDE_PX
_BLOCKS = 6  # along each side
_WORST = 2  # blocks whose mean counts
# The energy of the grey levels is that of the coarse structure, of which a copy keeps a larger share than of the edges.
_LEVEL_WEIGHT = np.float32(3.0)

_STEP = 8  # grey levels between the knots of the tone curve
_KNOTS = THUMBNAIL_LEVELS // _STEP + 1
_TOWARDS_LINE = 4.0  # in pixels: the weight of the straight line at each knot
_LEVELS = np.arange(THUMBNAIL_LEVELS)
# (levels, knots): the weight of each knot at each level, times _STEP.
_HATS = np.maximum(0, _STEP - np.abs(_LEVELS[:, None] - _STEP * np.arange(_KNOTS))).astype(np.float64)

_PAIRS_AT_ONCE = 64  # their arrays stay in the processor's second cache


def residuals(left: UInt8Array, right: UInt8Array) -> Float32Array:
    """The residual (K,) of K pairs of thumbnails (K, 48, 48); 0 = one is the other with another tone curve.

    It is symmetric, and infinite for a thumbnail of one grey level.
    """
    found = np.empty(len(left), dtype=np.float32)
    for start in range(0, len(left), _PAIRS_AT_ONCE):
        some = slice(start, start + _PAIRS_AT_ONCE)
        one, other = left[some], right[some]
        found[some] = np.minimum(_unexplained(one, other, np.inf), _unexplained(other, one, np.inf))
    return found


def are_within(
    left: UInt8Array, rows: IntArray, right: UInt8Array, to: IntArray, limit: float, *, mirrored: bool = False
) -> BoolArray:
    """(K,): the residual of the thumbnails `rows` of `left` and `to` of `right` is at most `limit`.

    Args:
        mirrored: the left one is mirrored.
    """
    found = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        some = slice(start, start + _PAIRS_AT_ONCE)
        one, other = left[rows[some]], right[to[some]]
        one = one[:, :, ::-1] if mirrored else one
        is_within = _unexplained(one, other, limit) <= limit
        rest = np.flatnonzero(~is_within)
        is_within[rest] = _unexplained(other[rest], one[rest], limit) <= limit
        found[some] = is_within
    return found


def _unexplained(pictures: UInt8Array, by: UInt8Array, limit: float) -> Float32Array:
    """The part (K,) of each picture that the other one does not explain; above `limit` only a lower bound of it."""
    grey = pictures.astype(np.float32)
    rest = grey - _through_tone_curve(by.reshape(-1, _SIDE * _SIDE), pictures.reshape(-1, _SIDE * _SIDE))
    from_mean = grey - grey.reshape(-1, _SIDE * _SIDE).mean(axis=1)[:, None, None]
    found = _LEVEL_WEIGHT * _worst(rest * rest, from_mean * from_mean)
    near = np.flatnonzero(found <= limit)
    edges = _worst(_edge_energy(rest[near]), _edge_energy(grey[near]))
    found[near] = np.maximum(found[near], edges)
    return found


def _through_tone_curve(by: UInt8Array, pictures: UInt8Array) -> Float32Array:
    """The pictures (K, 48, 48) as the tone curve that fits best predicts them from the levels of `by` (K, 2304)."""
    count, pixels = by.shape
    places = (by + THUMBNAIL_LEVELS * np.arange(count)[:, None]).ravel()
    shape = (count, THUMBNAIL_LEVELS)
    size = count * THUMBNAIL_LEVELS
    num = np.bincount(places, minlength=size).reshape(shape).astype(np.float64)
    total = np.bincount(places, pictures.ravel(), minlength=size).reshape(shape).astype(np.float64)
    slope, base = _straight_line(num, total, pixels)
    sums = total @ _HATS - base * (num @ _HATS) - slope * ((num * _LEVELS) @ _HATS)
    knots = _bends(num @ (_HATS * _HATS), num @ (_HATS[:, :-1] * _HATS[:, 1:]), sums * _STEP)
    low, part = _LEVELS // _STEP, _LEVELS % _STEP
    curve = base + slope * _LEVELS + knots[:, low] * (1 - part / _STEP) + knots[:, low + 1] * (part / _STEP)
    return curve.astype(np.float32).ravel().take(places).reshape(-1, _SIDE, _SIDE)


def _straight_line(num: Float64Array, total: Float64Array, pixels: int) -> tuple[Float64Array, Float64Array]:
    """Slope and base (K, 1) of the line that fits best, from the number and the sum of the pixels at each level."""
    by = (num @ _LEVELS)[:, None]
    by_square = (num @ (_LEVELS * _LEVELS))[:, None]
    own, product = total.sum(axis=1)[:, None], (total @ _LEVELS)[:, None]
    slope = (pixels * product - by * own) / np.maximum(pixels * by_square - by * by, 1.0)
    return slope, (own - slope * by) / pixels


def _bends(diagonal: Float64Array, beside: Float64Array, sums: Float64Array) -> Float64Array:
    """The distances (K, knots) of the curve from the line: the solution of K tridiagonal systems (Thomas, 1949)."""
    diagonal = diagonal + _TOWARDS_LINE * _STEP * _STEP
    for knot in range(1, _KNOTS):
        factor = beside[:, knot - 1] / diagonal[:, knot - 1]
        diagonal[:, knot] -= factor * beside[:, knot - 1]
        sums[:, knot] -= factor * sums[:, knot - 1]
    found = sums / diagonal
    for knot in range(_KNOTS - 2, -1, -1):
        found[:, knot] -= beside[:, knot] / diagonal[:, knot] * found[:, knot + 1]
    return found


def _edge_energy(pictures: Float32Array) -> Float32Array:
    """The squared length of Sobel's gradient (K, 48, 48); 0 at the border, where there is none."""
    energy = np.zeros_like(pictures)
    smooth = pictures[:, :-2] + 2 * pictures[:, 1:-1] + pictures[:, 2:]
    across = smooth[:, :, 2:] - smooth[:, :, :-2]
    smooth = pictures[:, :, :-2] + 2 * pictures[:, :, 1:-1] + pictures[:, :, 2:]
    down = smooth[:, 2:] - smooth[:, :-2]
    energy[:, 1:-1, 1:-1] = across * across + down * down
    return energy


def _worst(energy: Float32Array, own: Float32Array) -> Float32Array:
    """The mean energy (K,) of the worst blocks over the picture's own in a block; infinite where it has none."""
    largest = np.sort(_block_sums(energy), axis=1)[:, -_WORST:]
    mean = _in_order(largest) / np.float32(_WORST)
    of_block = _in_order(_block_sums(own)) / np.float32(_BLOCKS * _BLOCKS)
    share = np.full(len(mean), np.inf, dtype=np.float32)
    np.divide(mean, of_block, out=share, where=of_block > 0)
    return share


def _block_sums(energy: Float32Array) -> Float32Array:
    rows = _in_order(energy.reshape(-1, _BLOCKS, _SIDE // _BLOCKS, _SIDE).swapaxes(2, 3))
    return _in_order(rows.reshape(-1, _BLOCKS * _BLOCKS, _SIDE // _BLOCKS))


def _in_order(terms: Float32Array) -> Float32Array:
    """The sums over the last axis, always in the same order: numpy's own order depends on the shape of the array."""
    total = terms[..., 0].copy()
    for place in range(1, terms.shape[-1]):
        total += terms[..., place]
    return total
