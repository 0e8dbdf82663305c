"""Ragged lists and extras, by numpy's own splitting; devices by torch's "meta", which is none of the host's."""

import numpy as np
import pytest
import torch

from training.feed.batch import Batch, Ragged


def batch_of(count: int = 4) -> Batch:
    boxes = Ragged(torch.arange(24.0).reshape(6, 4), torch.tensor([0, 2, 2, 3, 6])[: count + 1])
    images = torch.arange(count * 12, dtype=torch.uint8).reshape(count, 3, 2, 2)
    extras = {"boxes": boxes, "again": 255 - images, "age": torch.arange(count), "mask": images[:, 0]}
    return Batch(images, torch.arange(count), [str(number) for number in range(count)], extras)


def test_a_ragged_list_gives_the_values_of_each_picture() -> None:
    boxes = batch_of().extras["boxes"]
    assert isinstance(boxes, Ragged)
    expected = np.split(boxes.values.numpy(), [2, 2, 3])
    assert len(boxes) == 4
    assert all((boxes.of(row).numpy() == rows).all() for row, rows in enumerate(expected))


@pytest.mark.parametrize(("begin", "end"), [(0, 4), (1, 3), (1, 2), (2, 4), (3, 3)])
def test_a_part_of_a_batch_holds_what_belongs_to_its_pictures(begin: int, end: int) -> None:
    whole = batch_of()
    part = whole.part(begin, end)
    assert part.image_ids == whole.image_ids[begin:end]
    for name in ("again", "age"):
        assert torch.equal(part.extras[name], whole.extras[name][begin:end])
    assert torch.equal(part.images, whole.images[begin:end])
    assert torch.equal(part.labels, whole.labels[begin:end])
    boxes = part.extras["boxes"]
    assert len(boxes) == end - begin
    for row in range(end - begin):
        assert torch.equal(boxes.of(row), whole.extras["boxes"].of(begin + row))


def test_views_count_as_pictures_and_other_extras_do_not() -> None:
    assert batch_of().num_pictures == 8


@pytest.mark.parametrize("with_labels", [True, False])
def test_everything_goes_to_the_device_the_labels_if_asked_for(with_labels: bool) -> None:
    moved = batch_of().to(torch.device("meta"), with_labels=with_labels)
    found = [tensor.device.type for tensor in moved.tensors()]
    assert found == ["meta", "meta" if with_labels else "cpu", *["meta"] * 5]
    assert moved.image_ids == batch_of().image_ids
