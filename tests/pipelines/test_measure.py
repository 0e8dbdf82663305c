"""Measurements against slow formulas, and the batch: one row per image whatever it holds."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from pipelines.faces import FaceDetector
from pipelines.hashing import hamming
from pipelines.measure import BLUR_SIDE_PX, blur, examine, measure, to_grey
from pipelines.records import FACE_BOX, FACE_LANDMARKS, FACE_SCORE, MEASUREMENTS, NUM_FACES, PIXEL_DIGEST
from pipelines.settings import CleanSettings, FaceSettings, PixelSettings

SETTINGS = PixelSettings()
FACES = {NUM_FACES, FACE_BOX, FACE_SCORE, FACE_LANDMARKS}


def portrait(seed: int, side: int = 112) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def encoded(picture: NDArray[np.uint8], picture_format: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, picture_format, **options)
    return stream.getvalue()


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_numbers_are_those_of_the_slow_formulas(grey: NDArray[np.uint8]) -> None:
    measured = measure(grey)
    _, counts = np.unique(grey, return_counts=True)
    assert measured.brightness == pytest.approx(grey.mean(), abs=1e-4)
    assert measured.contrast == pytest.approx(grey.std(), abs=1e-4)
    assert measured.entropy == pytest.approx(scipy.stats.entropy(counts, base=2), abs=1e-5)
    shares = [((grey >= low) & (grey < low + 3)).mean() for low in range(254)]
    assert measured.dominance == pytest.approx(max(shares), abs=1e-9)


def digest_of(data: bytes) -> bytes:
    digest: bytes = examine([data], SETTINGS).column(PIXEL_DIGEST)[0].as_py()
    return digest


def test_pictures_of_equal_pixels_share_a_digest_however_they_are_stored() -> None:
    picture = portrait(3)
    lossless = [encoded(picture, kind) for kind in ("PNG", "BMP", "TIFF")] + [encoded(picture, "WEBP", lossless=True)]
    assert len(set(lossless)) == 4
    assert len({digest_of(data) for data in lossless}) == 1
    jpeg = encoded(picture, quality=90)
    with_comment = jpeg[:2] + b"\xff\xfe\x00\x08remark"[:10] + jpeg[2:]
    assert digest_of(with_comment) == digest_of(jpeg) != digest_of(lossless[0])


def test_one_pixel_another_shape_and_another_mode_change_the_digest() -> None:
    picture = np.full((8, 12, 3), 90, np.uint8)
    spot = picture.copy()
    spot[7, 11, 2] += 1
    grey = encoded(picture[..., 0], "PNG")
    pictures = [encoded(picture, "PNG"), encoded(spot, "PNG"), encoded(picture.reshape(12, 8, 3), "PNG"), grey]
    assert len({digest_of(data) for data in pictures}) == 4


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(2, 40), st.integers(2, 40))))
def test_blur_is_the_variance_of_the_laplacian(grey: NDArray[np.uint8]) -> None:
    expected = scipy.ndimage.laplace(grey.astype(float), mode="mirror").var()
    assert blur(grey) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(2, 40), st.integers(2, 40))))
def test_blur_is_stored_as_opencvs_own_deviation_gives_it(grey: NDArray[np.uint8]) -> None:
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    # The root that OpenCV takes and the square of it may round to the next number of the column's 32 bits.
    assert np.float32(blur(grey)) == pytest.approx(float(deviation[0, 0]) ** 2, rel=2.0**-23)


def test_a_card_with_a_small_picture_on_it_is_known_by_its_dominance_alone() -> None:
    """A placeholder: a dithered card of one colour, with a photo-like logo that brings contrast and entropy."""
    grain = np.random.default_rng(6).integers(-1, 2, (200, 200, 1))
    card = (np.array([228, 230, 233]) + grain).astype(np.uint8)
    card[50:145, 50:150] = cv2.resize(portrait(7), (100, 95))
    rows = examine([encoded(card, "PNG"), encoded(portrait(8))], SETTINGS).to_pylist()
    assert rows[0]["contrast"] > 30
    assert rows[0]["entropy"] > 3
    assert rows[0]["dominance"] > 0.75
    assert rows[1]["dominance"] < 0.1


def test_no_photo_of_a_face_is_refused_for_its_dominance(shared_data: Path) -> None:
    limit = CleanSettings().dominance.max
    assert limit is not None
    for name, step in (("orl.tar", 1), ("cfp.tar", 8)):
        with tarfile.open(shared_data / name) as archive:
            files = [member for member in archive if member.isfile()][::step]
            images = [archive.extractfile(member).read() for member in files]  # type: ignore[union-attr]
        shares = examine(images, SETTINGS)["dominance"].to_pylist()
        assert len(shares) >= 400
        assert max(shares) < 0.75 * limit


def test_blur_of_one_pixel_is_zero() -> None:
    assert blur(np.full((1, 1), 200, np.uint8)) == 0.0


def test_a_smoothed_picture_has_less_of_it_at_any_size() -> None:
    for side in (64, 256, 700):
        noise = np.random.default_rng(side).integers(0, 256, (side, side), dtype=np.uint8)
        assert blur(cv2.GaussianBlur(noise, (0, 0), side / 64)) < 0.2 * blur(noise)


def test_a_large_picture_is_read_at_the_scale_of_its_shrunk_self() -> None:
    small = to_grey(portrait(0, side=BLUR_SIDE_PX))
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    assert blur(large) == pytest.approx(blur(small), rel=1e-6)


def test_a_very_long_picture_is_measured() -> None:
    assert blur(np.random.default_rng(0).integers(0, 256, (1, 5_000), dtype=np.uint8)) > 0


def test_a_row_per_image_in_order_with_nulls_where_decoding_failed() -> None:
    good = encoded(portrait(1))
    batch = examine([b"", good, good[:300], b"<html>", encoded(portrait(2), "PNG")], SETTINGS)
    assert batch.schema.equals(MEASUREMENTS)
    rows = batch.to_pylist()
    assert [row["decode"] for row in rows] == ["empty", "ok", "truncated", "not_an_image", "ok"]
    assert [row["format"] for row in rows] == [None, "JPEG", None, None, "PNG"]
    assert [row["num_bytes"] for row in rows][:2] == [0, len(good)]
    for row in rows:
        known = {name for name, value in row.items() if value is not None}
        assert known == (set(MEASUREMENTS.names) - FACES if row["decode"] == "ok" else {"num_bytes", "decode"})


def test_faults_of_form_are_counted() -> None:
    good = encoded(portrait(1))
    odd = good.replace(b"JFIF\0\1", b"JFIF\0\2", 1)[:-2] + bytes(50) + good[-2:]
    large = odd + bytes(9 << 20)  # decoded in the helper process
    rows = examine([good, odd, large, encoded(portrait(2), "PNG")], SETTINGS).to_pylist()
    assert [row["warnings"] for row in rows] == [0, 2, 2, 0]
    assert rows[0]["pixel_digest"] == rows[1]["pixel_digest"] == rows[2]["pixel_digest"]


def test_faces_are_counted_and_the_largest_is_told_where_they_are_looked_for(draw_face) -> None:
    detector = FaceDetector(FaceSettings(detector="haar"))
    flat = np.full((90, 90, 3), 99, np.uint8)
    images = [encoded(draw_face(0), "PNG"), encoded(flat, "PNG"), b"broken", encoded(draw_face(2), "PNG")]
    batch = examine(images, SETTINGS, detector)
    assert batch.schema.equals(MEASUREMENTS)
    rows = batch.to_pylist()
    assert [row[NUM_FACES] for row in rows] == [1, 0, None, 1]
    assert [row[FACE_BOX] for row in rows][1:3] == [None, None]
    for row, seed in ((rows[0], 0), (rows[3], 2)):
        face = detector.detect(draw_face(seed)).main
        assert face is not None
        assert row[FACE_BOX] == list(face.box)
        assert (row[FACE_SCORE], row[FACE_LANDMARKS]) == (None, None), "the cascade knows neither"
    plain = [name for name in MEASUREMENTS.names if name not in FACES]
    assert examine(images, SETTINGS).select(plain).equals(batch.select(plain))


@pytest.mark.parametrize("images", [[], [b""], [b"", b"nothing"]])
def test_a_batch_without_a_picture_has_the_same_columns(images: list[bytes]) -> None:
    batch = examine(images, SETTINGS)
    assert batch.schema.equals(MEASUREMENTS)
    assert batch.num_rows == len(images)


def test_a_row_does_not_depend_on_its_batch() -> None:
    images = [encoded(portrait(seed), quality=90) for seed in range(150)] + [b"broken"]
    together = examine(images, SETTINGS).to_pylist()
    assert together == [row for image in images for row in examine([image], SETTINGS).to_pylist()]


def test_a_turned_copy_hashes_like_the_upright_one() -> None:
    picture = portrait(3)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(np.rot90(picture).copy(), "PNG", exif=exif)
    rows = examine([encoded(picture, "PNG"), turned], SETTINGS).to_pylist()
    assert rows[1]["orientation"] == 6
    assert rows[0]["hash"] == rows[1]["hash"]


def test_a_planted_copy_is_near_its_mirror_near_when_flipped_and_a_stranger_far() -> None:
    picture = portrait(4)
    images = [picture, cv2.resize(picture, (90, 90), interpolation=cv2.INTER_AREA), picture[:, ::-1], portrait(5)]
    rows = examine([encoded(np.ascontiguousarray(image), quality=80) for image in images], SETTINGS).to_pylist()
    plain = [np.frombuffer(row["hash"], np.uint8) for row in rows]
    assert hamming(plain[0], plain[1]) <= 20
    assert hamming(plain[0], np.frombuffer(rows[2]["hash_flipped"], np.uint8)) <= 20
    assert hamming(plain[0], plain[2]) >= 80
    assert hamming(plain[0], plain[3]) >= 80


def test_the_thumbnail_is_that_of_the_upright_grey_picture_in_rows() -> None:
    picture = portrait(6, side=64)
    picture[:, :32] = 0
    (row,) = examine([encoded(picture, "PNG")], SETTINGS).to_pylist()
    thumbnail = np.frombuffer(row["thumbnail"], np.uint8).reshape(48, 48)
    assert not thumbnail[:, :24].any()
    averages = cv2.resize(to_grey(picture), (48, 48), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(thumbnail - averages / 4).max() <= 1
    assert examine([b""], SETTINGS).column("thumbnail").null_count == 1


EXAMINE_TAR = """
import json, sys, tarfile, time
from pathlib import Path
import psutil
from pipelines.measure import examine
from pipelines.settings import PixelSettings

with tarfile.open(sys.argv[1]) as archive:
    files = [(member.name, archive.extractfile(member).read()) for member in archive if member.isfile()]
outcomes, slowest = {}, 0.0
for start in range(0, len(files), 64):
    names, images = zip(*files[start : start + 64])
    began = time.monotonic()
    outcomes |= zip(names, examine(images, PixelSettings()).column("decode").to_pylist())
    slowest = max(slowest, time.monotonic() - began)


def peak(process):
    # Not ru_maxrss, which a process takes over from the one that it was forked from.
    (found,) = [line.split()[1] for line in Path(f"/proc/{process}/status").open() if line.startswith("VmHWM")]
    return int(found)


(helper,) = psutil.Process().children()
peaks = [peak("self"), peak(helper.pid)]
print(json.dumps({"outcomes": outcomes, "slowest": slowest, "peaks": peaks}))
"""


def test_hostile_files_cost_their_rows_and_little_else(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = shared_data / "hostile.tar"
    command = [sys.executable, "-c", EXAMINE_TAR, str(tar)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert ended.stderr == ""
    result = json.loads(ended.stdout)
    print("slowest batch:", result["slowest"], "s; peaks of the process and its helpers:", result["peaks"], "KiB")
    assert result["slowest"] < 60  # seconds, of 64 files
    assert max(result["peaks"]) < 1.5 * 2**20  # KiB

    outcomes = result["outcomes"]
    assert len(outcomes) == 504
    assert {name for name, outcome in outcomes.items() if "/pngsuite/" in name and outcome != "ok"} == {
        name for name in outcomes if "/pngsuite/x" in name
    }
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with tarfile.open(tar) as archive:
        bombs = [name for name in outcomes if declared_pixels(archive.extractfile(name)) > SETTINGS.max_pixels]
    assert bombs
    assert "ok" not in {outcomes[name] for name in bombs}


def declared_pixels(stream: IO[bytes] | None) -> int:
    """As Pillow reads the header; 0 where it cannot."""
    assert stream is not None
    try:
        with Image.open(stream) as picture:
            return picture.width * picture.height
    except Exception:
        return 0
