"""Random changes of one picture: reproducible, each as its words say, off by default but for the mirror."""

from collections import Counter
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from pipelines.arrays import Picture
from training.feed.augment import Augment
from training.feed.settings import AugmentSettings

IDS = [f"{number:064x}" for number in range(400)]


def augment(*, seed: int = 0, epoch: int = 0, **settings: Any) -> Augment:
    return Augment(AugmentSettings(**{"flip": 0.0} | settings), seed=seed, epoch=epoch)


def picture(side_px: int = 32) -> Picture:
    noise = np.random.default_rng(5).integers(60, 190, (side_px, side_px, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2.0)


def changed(augment: Augment, image_id: str, before: Picture) -> Picture:
    after = before.copy()
    augment.apply(after, augment.draws(image_id))
    return after


def test_another_variant_of_a_picture_is_changed_in_another_way_and_the_first_as_ever() -> None:
    one = augment(brightness=0.5)
    draws = [one.draws(image_id, variant) for image_id in IDS[:20] for variant in range(3)]
    assert len(set(draws)) == 60
    assert draws[0] == one.draws(IDS[0])


def test_by_default_a_picture_is_mirrored_half_of_the_time_and_nothing_else() -> None:
    augment = Augment(AugmentSettings(), seed=0, epoch=0)
    before = picture()
    kinds: Counter[str] = Counter()
    for image_id in IDS:
        after = changed(augment, image_id, before)
        kinds["same" if (after == before).all() else "mirror" if (after == before[:, ::-1]).all() else "other"] += 1
    assert kinds["other"] == 0
    assert stats.binomtest(kinds["mirror"], len(IDS), 0.5).pvalue > 1e-4


def test_all_off_changes_nothing() -> None:
    off = augment()
    assert not off.crops
    assert (changed(off, IDS[0], picture()) == picture()).all()


def test_draws_depend_on_seed_epoch_and_image_and_on_nothing_else() -> None:
    draws = [
        augment(seed=seed, epoch=epoch).draws(name) for seed in (0, 1, 11) for epoch in (0, 1, 11) for name in IDS[:9]
    ]
    assert len(set(draws)) == len(draws)
    assert augment(seed=1, epoch=11).draws(IDS[3]) == augment(seed=1, epoch=11).draws(IDS[3])


def test_draws_are_uniform_and_unrelated() -> None:
    draws = np.array([augment().draws(image_id) for image_id in IDS]) / 2.0**32
    assert min(stats.kstest(column, "uniform").pvalue for column in draws.T) > 1e-4
    correlation = np.corrcoef(draws.T) - np.eye(draws.shape[1])
    assert np.abs(correlation).max() < 5 / np.sqrt(len(IDS))


def test_a_random_crop_lies_in_the_picture_with_the_area_and_ratio_asked_for() -> None:
    crops = augment(crop_area=(0.2, 0.5), crop_ratio=(0.8, 1.25))
    for image_id in IDS:
        box = crops.crop(crops.draws(image_id), 640, 480)
        assert box.left >= 0
        assert box.top >= 0
        assert box.left + box.width <= 640
        assert box.top + box.height <= 480
        assert 0.195 < box.width * box.height / (640 * 480) < 0.505
        assert 0.79 < box.width / box.height < 1.26


def test_a_crop_that_does_not_fit_is_cut_to_the_picture() -> None:
    crops = augment(crop_area=(0.9, 1.0), crop_ratio=(0.5, 2.0))
    boxes = [crops.crop(crops.draws(image_id), 1000, 20) for image_id in IDS]
    assert all(box.top + box.height <= 20 and box.left + box.width <= 1000 for box in boxes)


def test_brightness_scales_all_colours_alike() -> None:
    before = picture().astype(float)
    for image_id in IDS[:20]:
        after = changed(augment(brightness=0.3), image_id, picture()).astype(float)
        factor = after.mean() / before.mean()
        assert 0.69 < factor < 1.31
        assert np.abs(after - before * factor).max() < 2.0


def test_contrast_scales_about_the_mean_grey() -> None:
    luma = np.array([0.299, 0.587, 0.114])
    before = picture().astype(float)
    mean = (before @ luma).mean()
    for image_id in IDS[:20]:
        after = changed(augment(contrast=0.3), image_id, picture()).astype(float)
        factor = (after - mean).std() / (before - mean).std()
        assert 0.68 < factor < 1.32
        assert np.abs(after - (mean + (before - mean) * factor)).max() < 2.5


def test_saturation_keeps_the_luma() -> None:
    luma = np.array([0.299, 0.587, 0.114])
    before = picture().astype(float)
    largest = 0.0
    for image_id in IDS[:20]:
        after = changed(augment(saturation=0.5), image_id, picture()).astype(float)
        largest = max(largest, np.abs(after - before).max())
        assert np.abs(after @ luma - before @ luma).max() < 1.0
    assert largest > 5.0


def test_grey_leaves_no_colour() -> None:
    after = changed(augment(grey=1.0), IDS[0], picture())
    assert (after[:, :, 0] == after[:, :, 1]).all()
    assert (after[:, :, 0] == after[:, :, 2]).all()


def test_blur_takes_detail_away() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    after = changed(augment(blur=1.0, blur_sigma_px=(1.0, 2.0)), IDS[0], noise)
    assert cv2.Laplacian(after, cv2.CV_64F).var() < 0.2 * cv2.Laplacian(noise, cv2.CV_64F).var()


def test_erasing_greys_a_rectangle_of_the_share_asked_for() -> None:
    before = np.zeros((100, 100, 3), np.uint8)
    for image_id in IDS[:50]:
        erased = (changed(augment(erase=1.0, erase_area=(0.1, 0.2)), image_id, before) == 127).all(axis=2)
        rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
        assert erased.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert 0.08 < erased.mean() < 0.22


@pytest.mark.parametrize("wrong", [{"crop_area": (0.5, 0.2)}, {"crop_area": (0.0, 1.0)}, {"blur_sigma_px": (2.0, 1.0)}])
def test_ranges_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        AugmentSettings(**wrong)
