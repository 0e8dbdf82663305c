"""Chosen pictures as tiles: a small JPEG inside the page, or the name of the fault where there is nothing to see."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.pixels import DecodeError, decode
from pipelines.settings import PixelSettings
from training.report.artefact import Artefact, read_images
from training.report.selection import Chosen, Decision, conflicts, duplicate_groups, rejected

SIDE_PX = 144  # of a tile's longer side; twice the pixels that a phone shows
JPEG_QUALITY = 78
PER_REASON = 8
NUM_GROUPS = 12
PER_GROUP = 6


@dataclass(frozen=True)
class Tile:
    """One picture of a gallery."""

    decision: Decision
    uri: str  # a data URI; empty where the picture cannot be decoded
    fault: str  # why it cannot; empty where it can

    @property
    def short_source(self) -> str:
        """The end of the source, which tells more than its beginning."""
        return "/".join(self.decision.source.split("!/")[-1].split("/")[-2:])


@dataclass(frozen=True)
class Shelf:
    """Tiles that belong together."""

    name: str
    num_rows: int  # of which the tiles are a part
    tiles: list[Tile]


@dataclass(frozen=True)
class Galleries:
    """What was left out, to be looked at."""

    rejected: list[Shelf]
    duplicates: list[Shelf]
    conflicts: list[Shelf]


def build_galleries(records: Artefact, decisions: Artefact) -> Galleries:
    """Choose the pictures, read them in one pass and draw them small."""
    chosen = (
        rejected(decisions, per_reason=PER_REASON),
        duplicate_groups(decisions, num_groups=NUM_GROUPS, per_group=PER_GROUP),
        conflicts(decisions, num_groups=NUM_GROUPS, per_group=PER_GROUP),
    )
    ids = {row.image_id for kind in chosen for shelf in kind for row in shelf.shown}
    drawn = {image_id: draw(image) for image_id, image in read_images(records, ids).items()}
    return Galleries(*(_shelves(kind, drawn) for kind in chosen))


def _shelves(chosen: Iterable[Chosen], drawn: dict[str, tuple[str, str]]) -> list[Shelf]:
    missing = ("", "not among the records")
    return [
        Shelf(shelf.name, shelf.num_rows, [Tile(row, *drawn.get(row.image_id, missing)) for row in shelf.shown])
        for shelf in chosen
    ]


def draw(image: bytes) -> tuple[str, str]:
    """A small picture for the page: (data URI, "") or ("", fault)."""
    try:
        rgb = decode(image, PixelSettings()).rgb
    except DecodeError as error:
        return "", error.fault
    height, width = rgb.shape[:2]
    scale = min(1.0, SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    is_written, jpeg = cv2.imencode(
        ".jpg", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    assert is_written
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii"), ""
