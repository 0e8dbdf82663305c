"""pipelines/sources/identities: the table of values and identities, the same for every kind of source."""

import datetime
import unicodedata
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.identities import identity_of

NONE = [
    None,
    float("nan"),
    float("inf"),
    -float("inf"),
    -1,
    -1.0,
    -7,
    -0.5,
    True,
    False,
    "",
    " ",
    " \t\r\n",
    "\u00a0\u3000",
    "\ufeff",
    "\u200b \u200b",
    "\0\0",
    "-1",
    " -1 ",
    "-1.0",
    "-2.5",
    b"",
    b" ",
    b"\0\0\0\0",
    b"-1\n",
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("-1"),
    Decimal("Infinity"),
    np.float32("nan"),
    np.int64(-1),
    np.bool_(True),
    np.datetime64("NaT"),
    np.array([]),
    np.array([np.nan]),
    pd.NA,
    pd.NaT,
    [],
    [None],
    [-1],
    [1, 2],
    ["ann", "bob"],
    {},
    {"name": "ann"},
]
NAMED = [
    (0, "0"),
    (1, "1"),
    (1.0, "1"),
    (-0.0, "0"),
    ("1", "1"),
    ("1.0", "1"),
    ("1.", "1"),
    ("1.000000", "1"),
    ("-0", "0"),
    (b"12.0\n", "12"),
    (Decimal("1.00"), "1"),
    (Decimal("1E+2"), "100"),
    (Decimal("1E+9999"), "1E+9999"),
    (np.float32(3), "3"),
    (np.array([3.0]), "3"),
    (np.str_("ann"), "ann"),
    (2**70, str(2**70)),
    (float(2**53), str(2**53)),
    (0.5, "0.5"),
    ("0.50", "0.50"),
    ("007", "007"),
    ("007.0", "007.0"),
    ("1e3", "1e3"),
    ("--1", "--1"),
    ("nan", "nan"),
    ("None", "None"),
    ("true", "true"),
    (" ann ", "ann"),
    ("ann\r", "ann"),
    ("ann\0\0", "ann"),
    ("\ufeffann", "ann"),
    ("ann\tlee", "ann lee"),
    ("Ann  Lee", "Ann  Lee"),
    ("Jose\u0301", "José"),
    ("ᄒ\u1161\u11ab", "한"),
    (b"Jos\xc3\xa9", "José"),
    (b"b\xff", "b\\xff"),
    ("\ud800x", "\\ud800x"),
    (["ann"], "ann"),
    (([1.0],), "1"),
    (datetime.date(2020, 1, 2), "2020-01-02"),
    ("x" * 500 + " ", "x" * 500),
]


@pytest.mark.parametrize("value", NONE, ids=repr)
def test_a_missing_value_is_no_identity(value: object) -> None:
    assert identity_of(value) is None


@pytest.mark.parametrize(("value", "identity"), NAMED, ids=repr)
def test_a_value_is_one_identity_however_it_is_written(value: object, identity: str) -> None:
    assert identity_of(value) == identity


@given(st.one_of(st.text(), st.binary(), st.integers(), st.floats(), st.decimals(), st.lists(st.text(), max_size=3)))
def test_an_identity_is_text_that_stands_for_itself(value: object) -> None:
    identity = identity_of(value)
    if identity is None:
        return
    assert identity == identity.strip() == unicodedata.normalize("NFC", identity) != ""
    assert identity.encode()
    assert not any(unicodedata.category(letter) == "Cc" for letter in identity)
    assert identity_of(identity) == identity


@given(st.integers(min_value=0, max_value=2**53))
def test_a_label_is_one_person_in_every_type(label: int) -> None:
    forms = [label, float(label), np.int64(label), Decimal(label), str(label), f"{label}.0", f" {label} ".encode()]
    assert {identity_of(form) for form in forms} == {str(label)}


@given(st.integers(max_value=-1))
def test_a_negative_label_is_nobody_in_every_type(label: int) -> None:
    assert {identity_of(form) for form in (label, Decimal(label), str(label), f"{label}.0", [label])} == {None}
