"""Bytes after the last block: the property over random damage and over bytes that are added to whole scans."""

import random
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg

from pipelines.decode_faults import CORRUPT, TRUNCATED, DecodeError
from pipelines.formats.jpeg import decode_jpeg
from pipelines.settings import PixelSettings

DrawJpeg = Callable[..., bytes]

SETTINGS = PixelSettings()
KINDS: tuple[tuple[str, dict[str, object]], ...] = (
    ("RGB", {}),
    ("RGB", {"quality": 60}),
    ("RGB", {"optimize": True}),
    ("RGB", {"subsampling": 0}),
    ("RGB", {"progressive": True}),
    ("RGB", {"restart_marker_rows": 1}),
    ("RGB", {"restart_marker_blocks": 3}),
    ("L", {}),
    ("CMYK", {}),
)
SEQUENTIAL = tuple(kind for kind in KINDS if not kind[1].get("progressive"))


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Damage to the entropy-coded data."""
    first, last = data.index(b"\xff\xda") + 14, len(data) - 2
    start = rng.randrange(first, last)
    end = min(start + rng.choice((1, 2, 16, 64, 300)), last)
    other = {
        "bit": bytes([data[start] ^ 1 << rng.randrange(8)]) + data[start + 1 : end],
        "byte": bytes([rng.randrange(256)]) + data[start + 1 : end],
        "zeros": bytes(end - start),
        "zeros to the end": bytes(last - start),
        "removed": b"",
        "inserted": rng.randbytes(end - start) + data[start:end],
        "twice": data[start:end] * 2,
    }
    kind = rng.choice([*other])
    return data[:start] + other[kind] + data[last if kind == "zeros to the end" else end :]


def outcome(data: bytes, clean: bytes) -> str:
    try:
        rgb, header = decode_jpeg(data, SETTINGS)
    except DecodeError as error:
        return "refused" if error.fault in (CORRUPT, TRUNCATED) else error.fault
    if np.array_equal(rgb, decode_jpeg(clean, SETTINGS)[0]):
        return "same"
    return "other pixels, with warnings" if header.warnings else "other pixels"


def test_damage_of_which_libjpeg_warns_is_refused(draw_jpeg: DrawJpeg) -> None:
    rng = random.Random(0)
    whole = [(mode, draw_jpeg(seed, mode, **options)) for seed in range(4) for mode, options in KINDS]
    found: Counter[str] = Counter()
    for _ in range(1_200):
        mode, clean = rng.choice(whole)
        data = damaged(clean, rng)
        try:
            simplejpeg.decode_jpeg(data, colorspace="CMYK" if mode == "CMYK" else "RGB")
        except ValueError:
            found[outcome(data, clean)] += 1
    # Without a look at the bytes left over there are 15 times as many.
    assert found["other pixels, with warnings"] <= 0.015 * found.total()
    assert found["other pixels"] == 0
    assert found["refused"] > 450


def test_damage_to_later_bits_of_coefficients_is_refused(draw_jpeg: DrawJpeg) -> None:
    rng = random.Random(2)
    found: Counter[str] = Counter()
    for number in range(600):
        clean = draw_jpeg(number % 6, "L", progressive=True)
        place = rng.randrange(clean.rindex(b"\xff\xda") + 10, len(clean) - 2)
        data = clean[:place] + bytes([clean[place] ^ 1 << rng.randrange(8)]) + clean[place + 1 :]
        try:
            simplejpeg.decode_jpeg(data)
        except ValueError:
            found[outcome(data, clean)] += 1
    assert found["refused"] > 60
    assert found["other pixels, with warnings"] <= 0.08 * found.total()


@pytest.mark.parametrize("filling", ["zeros", "filling", "text", "random"])
def test_bytes_after_the_last_block_are_harmless(draw_jpeg: DrawJpeg, filling: str) -> None:
    rng = random.Random(1)
    found: Counter[str] = Counter()
    for number in range(180):
        mode, options = (KINDS if filling != "random" else SEQUENTIAL)[number % (9 if filling != "random" else 8)]
        clean = draw_jpeg(number % 5, mode, **options)
        length = rng.choice((1, 2, 9, 40, 1_000))
        added = {
            "zeros": bytes(length),
            "filling": bytes([rng.randrange(1, 255)]) * length,
            "text": (b"written by a phone; " * 60)[:length],
            "random": rng.randbytes(length).replace(b"\xff", b"\xfe"),
        }[filling]
        # Before a restart marker, tables after a scan, or the end.
        markers = [match.start() for match in re.finditer(rb"\xff[\xc4\xd0-\xd9]", clean)]
        place = rng.choice([at for at in markers if at > clean.index(b"\xff\xda")])
        found[outcome(clean[:place] + added + clean[place:], clean)] += 1
    assert found["same"] >= 0.93 * found.total()
    assert found["refused"] + found["same"] == found.total()


def test_bytes_left_over_are_counted_for_each_stretch(draw_jpeg: DrawJpeg) -> None:
    clean = draw_jpeg(6, restart_marker_rows=1)
    first, second = clean.index(b"\xff\xd0"), clean.index(b"\xff\xd3")
    data = clean[:first] + bytes(20) + clean[first:second] + bytes(20) + clean[second:-2] + bytes(20) + clean[-2:]
    assert outcome(data, clean) == "same"
    assert decode_jpeg(data, SETTINGS)[1].warnings == 3


def test_a_missing_restart_marker_is_damage(draw_jpeg: DrawJpeg) -> None:
    clean = draw_jpeg(6, restart_marker_rows=1)
    for marker in (b"\xff\xd0", b"\xff\xd2", b"\xff\xd4"):
        assert outcome(clean.replace(marker, b"", 1), clean) == "refused"


def test_filling_that_replaced_data_is_damage(draw_jpeg: DrawJpeg) -> None:
    for mode, options in KINDS:
        clean = draw_jpeg(7, mode, **options)
        for place in range(clean.rindex(b"\xff\xda") + 20, len(clean) - 40, 97):
            for byte in (0x00, 0x55):
                data = clean[:place] + bytes([byte]) * (len(clean) - 2 - place) + clean[-2:]
                assert outcome(data, clean) in ("refused", "other pixels"), (mode, options, place)


def test_many_stretches_with_bytes_left_over_are_not_worth_the_time(draw_jpeg: DrawJpeg) -> None:
    clean = draw_jpeg(8, restart_marker_blocks=1)
    assert outcome(re.sub(rb"(\xff[\xd0-\xd7])", rb"aaaaaaaaaaaaaaaaaaaa\1", clean), clean) == "refused"
