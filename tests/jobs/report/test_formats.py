"""Quantities against texts written by hand."""

import pytest

from jobs.report.formats import duration, number, percent, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3600, "1 h 00 min"),
        (7620, "2 h 07 min"),
    ],
)
def test_times_are_written_for_people(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("share", "text"), [(0.0, "0.0 %"), (0.9, "90.0 %"), (0.90001, "90.00 %"), (1.0, "100.00 %")])
def test_shares_near_the_whole_have_a_digit_more(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(("value", "text"), [(0.01234, "0.0123"), (999.4, "999"), (-1234.5, "-1,234"), (1000, "1,000")])
def test_numbers_have_three_digits_or_none_after_the_point(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1 KiB"), (5 << 40, "5 TiB")]
)
def test_sizes_have_the_unit_below_them(num_bytes, text):
    assert size(num_bytes) == text
