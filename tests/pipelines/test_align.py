"""Alignment: the transform against Umeyama's own equations and a numerical search, the pictures against drawn dots."""

import io
import itertools

import cv2
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from pipelines.align import TEMPLATE, Aligner, align, crop, encode, similarity
from pipelines.pixels import decode
from pipelines.settings import PixelSettings

seeds = st.integers(0, 2**32 - 1)
COLOURS = ((250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20), (20, 250, 250))


def umeyama(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equations 38 to 43 of the paper, by its singular value decomposition."""
    z, w = source - source.mean(axis=0), target - target.mean(axis=0)
    covariance = w.T @ z / len(source)
    u, d, vt = np.linalg.svd(covariance)
    s = np.diag([1.0, 1.0 if np.linalg.det(u) * np.linalg.det(vt) > 0 else -1.0])
    rotation = u @ s @ vt
    scale = np.trace(np.diag(d) @ s) / (z**2).sum(axis=1).mean()
    return np.column_stack([scale * rotation, target.mean(axis=0) - scale * rotation @ source.mean(axis=0)])


def matrix_of(angle: float, scale: float, x: float, y: float) -> NDArray[np.float64]:
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cosine, -sine, x], [sine, cosine, y]])


def moved(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:, :2].T + matrix[:, 2]


@settings(max_examples=100, deadline=None)
@given(seed=seeds, angle=st.floats(-3.1, 3.1), scale=st.floats(0.01, 100), shift=st.floats(-1e3, 1e3))
def test_a_planted_transform_is_found_exactly(seed: int, angle: float, scale: float, shift: float) -> None:
    points = np.random.default_rng(seed).normal(50, 20, (5, 2))
    planted = matrix_of(angle, scale, shift, -shift)
    np.testing.assert_allclose(similarity(points, moved(points, planted)), planted, rtol=1e-7, atol=1e-7 * (1 + scale))


@settings(max_examples=100, deadline=None)
@given(seeds, st.booleans())
def test_it_is_umeyamas_transform_for_any_points_mirrored_ones_too(seed: int, is_mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.normal(0, 20, (5, 2)), rng.normal(0, 20, (5, 2))
    if is_mirrored:
        target = source * (-1, 1) + rng.normal(0, 1, (5, 2))
    found = similarity(source, target)
    np.testing.assert_allclose(found, umeyama(source, target), atol=1e-7)
    assert np.linalg.det(found[:, :2]) >= 0


@pytest.mark.parametrize("seed", range(5))
def test_no_similarity_comes_nearer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = TEMPLATE + rng.normal(0, 8, (5, 2))

    def error(parameters: NDArray[np.float64]) -> float:
        return float(((moved(source, matrix_of(*parameters)) - TEMPLATE) ** 2).sum())

    starts = itertools.product((0.0, 2.0, -2.0), (0.5, 2.0))
    searches = [scipy.optimize.minimize(error, [*start, 0.0, 0.0], tol=1e-10) for start in starts]
    best = min(searches, key=lambda search: search.fun)
    found = similarity(source, TEMPLATE)
    assert ((moved(source, found) - TEMPLATE) ** 2).sum() <= best.fun + 1e-6
    np.testing.assert_allclose(found, matrix_of(*best.x), atol=1e-2)


def test_points_that_coincide_have_no_transform() -> None:
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.full((5, 2), 7.0), TEMPLATE)


@pytest.mark.parametrize("size_px", [112, 224])
@pytest.mark.parametrize("scale", [0.4, 1.0, 3.7, 12.0])
@pytest.mark.parametrize("angle", [0.0, 0.5, -2.5])
def test_dots_drawn_at_the_landmarks_lie_at_the_template_afterwards(size_px: int, scale: float, angle: float) -> None:
    centred = matrix_of(angle, scale, 0, 0)
    landmarks = moved(TEMPLATE - 56, centred) + 60 * scale + 40
    side = int(120 * scale + 80)
    picture = np.full((side, side + 9, 3), 90, np.uint8)
    for (x, y), colour in zip(landmarks, COLOURS, strict=True):
        # Sixteenths of a pixel: cv2 takes fixed-point places.
        place, radius = (round(x * 16), round(y * 16)), round(6 * scale * 16)
        cv2.circle(picture, place, radius, colour, cv2.FILLED, cv2.LINE_AA, shift=4)
    aligned = align(picture, landmarks, size_px)
    assert aligned.shape == (size_px, size_px, 3)
    for wanted, colour in zip(TEMPLATE * size_px / 112, COLOURS, strict=True):
        distance = np.abs(aligned.astype(int) - colour).sum(axis=2)
        weights = np.clip(1 - distance / 150, 0, None)
        y, x = np.indices(weights.shape)
        found = np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()
        np.testing.assert_allclose(found, wanted, atol=0.35 * size_px / 112)


def test_fine_stripes_of_a_large_picture_become_grey_and_no_other_stripes() -> None:
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::2] = 255
    aligned = align(stripes, TEMPLATE * 10.3)[4:-4, 4:-4]
    assert aligned[:, :, 0].std() < 3
    assert abs(float(aligned.mean()) - 127.5) < 2


def test_the_face_of_a_picture_too_wide_to_be_warped_whole_is_aligned() -> None:
    face = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8), (300, 300))
    wide = np.zeros((300, 40_000, 3), np.uint8)
    wide[:, 36_000:36_300] = face
    landmarks = TEMPLATE * 1.3 + 60
    assert np.array_equal(align(wide, landmarks + np.array([36_000, 0])), align(face, landmarks))


def test_landmarks_beside_the_picture_show_nothing() -> None:
    assert (align(np.full((50, 50, 3), 255, np.uint8), TEMPLATE + 5_000) == 0).all()


def test_what_lies_beyond_the_picture_is_black() -> None:
    white = np.full((112, 112, 3), 255, np.uint8)
    aligned = align(white, TEMPLATE - np.array([30.0, 0.0]))
    assert (aligned[:, :29] == 0).all()
    assert (aligned[:, 32:] == 255).all()


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ((10, 20, 30, 30), 0.0, (10, 20, 30)),
        ((10, 20, 30, 30), 0.2, (7, 17, 36)),
        ((10, 20, 20, 40), 0.0, (0, 20, 40)),
        ((-8, -4, 30, 30), 0.0, (0, 0, 30)),  # moved inside
        ((85, 60, 30, 30), 0.0, (70, 50, 30)),
        ((10, 20, 30, 30), 4.0, (0, 0, 80)),  # as large as the picture allows
        ((0, 0, 100, 80), 0.0, (10, 0, 80)),  # a whole picture gives its centre
        ((50, 40, 0, 0), 0.0, (50, 40, 1)),
    ],
)
def test_a_crop_is_the_square_around_the_box_inside_the_picture(
    box: tuple[int, ...], margin: float, expected: tuple[int, int, int]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    x, y, side = expected
    assert np.array_equal(crop(picture, box, size_px=side, margin=margin), picture[y : y + side, x : x + side])


def test_a_shrunk_crop_is_the_mean_of_what_it_covers() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    blocks = picture[:, 10:90].reshape(20, 4, 20, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(crop(picture, (0, 0, 100, 80), size_px=20, margin=0.0), blocks, atol=0.51)


def test_png_keeps_every_pixel_and_jpeg_all_of_the_colour(draw) -> None:
    picture = draw(1)
    assert np.array_equal(decode(encode(picture, "png"), PixelSettings()).rgb, picture)
    jpeg = encode(picture, "jpeg")
    with Image.open(io.BytesIO(jpeg)) as opened:
        assert opened.format == "JPEG"
        assert JpegImagePlugin.get_sampling(opened) == 0, "4:4:4"
    # The same picture with Pillow, at this quality and sampling, has the same quantisation tables.
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95, subsampling=0)
    with Image.open(io.BytesIO(jpeg)) as ours, Image.open(stream) as theirs:
        assert ours.quantization == theirs.quantization


def aligner(**changes: object) -> Aligner:
    return Aligner(**{"size_px": 48, "margin": 0.2, "encoding": "png", "limits": PixelSettings(), **changes})


def test_landmarks_come_before_the_box_and_the_box_before_the_centre(draw) -> None:
    picture, box = draw(2), [10.0, 20.0, 30.0, 34.0]
    found = encode(picture, "png")
    points = TEMPLATE * 0.5 + 9
    by_points = aligner()(found, box, points.ravel().tolist())
    assert by_points == encode(align(picture, points, 48), "png")
    assert aligner()(found, box, None) == encode(crop(picture, box, size_px=48, margin=0.2), "png")
    height, width = picture.shape[:2]
    assert aligner()(found, None, None) == encode(crop(picture, (0, 0, width, height), size_px=48, margin=0.0), "png")


def test_an_aligned_picture_is_upright_without_its_orientation(draw) -> None:
    picture = draw(3)
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(np.rot90(picture).copy()).save(stream, "PNG", exif=exif)
    turned = aligner()(stream.getvalue(), [5, 6, 40, 40], None)
    assert turned == aligner()(encode(picture, "png"), [5, 6, 40, 40], None)
    assert decode(turned, PixelSettings()).orientation == 1


@pytest.mark.parametrize("encoding", ["jpeg", "png"])
def test_the_same_picture_gives_the_same_bytes_on_any_number_of_threads(draw, encoding: str) -> None:
    large = cv2.resize(draw(4), (1600, 1920), interpolation=cv2.INTER_CUBIC)
    found, points = encode(large, "jpeg"), (TEMPLATE * 9 + 200).ravel().tolist()
    threads = cv2.getNumThreads()
    made = set()
    try:
        for count in (1, 2, 4):
            cv2.setNumThreads(count)
            work = aligner(encoding=encoding)
            made.add((work(found, None, points), work(found, [100, 100, 900, 900], None), work(found, None, None)))
    finally:
        cv2.setNumThreads(threads)
    assert len(made) == 1
