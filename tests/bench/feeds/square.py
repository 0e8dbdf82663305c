"""From an encoded picture to the square that is fed, for the peers that leave it to the user."""

import io

import cv2
import numpy as np
import torch
from PIL import Image

from feeds.clock import Job


class Square:
    """An encoded picture, or one that Pillow has opened, to the square that is fed: (S, S, 3), uint8."""

    def __init__(self, job: Job) -> None:
        self.side = job.side_px
        self.decoder = job.decoder

    def __call__(self, picture: bytes | Image.Image) -> torch.Tensor:
        return torch.from_numpy(self.array(picture))

    def array(self, picture: bytes | Image.Image) -> np.ndarray:
        if isinstance(picture, bytes) and self.decoder == "cv2":
            return self._by_opencv(picture)
        opened = Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture
        return self._by_pillow(opened)

    def _by_pillow(self, picture: Image.Image) -> np.ndarray:
        picture = picture.convert("RGB")
        short = min(picture.size)
        if picture.size != (self.side, self.side):
            left, top = (picture.width - short) // 2, (picture.height - short) // 2
            box = (left, top, left + short, top + short)
            picture = picture.resize((self.side, self.side), Image.Resampling.BILINEAR, box=box)
        return np.array(picture)

    def _by_opencv(self, data: bytes) -> np.ndarray:
        picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        height, width = picture.shape[:2]
        short = min(height, width)
        if (width, height) == (self.side, self.side):
            return picture
        top, left = (height - short) // 2, (width - short) // 2
        part = picture[top : top + short, left : left + short]
        return cv2.resize(part, (self.side, self.side), interpolation=cv2.INTER_AREA)
