"""The quick way of painting, for JPEGs that fit, shows what the general way shows, whatever lies between them."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg
from PIL import Image, ImageOps

from pipelines.columns import DATASET
from training.feed.augment import Augment
from training.feed.location import Location
from training.feed.paint import Painter
from training.feed.settings import AugmentSettings, DecodeSettings
from training.feed.shards import Piece, Rows, Shard

SIDE_PX = 24


def encoded(width_px: int, height_px: int, picture_format: str = "JPEG", *, orientation: int | None = None) -> bytes:
    rng = np.random.default_rng([width_px, height_px])
    coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
    picture = Image.fromarray(coarse).resize((width_px, height_px), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    stream = io.BytesIO()
    picture.save(stream, picture_format, **({"exif": exif} if orientation is not None else {}))
    return stream.getvalue()


def rows_of(images: list[bytes], tmp_path: Path) -> Rows:
    columns = [
        [f"{number:064x}" for number in range(len(images))],
        list(range(len(images))),
        images,
        [zlib.crc32(data) for data in images],
    ]
    table = pa.table(columns, schema=DATASET)
    shard = Shard(Location(tmp_path), "train/0.parquet", 0, "")
    return Rows(Piece.whole(shard, 0, len(images)), table)


def painted(painter: Painter, rows: Rows, numbers: list[int]) -> np.ndarray:
    block = np.full((len(numbers), SIDE_PX, SIDE_PX, 3), 7, np.uint8)
    painter.paint(block, [(rows, number) for number in numbers], [0] * len(numbers))
    return block


FIT, ALSO_FITS = encoded(SIDE_PX, SIDE_PX), encoded(SIDE_PX, SIDE_PX)[:-2] + b"\xff\xd9"
ODD = {
    "a smaller one": encoded(12, 16),
    "one of as many pixels": encoded(SIDE_PX // 2, SIDE_PX * 2),
    "a larger one": encoded(60, 50),
    "one on its side": encoded(SIDE_PX, SIDE_PX, orientation=6),
    "an upright one that says so": encoded(SIDE_PX, SIDE_PX, orientation=1),
    "a PNG": encoded(SIDE_PX, SIDE_PX, "PNG"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("place", [0, 1, 3])
def test_among_pictures_that_fit_another_is_shown_as_it_is_alone(odd: str, place: int, tmp_path: Path) -> None:
    images = [FIT, ALSO_FITS, encoded(SIDE_PX, SIDE_PX)]
    images.insert(place, ODD[odd])
    rows = rows_of(images, tmp_path)
    painter = Painter(DecodeSettings(size_px=SIDE_PX), None)
    together = painted(painter, rows, [0, 1, 2, 3])
    for number in range(4):
        assert (painted(painter, rows_of([images[number]], tmp_path), [0])[0] == together[number]).all()


@pytest.mark.parametrize("odd", ODD)
def test_a_picture_looks_as_pillow_shows_it(odd: str, tmp_path: Path) -> None:
    with Image.open(io.BytesIO(ODD[odd])) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    short = min(upright.size)
    left, top = (upright.width - short) // 2, (upright.height - short) // 2
    box = (left, top, left + short, top + short)
    expected = np.asarray(upright.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box=box)).astype(int)
    shown = painted(Painter(DecodeSettings(size_px=SIDE_PX), None), rows_of([FIT, ODD[odd]], tmp_path), [0, 1])[1]
    assert np.abs(shown - expected).mean() < 10  # they shrink in other ways; another picture is off by 70


def test_a_picture_that_fits_is_decoded_once_and_never_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of([FIT] * 5, tmp_path)
    expected = simplejpeg.decode_jpeg(FIT)
    calls = []
    decode: Callable[..., np.ndarray] = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *given, **more: calls.append(1) or decode(*given, **more))
    monkeypatch.delattr(simplejpeg, "decode_jpeg_header")
    block = painted(Painter(DecodeSettings(size_px=SIDE_PX), None), rows, [0, 1, 2, 3, 4])
    assert len(calls) == 5
    assert (block == expected).all()


@pytest.mark.parametrize(
    "settings", [DecodeSettings(size_px=SIDE_PX, crop=0.5), DecodeSettings(size_px=SIDE_PX)], ids=["crop", "random"]
)
def test_where_a_part_is_to_be_shown_a_picture_that_fits_is_cut(settings: DecodeSettings, tmp_path: Path) -> None:
    augment = None
    if settings.crop == 1.0:
        augment = Augment(AugmentSettings(flip=0.0, crop_area=(0.2, 0.3)), seed=0, epoch=0)
    block = painted(Painter(settings, augment), rows_of([FIT], tmp_path), [0])
    assert np.abs(block[0].astype(int) - simplejpeg.decode_jpeg(FIT)).mean() > 4
