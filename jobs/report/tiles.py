"""Pictures as tiles: a small JPEG inside the page, or the name of the fault where there is nothing to see."""

import base64
from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np

from jobs.report.artefact import Artefact, read_images
from jobs.report.selection import Decision
from pipelines.pixels import DecodeError, decode
from pipelines.settings import PixelSettings

SIDE_PX = 144  # of a tile's longer side; twice the pixels that a phone shows
JPEG_QUALITY = 78


@dataclass(frozen=True)
class Tile:
    """One picture of a gallery."""

    decision: Decision
    uri: str  # a data URI; empty where the picture cannot be decoded
    fault: str  # why it cannot; empty where it can

    @property
    def short_source(self) -> str:
        """The end of the source, which is more specific than its beginning."""
        return "/".join(self.decision.source.split("!/")[-1].split("/")[-2:])


class TileMaker:
    """Tiles of some pictures, all read in one pass over the records."""

    def __init__(self, records: Artefact, image_ids: Collection[str]) -> None:
        self._drawn = {image_id: draw(image) for image_id, image in read_images(records, image_ids).items()}

    def __call__(self, decision: Decision) -> Tile:
        return Tile(decision, *self._drawn.get(decision.image_id, ("", "not among the records")))


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
