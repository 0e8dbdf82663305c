"""The planted faults, seen by decoders that share no code with them."""

import io
import warnings

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.arrays import Picture
from pipelines.hashing import hamming, perceptual_hashes, to_hash_input
from pipelines.sample.album import draw_album, sharpness
from pipelines.sample.planted_faults import COPIES, OWN_PHOTO, PLANTED_FAULTS, Photo, encode_jpeg

ODD_BUT_VALID = [fault.name for fault in OWN_PHOTO if fault.expected == "kept"]


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    album = draw_album(11, 0, 16, size_px=(112, 220))
    return [Photo(picture, encode_jpeg(picture, quality)) for picture, quality in album]


def _poison_gradients(name: str, photos: list[Photo]) -> list[bytes]:
    return [PLANTED_FAULTS[name].make(photo, np.random.default_rng(place)) for place, photo in enumerate(photos)]


def _grey(content: bytes) -> Picture:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.mode.startswith("I"):
        return (np.asarray(image) >> 8).astype(np.uint8)
    return np.asarray(image.convert("RGB").convert("L"))


def _distance(left: bytes, right: bytes) -> int:
    hashes = perceptual_hashes(np.stack([to_hash_input(_grey(left)), to_hash_input(_grey(right))]))
    return int(min(hamming(hashes.plain[0], hashes.plain[1]), hamming(hashes.plain[0], hashes.flipped[1])))


def _is_whole(jpeg: bytes) -> bool:
    try:
        simplejpeg.decode_jpeg(jpeg, strict=True)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", [fault.name for fault in COPIES] + ["conflict"])
def test_a_copy_stays_near_its_original(name: str, photos: list[Photo]) -> None:
    copies = _poison_gradients(name, photos)
    assert max(_distance(photo.jpeg, copy) for photo, copy in zip(photos, copies, strict=True)) <= 31


@pytest.mark.parametrize("name", [fault.name for fault in COPIES if fault.name != "exact_copy"])
def test_only_an_exact_copy_has_the_bytes_of_its_original(name: str, photos: list[Photo]) -> None:
    assert all(photo.jpeg != copy for photo, copy in zip(photos, _poison_gradients(name, photos), strict=True))
    assert _poison_gradients("exact_copy", photos) == [photo.jpeg for photo in photos]


@pytest.mark.parametrize("name", ["truncated", "zeroed", "garbled"])
def test_a_strict_decoder_refuses_a_damaged_file(name: str, photos: list[Photo]) -> None:
    assert all(_is_whole(photo.jpeg) for photo in photos)
    assert not any(_is_whole(content) for content in _poison_gradients(name, photos))


def test_no_decoder_knows_what_is_not_an_image(photos: list[Photo]) -> None:
    contents = _poison_gradients("not_an_image", photos)
    assert any(content.startswith(b"photo ") for content in contents)
    assert any(content.startswith(b"<!DOCTYPE html>") for content in contents)
    for content in contents:
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(content))


def test_a_bomb_is_small_declares_much_and_is_a_valid_file(
    photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _poison_gradients("decompression_bomb", photos[:2])
    assert len(first) < 100_000
    assert first != second
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(first))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert Image.open(io.BytesIO(first)).size == (20_000, 20_000)
    Image.open(io.BytesIO(first)).verify()


@pytest.mark.parametrize(
    ("name", "kind", "mode"),
    [
        ("wrong_extension", "PNG", "RGB"),
        ("cmyk", "JPEG", "CMYK"),
        ("sixteen_bit", "PNG", "I;16"),
        ("palette", "PNG", "P"),
        ("exif_turned", "JPEG", "RGB"),
    ],
)
def test_an_odd_file_is_what_its_name_says(name: str, kind: str, mode: str, photos: list[Photo]) -> None:
    for content in _poison_gradients(name, photos[:4]):
        image = Image.open(io.BytesIO(content))
        assert (image.format, image.mode) == (kind, mode)
        assert ("transparency" in image.info) == (name == "palette")
        assert (image.getexif().get(0x0112) == 6) == (name == "exif_turned")


@pytest.mark.parametrize("name", ODD_BUT_VALID)
def test_an_odd_file_shows_its_photo_upright(name: str, photos: list[Photo]) -> None:
    assert (
        max(_distance(photo.jpeg, odd) for photo, odd in zip(photos, _poison_gradients(name, photos), strict=True))
        <= 31
    )


def test_sharpness_tells_blurred_and_flat_photos_from_clean_ones(photos: list[Photo]) -> None:
    assert min(sharpness(_grey(photo.jpeg)) for photo in photos) > 60
    assert (
        max(
            sharpness(_grey(content))
            for content in _poison_gradients("blurred", photos) + _poison_gradients("flat", photos)
        )
        < 25
    )


def test_flat_photos_have_one_colour_and_tiny_ones_few_pixels(photos: list[Photo]) -> None:
    for content in _poison_gradients("flat", photos):
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).std(axis=(0, 1)).max() < 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(max(Image.open(io.BytesIO(content)).size) <= 24 for content in _poison_gradients("tiny", photos))
