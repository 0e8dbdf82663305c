"""Boxes and points follow the pixels; the oracle is the picture itself: coloured markers, looked for after painting."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipelines.columns import DATASET
from training.feed.augment import Augment
from training.feed.geometry import are_mirrored, compose, mirror_map, move_boxes, move_points
from training.feed.in_memory import KeptPictures
from training.feed.location import Location
from training.feed.paint import Painter
from training.feed.settings import AugmentSettings, DecodeSettings
from training.feed.shards import Piece, Rows, Shard

SIDE_PX = 96
# Red, green and blue markers, as shares of width and height.
PLACES = np.array([[0.31, 0.28], [0.66, 0.41], [0.45, 0.73]])
COPIES = 12  # of a picture, each with changes of its own


def marked(width: int, height: int) -> tuple[Image.Image, np.ndarray]:
    """A dark picture with a square of each colour, and the centres of these, counted from the first pixel's centre."""
    radius = max(1, min(width, height) // 25)
    pixels = np.zeros((height, width, 3), np.uint8)
    centres = np.rint(PLACES * (width, height)).astype(int)
    for channel, (x, y) in enumerate(centres):
        pixels[y - radius : y + radius + 1, x - radius : x + radius + 1, channel] = 255
    return Image.fromarray(pixels), centres.astype(np.float64)


TURNS = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90}


def encoded(picture: Image.Image, kind: str, orientation: int | None = None) -> bytes:
    """The bytes of a picture, stored turned where an orientation of EXIF says so."""
    stream, exif = io.BytesIO(), Image.Exif()
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    if orientation is not None:
        picture = picture.transpose(TURNS[orientation])
        exif[0x0112] = orientation
        options["exif"] = exif
    picture.save(stream, kind, **options)
    return stream.getvalue()


def rows_of(image: bytes, folder: Path) -> Rows:
    columns = [[f"{number:064x}" for number in range(COPIES)], list(range(COPIES)), [image] * COPIES]
    table = pa.table([*columns, [zlib.crc32(image)] * COPIES], schema=DATASET)
    return Rows(Piece.whole(Shard(Location(folder), "train/0.parquet", 0, ""), 0, COPIES), table)


def found(picture: np.ndarray, channel: int) -> tuple[np.ndarray, bool]:
    """The centre of what has a colour, by its weight, and whether all of it is inside the picture."""
    weights = picture[..., channel].astype(float) - np.delete(picture, channel, axis=-1).max(axis=-1)
    weights = np.where(weights > 80, weights, 0.0)
    rim = weights[[0, -1]].sum() + weights[:, [0, -1]].sum()
    y, x = np.indices(weights.shape)
    is_inside = weights.sum() > 0 and rim == 0
    return np.array([(weights * x).sum(), (weights * y).sum()]) / max(weights.sum(), 1.0), is_inside


PICTURES = {
    "JPEG of the size": (SIDE_PX, SIDE_PX, "JPEG", None),
    "larger JPEG": (211, 173, "JPEG", None),
    "JPEG that is decoded smaller": (1203, 901, "JPEG", None),
    "small JPEG": (61, 70, "JPEG", None),
    "PNG": (301, 200, "PNG", None),
    "upside down": (320, 207, "JPEG", 3),
    "mirrored on its side": (320, 207, "JPEG", 5),
    "on its side": (320, 207, "JPEG", 6),
}
CHANGES = {
    "as it is": (DecodeSettings(size_px=SIDE_PX), None),
    "centre": (DecodeSettings(size_px=SIDE_PX, crop=0.8), None),
    "stretched": (DecodeSettings(size_px=SIDE_PX, fit="stretch"), None),
    "mirrored": (DecodeSettings(size_px=SIDE_PX), AugmentSettings(flip=1.0)),
    "cropped": (DecodeSettings(size_px=SIDE_PX), AugmentSettings(flip=0.5, crop_area=(0.4, 0.9))),
}


CASES = [(change, is_kept) for change in CHANGES for is_kept in (False, True) if not (is_kept and change == "cropped")]


@pytest.mark.parametrize(("change", "is_kept"), CASES)
@pytest.mark.parametrize("name", PICTURES)
def test_points_are_where_the_pixels_are(name: str, change: str, is_kept: bool, tmp_path: Path) -> None:
    settings, augment = CHANGES[change]
    width, height, kind, orientation = PICTURES[name]
    picture, centres = marked(width, height)
    rows = rows_of(encoded(picture, kind, orientation), tmp_path)
    kept = KeptPictures([rows.piece], size_px=SIDE_PX) if is_kept else None
    painter = Painter(settings, None if augment is None else Augment(augment, seed=1, epoch=0), kept, with_maps=True)
    seen = 0
    for _ in range(1 + is_kept):
        block = np.empty((COPIES, SIDE_PX, SIDE_PX, 3), np.uint8)
        maps = painter.paint(block, [(rows, row) for row in range(COPIES)], [0] * COPIES).maps
        assert maps is not None
        moved = move_points(np.repeat(centres[None], COPIES, axis=0), maps)
        for shown, points in zip(block, moved, strict=True):
            for channel, point in enumerate(points):
                centre, is_inside = found(shown, channel)
                if is_inside:
                    seen += 1
                    assert np.abs(centre - point).max() < 0.35
    assert seen >= COPIES


def test_a_picture_is_mirrored_about_half_of_the_time_and_the_map_says_when(tmp_path: Path) -> None:
    picture, centres = marked(SIDE_PX, SIDE_PX)
    painter = Painter(
        DecodeSettings(size_px=SIDE_PX), Augment(AugmentSettings(flip=0.5), seed=1, epoch=0), with_maps=True
    )
    rows = rows_of(encoded(picture, "PNG"), tmp_path)
    block = np.empty((COPIES, SIDE_PX, SIDE_PX, 3), np.uint8)
    maps = painter.paint(block, [(rows, row) for row in range(COPIES)], [0] * COPIES).maps
    x = [found(shown, 0)[0][0] for shown in block]
    assert are_mirrored(maps).tolist() == [abs(place - centres[0, 0]) > 1 for place in x]
    assert 0 < are_mirrored(maps).sum() < COPIES


def test_no_map_is_made_where_none_is_asked_for(tmp_path: Path) -> None:
    rows = rows_of(encoded(marked(SIDE_PX, SIDE_PX)[0], "JPEG"), tmp_path)
    block = np.empty((1, SIDE_PX, SIDE_PX, 3), np.uint8)
    assert Painter(DecodeSettings(size_px=SIDE_PX), None).paint(block, [(rows, 0)], [0]).maps is None


MAPS = np.array([[[2.0, 0, -10], [0, 3, 5]], [[-1, 0, 96], [0, 1, 0]]])


def test_a_box_that_covers_pixels_covers_the_same_ones_afterwards() -> None:
    boxes = np.array([[10.0, 20, 30, 50], [10, 20, 30, 50]], np.float32)
    moved = move_boxes(boxes, MAPS)
    assert moved.tolist() == [[10, 65, 50, 155], [66, 20, 86, 50]]
    assert moved.dtype == np.float32


def test_several_items_of_a_picture_move_by_its_map() -> None:
    points = np.arange(2 * 3 * 5 * 2, dtype=np.float64).reshape(2, 3, 5, 2)
    moved = move_points(points, MAPS)
    for picture, one in enumerate(MAPS):
        corner = points[picture].reshape(-1, 2) + 0.5
        expected = (np.c_[corner, np.ones(15)] @ one.T - 0.5).reshape(3, 5, 2)
        assert np.allclose(moved[picture], expected)


def test_maps_are_composed_like_matrices() -> None:
    square = np.vstack([MAPS[0], [0, 0, 1]])
    mirror = np.vstack([mirror_map(40), [0, 0, 1]])
    assert np.allclose(compose(mirror_map(40), MAPS[0]), (mirror @ square)[:2])
    assert np.allclose(compose(MAPS, MAPS[::-1])[1], (np.vstack([MAPS[1], [0, 0, 1]]) @ square)[:2])
