"""Face detection: the number of faces, and box, score and landmarks of the largest (pure, no Spark)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from cv2.data import haarcascades
from numpy.typing import NDArray

from pipelines.arrays import Picture
from pipelines.onnx_file import require_whole
from pipelines.settings import FaceSettings, UserError

_CASCADE = "haarcascade_frontalface_default.xml"
_CASCADE_STEP = 1.1  # ratio of consecutive scales of the search
_CASCADE_NEIGHBOURS = 5  # overlapping windows that a face needs
# The cascade needs the surroundings of a face. It finds one in 37 % of the tightly cropped frontal photos of CFP as
# they are, and in 97 % with their edges replicated by this share of the longer side.
_CASCADE_BORDER = 0.15

_YUNET_OVERLAP = 0.3  # boxes that overlap more are one face
_YUNET_CANDIDATES = 5000  # before overlapping boxes are merged


@dataclass(frozen=True)
class Face:
    """One face, in pixels of the upright picture; the centre of the first pixel is (0, 0)."""

    box: tuple[float, float, float, float]  # x, y, width, height; may reach beyond the picture
    score: float | None  # 0..1; None = the detector has no scores
    # x0, y0, x1, ... of left eye, right eye, nose, left and right corner of the mouth, left and right as seen in the
    # picture; None = the detector has no landmarks
    landmarks: tuple[float, ...] | None

    @property
    def area(self) -> float:
        return self.box[2] * self.box[3]


@dataclass(frozen=True)
class Faces:
    """The faces of one picture."""

    count: int
    main: Face | None  # the largest; None = there is no face


class FaceDetector:
    """Finds faces. It can be sent to other processes; each loads the detector once, at the first picture."""

    def __init__(self, settings: FaceSettings) -> None:
        assert settings.detector != "none"
        self._settings = settings

    def load(self) -> None:
        """Load YuNet and try it, so that a wrong model is reported before the long work.

        Raises:
            UserError: the model is missing, or not YuNet.
        """
        model = self._settings.model
        if self._settings.detector != "yunet" or model is None:
            return
        if not model.is_file():
            raise UserError(f"faces.model={model} does not exist; give the path of YuNet's ONNX file")
        require_whole(model.read_bytes(), setting=f"faces.model={model}")
        try:
            _search_of(self._settings).find(np.zeros((64, 64, 3), np.uint8), min_side_px=1)
        except cv2.error as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"faces.model={model} does not work as YuNet ({reason}); give its ONNX file, or set faces.detector=haar"
            ) from None

    def detect(self, rgb: Picture) -> Faces:
        """The faces of an upright picture (H, W, 3); independent of the pictures before."""
        settings = self._settings
        shown = _shrink(rgb, settings.detect_side_px)
        across, down = rgb.shape[1] / shown.shape[1], rgb.shape[0] / shown.shape[0]
        found = _search_of(settings).find(shown, min_side_px=settings.min_side_px / max(across, down))
        faces = [_scaled(face, across, down) for face in found]
        return largest([face for face in faces if min(face.box[2:]) >= settings.min_side_px])


def build_detector(settings: FaceSettings) -> FaceDetector | None:
    """The detector that the settings choose; None for `detector=none`."""
    return None if settings.detector == "none" else FaceDetector(settings)


def largest(faces: Sequence[Face]) -> Faces:
    """The number of faces and the largest; among equals by score, then topmost, then leftmost."""

    def rank(face: Face) -> tuple[float, ...]:
        x, y, width, _ = face.box
        return (-face.area, -(face.score or 0.0), y, x, width)

    return Faces(count=len(faces), main=min(faces, key=rank, default=None))


def faces_of_rows(rows: NDArray[Any]) -> list[Face]:
    """Convert the result of `cv2.FaceDetectorYN.detect`, (N, 15), to faces.

    Its columns are x, y, width, height, five points and the score. The points begin with the right eye and end with the
    left corner of the mouth as the person sees them; the right of the person is left in the picture, so the order is
    that of `Face`.
    """
    return [
        Face(box=(x, y, width, height), score=score, landmarks=tuple(points))
        for x, y, width, height, *points, score in rows[np.isfinite(rows).all(axis=1)].tolist()
    ]


class _Search(Protocol):
    """Finds the faces of a picture (H, W, 3) without scaling it."""

    def find(self, rgb: Picture, *, min_side_px: float) -> list[Face]: ...


class _Cascade:
    """The boosted cascade of Haar features (Viola and Jones, CVPR 2001) of OpenCV: frontal faces, no points."""

    def __init__(self) -> None:
        self._cascade = cv2.CascadeClassifier(str(Path(haarcascades, _CASCADE)))

    def find(self, rgb: Picture, *, min_side_px: float) -> list[Face]:
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        border = round(_CASCADE_BORDER * max(grey.shape))
        framed = cv2.copyMakeBorder(grey, border, border, border, border, cv2.BORDER_REPLICATE)
        smallest = int(min_side_px)
        boxes = self._cascade.detectMultiScale(
            framed, scaleFactor=_CASCADE_STEP, minNeighbors=_CASCADE_NEIGHBOURS, minSize=(smallest, smallest)
        )
        return [
            Face(box=(float(x - border), float(y - border), float(width), float(height)), score=None, landmarks=None)
            for x, y, width, height in boxes
        ]


class _YuNet:
    """YuNet (Wu, Peng and Yu, Machine Intelligence Research 2023) as OpenCV runs it."""

    def __init__(self, model: Path, min_score: float) -> None:
        self._net = cv2.FaceDetectorYN.create(str(model), "", (64, 64), min_score, _YUNET_OVERLAP, _YUNET_CANDIDATES)

    def find(self, rgb: Picture, *, min_side_px: float) -> list[Face]:
        height, width = rgb.shape[:2]
        self._net.setInputSize((width, height))
        _, rows = self._net.detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        return [] if rows is None else faces_of_rows(rows)


@lru_cache
def _search_of(settings: FaceSettings) -> _Search:
    if settings.detector == "haar":
        return _Cascade()
    assert settings.model is not None
    return _YuNet(settings.model, settings.min_score)


def _shrink(rgb: Picture, longest_px: int) -> Picture:
    longest = max(rgb.shape[:2])
    if longest <= longest_px:
        return rgb
    height, width = (max(1, round(side * longest_px / longest)) for side in rgb.shape[:2])
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _scaled(face: Face, across: float, down: float) -> Face:
    """Convert a face from the shrunk picture to pixels of the original; the factors are those of the shrinking."""
    x, y, width, height = face.box
    points = None
    if face.landmarks is not None:
        # In both pictures (0, 0) is the centre of the first pixel, not its corner.
        scales = (across, down) * 5
        points = tuple((value + 0.5) * scale - 0.5 for value, scale in zip(face.landmarks, scales, strict=True))
    return Face(box=(x * across, y * down, width * across, height * down), score=face.score, landmarks=points)
