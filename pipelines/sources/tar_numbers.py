"""The numbers of tar headers: octal or binary fields of fixed width, and decimal text in pax headers."""

BLOCK = 512  # bytes; headers and data begin at multiples of it

_MAX_DIGITS = 20


def octal(field: bytes) -> int | None:
    """Parse an octal number, or GNU's binary form for larger ones; None if it is neither."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ")
    # int would accept a sign, and a walk with negative sizes would not end.
    if digits.strip(b"01234567"):
        return None
    return int(digits, 8) if digits else 0


def decimal(digits: bytes) -> int | None:
    """Parse a decimal number of a pax header; None if it is none."""
    return int(digits) if digits.isdigit() and len(digits) <= _MAX_DIGITS else None


def after(header: int, num_bytes: int) -> int:
    """The offset of the header that follows a member."""
    return header + BLOCK + -(-num_bytes // BLOCK) * BLOCK
