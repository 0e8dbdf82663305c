"""The faults for which a picture is refused: the values of the column `decode`, and the check of a declared size."""

from pipelines.settings import PixelSettings

EMPTY = "empty"
TOO_MANY_BYTES = "too_many_bytes"
NOT_AN_IMAGE = "not_an_image"
UNSUPPORTED_FORMAT = "unsupported_format"  # an image of a format that is not supported: JPEG XL, Photoshop
UNSUPPORTED_CODING = "unsupported_coding"  # an unsupported variant of a supported format: 12-bit JPEG, float TIFF
TOO_MANY_PIXELS = "too_many_pixels"
TOO_LONG_SIDE = "too_long_side"
TOO_MANY_SCANS = "too_many_scans"
TRUNCATED = "truncated"
CORRUPT = "corrupt"
TOO_SLOW = "too_slow"
TOO_MUCH_MEMORY = "too_much_memory"
DECODER_CRASHED = "decoder_crashed"  # the helper process died

FAULTS = frozenset(
    {
        EMPTY,
        TOO_MANY_BYTES,
        NOT_AN_IMAGE,
        UNSUPPORTED_FORMAT,
        UNSUPPORTED_CODING,
        TOO_MANY_PIXELS,
        TOO_LONG_SIDE,
        TOO_MANY_SCANS,
        TRUNCATED,
        CORRUPT,
        TOO_SLOW,
        TOO_MUCH_MEMORY,
        DECODER_CRASHED,
    }
)


class DecodeError(Exception):
    """A picture cannot be decoded: the name of the fault, and the decoder's message."""

    def __init__(self, fault: str, detail: str) -> None:
        assert fault in FAULTS, fault
        super().__init__(f"{fault}: {detail}")
        self.fault = fault
        self.detail = detail


def check_size(width: int, height: int, settings: PixelSettings) -> None:
    """Check a declared size against the limits.

    Raises:
        DecodeError: the size is zero, or above a limit.
    """
    if width < 1 or height < 1:
        raise DecodeError(CORRUPT, f"declares {width} x {height} pixels")
    if width * height > settings.max_pixels:
        raise DecodeError(TOO_MANY_PIXELS, f"declares {width} x {height} pixels; max_pixels is {settings.max_pixels}")
    if max(width, height) > settings.max_side_px:
        raise DecodeError(TOO_LONG_SIDE, f"declares {width} x {height} pixels; max_side_px is {settings.max_side_px}")
