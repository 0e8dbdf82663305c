"""The limits on declared sizes, at their edges."""

import pytest
from pydantic import ValidationError

from pipelines.decode_faults import CORRUPT, FAULTS, TOO_LONG_SIDE, TOO_MANY_PIXELS, DecodeError, check_size
from pipelines.settings import PixelSettings

SETTINGS = PixelSettings(max_pixels=1_000, max_side_px=100)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (100, 10), (10, 100)])
def test_a_size_at_the_limit_passes(width: int, height: int) -> None:
    check_size(width, height, SETTINGS)


@pytest.mark.parametrize(
    ("width", "height", "fault"),
    [
        (0, 5, CORRUPT),
        (5, 0, CORRUPT),
        (-5, 5, CORRUPT),
        (91, 11, TOO_MANY_PIXELS),
        (101, 1, TOO_LONG_SIDE),
        (1, 101, TOO_LONG_SIDE),
        (65_535, 65_535, TOO_MANY_PIXELS),
    ],
)
def test_a_size_beyond_a_limit_is_named(width: int, height: int, fault: str) -> None:
    with pytest.raises(DecodeError) as caught:
        check_size(width, height, SETTINGS)
    assert caught.value.fault == fault


def test_ok_is_no_fault() -> None:
    assert "ok" not in FAULTS


@pytest.mark.parametrize(
    "field", ["max_bytes", "max_pixels", "max_side_px", "max_scans", "max_seconds", "max_decode_bytes"]
)
@pytest.mark.parametrize("value", [0, 10**12])
def test_a_limit_out_of_bounds_is_refused(field: str, value: int) -> None:
    with pytest.raises(ValidationError):
        PixelSettings.model_validate({field: value})
