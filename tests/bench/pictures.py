"""Generated pictures that several benchmarks share."""

from collections.abc import Iterator

import cv2
import numpy as np

SIDE_PX = 112
QUALITY = 90


def drawn_jpegs(count: int, *, first: int = 0) -> Iterator[bytes]:
    """112x112 pictures with soft shading, shapes and camera noise, at JPEG quality 90; each from its number alone."""
    for number in range(first, first + count):
        generator = np.random.default_rng(number)
        shading = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = cv2.resize(shading, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
        for left, top, radius, *colour in generator.integers(5, 112, (4, 6)).tolist():
            cv2.circle(picture, (left, top), radius // 3, colour, -1, cv2.LINE_AA)
        noise = generator.normal(0.0, 11.0, picture.shape)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
        yield cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
