"""Faces: drawn ones at known places, photographs, and what YuNet's rows say."""

import pickle
import random
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.faces import Face, FaceDetector, Faces, build_detector, faces_of_rows, largest
from pipelines.pixels import decode
from pipelines.settings import FaceSettings, PixelSettings, UserError

HAAR = FaceDetector(FaceSettings(detector="haar"))
SEEDS = (0, 2, 3, 5, 6)  # of drawn faces that the cascade knows


def on_wall(*portraits: tuple[NDArray[np.uint8], int, int], width: int = 640, height: int = 480) -> NDArray[np.uint8]:
    """Portraits hung on an empty wall, the left upper corner of each at x, y."""
    wall = np.full((height, width, 3), 120, np.uint8)
    for portrait, x, y in portraits:
        wall[y : y + portrait.shape[0], x : x + portrait.shape[1]] = portrait
    return wall


def holds_eyes(face: Face | None, x: float, y: float) -> bool:
    """Whether a point lies in the upper half of a face's box, in the middle half of its width."""
    assert face is not None
    left, top, width, height = face.box
    return left + width / 4 < x < left + 3 * width / 4 and top < y < top + height / 2


def test_no_detector_is_built_where_none_is_asked_for() -> None:
    assert build_detector(FaceSettings()) is None
    assert build_detector(FaceSettings(detector="haar")) is not None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_drawn_face_is_found_where_it_was_drawn(draw_face, seed: int) -> None:
    found = HAAR.detect(on_wall((draw_face(seed), 300, 200)))
    assert found.count == 1
    assert holds_eyes(found.main, 300 + 80, 200 + 72)
    assert found.main is not None
    assert (found.main.score, found.main.landmarks) == (None, None)


def test_of_two_faces_the_larger_is_the_main_one(draw_face) -> None:
    large = cv2.resize(draw_face(0), (240, 240), interpolation=cv2.INTER_CUBIC)
    found = HAAR.detect(on_wall((draw_face(2), 20, 40), (large, 300, 200)))
    assert found.count == 2
    assert holds_eyes(found.main, 300 + 120, 200 + 108)


def test_an_empty_wall_has_no_face() -> None:
    assert HAAR.detect(on_wall()) == Faces(count=0, main=None)


def test_a_large_picture_is_searched_small_and_the_box_is_in_its_own_pixels(draw_face) -> None:
    small = on_wall((draw_face(3), 300, 200))
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    box, far = HAAR.detect(small).main, HAAR.detect(large).main
    assert box is not None
    assert far is not None
    np.testing.assert_allclose(far.box, 4 * np.array(box.box), rtol=0.02)


def test_a_face_that_fills_the_picture_is_found(draw_face) -> None:
    x, y, width, height = (int(side) for side in HAAR.detect(draw_face(0)).main.box)
    tight = np.ascontiguousarray(draw_face(0)[y : y + height, x : x + width])
    assert HAAR.detect(tight).count == 1


@pytest.mark.parametrize("min_side_px", [40, 200])
def test_smaller_faces_than_asked_for_do_not_count(draw_face, min_side_px: int) -> None:
    picture = on_wall((draw_face(0), 300, 200))
    detector = FaceDetector(FaceSettings(detector="haar", min_side_px=min_side_px))
    assert detector.detect(picture).count == (1 if min_side_px == 40 else 0)
    # In its own pixels, not in those of the shrunk picture.
    large = picture.repeat(4, axis=0).repeat(4, axis=1)
    assert detector.detect(large).count == 1


def test_neither_threads_nor_order_nor_another_process_change_the_result(draw_face) -> None:
    pictures = [on_wall((draw_face(seed), 60 * seed, 20 * seed), width=700) for seed in SEEDS]
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = [HAAR.detect(picture) for picture in pictures]
        cv2.setNumThreads(4)
        assert [HAAR.detect(picture) for picture in reversed(pictures)][::-1] == alone
    finally:
        cv2.setNumThreads(threads)
    sent = pickle.loads(pickle.dumps(HAAR))
    assert [sent.detect(picture) for picture in pictures] == alone


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5_000, 3), (5_000, 1, 3), (23, 23, 3)])
def test_a_picture_of_absurd_size_has_no_face(shape: tuple[int, int, int]) -> None:
    assert HAAR.detect(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)).count == 0


def test_photographs_of_faces_have_their_face_in_the_middle(shared_data: Path) -> None:
    with tarfile.open(shared_data / "lfw_folds1to5.tar") as archive:
        names = sorted(name for name in archive.getnames() if name.endswith(".jpg"))
        chosen = random.Random(0).sample(names, 40)
        pictures = [decode(archive.extractfile(name).read(), PixelSettings()).rgb for name in chosen]
    # Deep-funneled LFW: 250 x 250, and the eyes of the one who is meant a little above the centre.
    assert (
        sum(found.main is not None and holds_eyes(found.main, 125, 113) for found in map(HAAR.detect, pictures)) >= 37
    )


def test_yunets_points_are_the_persons_and_become_those_of_the_picture() -> None:
    """A face that looks at us: its right eye, which the rows begin with, is the left one of the picture."""
    right_eye, left_eye, nose, right_mouth, left_mouth = (40, 50), (72, 51), (57, 70), (43, 90), (70, 91)
    points = [*right_eye, *left_eye, *nose, *right_mouth, *left_mouth]
    (face,) = faces_of_rows(np.array([[20, 10, 70, 100, *points, 0.875]], np.float32))
    assert face.box == (20, 10, 70, 100)
    assert face.score == 0.875
    assert face.landmarks is not None
    seen = np.reshape(face.landmarks, (5, 2))
    left_seen, right_seen = seen[[0, 3]], seen[[1, 4]]
    assert (left_seen[:, 0] < right_seen[:, 0]).all()
    assert tuple(seen[2]) == nose


def test_rows_that_are_no_numbers_are_no_faces() -> None:
    rows = np.ones((3, 15), np.float32)
    rows[0, 3], rows[2, 7] = np.nan, np.inf
    assert len(faces_of_rows(rows)) == 1


def test_equally_large_faces_have_one_order_whatever_the_order_they_come_in() -> None:
    boxes = [(30.0, 8.0, 10.0, 20.0), (5.0, 8.0, 20.0, 10.0), (5.0, 8.0, 10.0, 20.0), (0.0, 9.0, 20.0, 10.0)]
    faces = [Face(box, None, None) for box in boxes] + [Face((1.0, 1.0, 2.0, 2.0), 0.9, None)]
    for seed in range(20):
        random.Random(seed).shuffle(faces)
        assert largest(faces) == Faces(count=5, main=Face((5.0, 8.0, 10.0, 20.0), None, None))
    surer = Face((30.0, 30.0, 10.0, 20.0), 0.8, None)
    assert largest([*faces, surer]).main == surer


def test_yunet_without_its_model_is_one_line() -> None:
    with pytest.raises(ValidationError, match="detector=yunet needs model=FILE, YuNet as ONNX; give it, or choose"):
        FaceSettings(detector="yunet")


def test_a_missing_model_is_the_users_mistake(tmp_path: Path) -> None:
    detector = FaceDetector(FaceSettings(detector="yunet", model=tmp_path / "yunet.onnx"))
    with pytest.raises(UserError, match=r"^faces\.model=.*yunet\.onnx does not exist; give the path"):
        detector.load()


def test_a_model_that_is_none_is_the_users_mistake(tmp_path: Path) -> None:
    model = tmp_path / "yunet.onnx"
    model.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"^faces\.model=.* does not work as YuNet \(.*\); give") as raised:
        FaceDetector(FaceSettings(detector="yunet", model=model)).load()
    assert "\n" not in str(raised.value)


def test_the_cascade_needs_no_model() -> None:
    HAAR.load()
    FaceDetector(FaceSettings(detector="haar", model=Path("nowhere.onnx"))).load()
