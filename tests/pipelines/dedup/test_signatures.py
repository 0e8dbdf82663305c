"""The rule for copies: hashes and thumbnails, upright or mirrored, as far as both are known."""

import dataclasses

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.dedup.signatures import MISSING, CopyRule, Signatures
from pipelines.hashing import perceptual_hashes, thumbnails

BY_HASH, BOTH = CopyRule(31), CopyRule(31, 0.4)
STRIPES = np.tile([40, 40, -40, -40], 3).astype(np.float32)
Greys = NDArray[np.float32]


def faces(count: int, seed: int = 0) -> Greys:
    """Smooth pictures, (count, 64, 64)."""
    coarse = np.random.default_rng(seed).uniform(60, 190, (count, 11, 11)).astype(np.float32)
    return np.stack([np.clip(cv2.resize(one, (64, 64), interpolation=cv2.INTER_CUBIC), 45, 210) for one in coarse])


def retouched(greys: Greys) -> Greys:
    """The same with stripes in one place, which are too fine for a hash."""
    changed = greys.copy()
    changed[:, 40:50, 26:38] += STRIPES
    return changed


def signatures(greys: Greys, *, known: bool = True, reliable: bool = True) -> Signatures:
    hashes = perceptual_hashes(greys)
    count = len(greys)
    return Signatures(
        component=np.zeros(count, np.int64),
        hash=hashes.plain,
        flipped=hashes.flipped,
        hash_is_reliable=np.full(count, reliable),
        pixels=np.full(count, MISSING),
        thumbnail=np.arange(count) if known else np.full(count, MISSING),
        thumbnails=thumbnails(greys) if known else np.empty((0, 48, 48), np.uint8),
    )


def alike(one: Signatures, other: Signatures, rule: CopyRule) -> NDArray[np.bool_]:
    rows = np.arange(len(one.component))
    return one.are_alike(rows, other, rows, rule)


def test_a_second_look_tells_apart_pictures_of_close_hashes() -> None:
    own = faces(60)
    originals, others, copies = signatures(own), signatures(retouched(own)), signatures(own * 1.2)
    assert alike(originals, others, BY_HASH).all()
    assert not alike(originals, others, BOTH).any()
    assert alike(originals, copies, BOTH).all()


@pytest.mark.parametrize("rule", [BY_HASH, BOTH])
def test_the_largest_distance_belongs_to_the_rule(rule: CopyRule) -> None:
    own = signatures(faces(1, seed=7))
    for distance, expected in ((31, True), (32, False)):
        bits = np.unpackbits(own.hash[0])
        bits[:distance] ^= 1
        other = dataclasses.replace(own, hash=np.packbits(bits)[None])
        assert alike(own, other, rule).tolist() == [expected]


@pytest.mark.parametrize("changed", ["left", "right"])
def test_a_mirror_image_is_looked_at_in_the_mirror(changed: str) -> None:
    own = faces(40, seed=1)
    mirrored = np.ascontiguousarray(own[:, :, ::-1])
    one, other = signatures(own), signatures(mirrored)
    if changed == "left":
        one, other = other, one
    assert alike(one, other, BOTH).all()
    apart = signatures(np.ascontiguousarray(retouched(own)[:, :, ::-1]))
    assert not alike(signatures(own), apart, BOTH).any()


def test_a_symmetric_picture_is_looked_at_both_ways() -> None:
    half = faces(30, seed=2)[:, :, :32]
    own = np.concatenate([half, half[:, :, ::-1]], axis=2)
    spot = own.copy()
    spot[:, 20:30, 6:18] += STRIPES  # on one side alone
    assert alike(signatures(own), signatures(own), BOTH).all()
    mirrored = np.ascontiguousarray(spot[:, :, ::-1])
    near = alike(signatures(spot), signatures(mirrored), BY_HASH)
    assert near.any()
    assert (alike(signatures(spot), signatures(mirrored), BOTH) == near).all()


def test_unknown_thumbnails_leave_it_to_the_hashes() -> None:
    own = faces(30, seed=3)
    others = np.concatenate([retouched(own[:20]), faces(10, seed=6)])
    blind, seeing = signatures(own, known=False), signatures(others)
    expected = alike(signatures(own), seeing, BY_HASH)
    assert expected.sum() == 20
    for pair in ((blind, seeing), (seeing, blind)):
        assert np.array_equal(alike(*pair, BOTH), expected)


def test_flat_pictures_are_compared_by_pixels_alone() -> None:
    own = signatures(faces(3, seed=4), reliable=False)
    assert not alike(own, own, BOTH).any()
    equal = Signatures(**{**vars(own), "pixels": np.array([5, 6, MISSING])})
    assert alike(equal, equal, BOTH).tolist() == [True, True, False]


def test_a_part_keeps_the_thumbnails_of_its_rows() -> None:
    own = faces(20, seed=5)
    whole, others = signatures(own), signatures(retouched(own))
    rows = np.array([7, 3, 19, 3])
    part = whole.part(rows)
    assert np.array_equal(part.are_alike(np.arange(4), others, rows, BOTH), alike(whole, others, BOTH)[rows])
    assert part.are_alike(np.arange(4), whole, rows, CopyRule(31, 0.0)).all()
