"""Embeddings of pictures: each rank computes a part, and every rank gets them all."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.arrays import Float32Array
from pipelines.pixels import DecodeError
from pipelines.settings import UserError
from training.comm.protocol import Comm
from training.evaluate.pairs import Pictures
from training.feed.decode import centre_box, jpeg_size, render
from training.feed.settings import DecodeSettings
from training.models.backbones import normalise


def embed(
    backbone: nn.Module, pictures: Pictures, comm: Comm, *, decode: DecodeSettings, batch_size: int
) -> Float32Array:
    """Features of every picture plus those of its mirror image, (N, D) float32, computed on the device of the backbone.

    The backbone keeps its mode (training or evaluation).

    Raises:
        UserError: a picture cannot be decoded; raised by every rank, though one met it.
    """
    start, stop = (len(pictures) * part // comm.size for part in (comm.rank, comm.rank + 1))
    was_training = backbone.training
    backbone.eval()
    fault = None
    mine = torch.empty(0)
    try:
        mine = _embed_run(backbone, pictures, range(start, stop), decode=decode, batch_size=batch_size)
    except UserError as error:
        fault = str(error)
    finally:
        backbone.train(was_training)
    # Every rank gets the fault, else the others would wait for the rank that raised it.
    faults = [one for one in comm.allgather_object(fault, name="embed.faults") if one is not None]
    if faults:
        raise UserError(faults[0])
    everyone: Float32Array = comm.allgather(mine, name="embed.features").cpu().numpy()
    return everyone


@torch.inference_mode()
def _embed_run(
    backbone: nn.Module, pictures: Pictures, run: range, *, decode: DecodeSettings, batch_size: int
) -> Tensor:
    device = next(backbone.parameters()).device
    # A rank without pictures embeds an empty batch, to know D for the gathering.
    starts = range(run.start, run.stop, batch_size) or [run.start]
    features = []
    for start in starts:
        stop = min(start + batch_size, run.stop)
        images = normalise(_decode_run(pictures, start, stop, decode).to(device))
        features.append(backbone(images) + backbone(images.flip(-1)))
    return torch.cat(features).float()


def _decode_run(pictures: Pictures, start: int, stop: int, decode: DecodeSettings) -> Tensor:
    """uint8 (B, 3, S, S)."""
    size, show = decode.size_px, partial(centre_box, settings=decode)
    block = np.empty((stop - start, size, size, 3), np.uint8)
    for place, data in enumerate(pictures.read(start, stop)):
        try:
            render(data, block[place], jpeg_size(data, decode.limits), show, limits=decode.limits)
        except DecodeError as error:
            name = pictures.names[start + place]
            raise UserError(f"{name} cannot be decoded ({error}); replace it, or remove it from the pairs") from None
    return torch.from_numpy(block).permute(0, 3, 1, 2)
