"""The oracle is one picture at a time through Pillow, in one process."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipelines.settings import UserError
from training.comm.local import LocalComm
from training.evaluate.embed import embed
from training.evaluate.pairs import held
from training.feed.settings import DecodeSettings
from training.testing.threads import run_threads

SIZE = 16


class _Backbone(nn.Module):
    """Linear on the pixels, with a dropout that must be off and a batch normalisation that must not move."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm2d(3)
        self.linear = nn.Linear(3 * SIZE * SIZE, 5)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        return self.dropout(self.linear(self.norm(images).flatten(1)))


def _png(seed, size=SIZE):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _embed(comm, images, *, backbone=None, crop=1.0):
    pictures = held([f"picture-{place}" for place in range(len(images))], images)
    return embed(backbone or _Backbone(), pictures, comm, decode=DecodeSettings(size_px=SIZE, crop=crop), batch_size=3)


def test_an_embedding_is_that_of_the_picture_plus_that_of_its_mirror_image():
    images = [_png(seed) for seed in range(7)]
    backbone = _Backbone().eval()
    expected = []
    for image in images:
        picture = Image.open(io.BytesIO(image))
        both = [picture, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
        floats = np.stack([(np.asarray(view, np.float32) / 255 - 0.5) / 0.5 for view in both]).transpose(0, 3, 1, 2)
        expected.append(backbone(torch.from_numpy(floats)).sum(0).detach().numpy())
    np.testing.assert_allclose(_embed(LocalComm(), images), expected, atol=1e-5)


@pytest.mark.parametrize("num_pictures", [7, 2])
def test_every_rank_gets_all_embeddings_in_order(num_pictures):
    images = [_png(seed) for seed in range(num_pictures)]
    alone = _embed(LocalComm(), images)
    # Made before the threads, which share torch's random generator.
    backbones = [_Backbone() for _ in range(3)]
    for embeddings in run_threads(3, lambda comm: _embed(comm, images, backbone=backbones[comm.rank])):
        np.testing.assert_allclose(embeddings, alone, atol=1e-6)


def test_the_centre_is_shown_where_a_crop_is_asked_for():
    small = _png(1)
    large = np.zeros((2 * SIZE, 2 * SIZE, 3), np.uint8)
    large[SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2] = np.asarray(Image.open(io.BytesIO(small)))
    stream = io.BytesIO()
    Image.fromarray(large).save(stream, "PNG")
    np.testing.assert_allclose(
        _embed(LocalComm(), [stream.getvalue()], crop=0.5), _embed(LocalComm(), [small]), atol=1e-6
    )


@pytest.mark.parametrize("is_training", [True, False])
def test_the_backbone_is_left_as_it_came(is_training):
    backbone = _Backbone().train(is_training)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    _embed(LocalComm(), [_png(0)], backbone=backbone)
    assert backbone.training is is_training
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_picture_that_cannot_be_decoded_is_named_on_every_rank():
    images = [_png(seed) for seed in range(4)] + [b"\xff\xd8\xffnothing"]

    def told(comm):
        with pytest.raises(UserError, match="picture-4 cannot be decoded"):
            _embed(comm, images)

    run_threads(2, told)
