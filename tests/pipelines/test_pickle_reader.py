"""The reader of pickles: the oracle is Python's own pickler in every protocol, and its unpickler."""

import pickle
import random
from typing import Any

import pytest

from pipelines.pickle_reader import Budget, ForeignGlobalError, PickleError, read_pickle


def read(content: bytes, functions: dict[tuple[str, str], Any] | None = None) -> Any:
    return read_pickle(content, functions or {}, Budget(len(content)))


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 255, 256, 65_535, 65_536, -(2**31), 2**31, 2**200, -(2**2_100), 0.5, -1e300,
    "", "a", "\u00e9\u4e2d\U0001f600\\\n", "x" * 300, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [[]],
    [1, [2, (3, "a")]], list(range(3_000)), ["same"] * 3,
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_what_python_writes_is_read(protocol: int) -> None:
    for value in VALUES:
        assert read(pickle.dumps(value, protocol)) == value
    shared = ["shared"]
    first, second = read(pickle.dumps([shared, shared], protocol))
    assert first is second


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_bytes_are_read(protocol: int) -> None:
    for value in (b"", b"a", bytes(range(256)), bytes(70_000)):
        assert read(pickle.dumps(value, protocol)) == value
    assert read(pickle.dumps(bytearray(b"abc"), 5)) == bytearray(b"abc")


@pytest.mark.parametrize(
    "content", [b"S'\\xff\\x00ab'\n.", b'S"\\xff\\x00ab"\n.', b"U\x04\xff\0ab.", b"T\x04\0\0\0\xff\0ab."]
)
def test_the_strings_of_python_2_are_bytes(content: bytes) -> None:
    assert read(content) == pickle.loads(content, encoding="bytes") == b"\xff\0ab"


def test_functions_that_are_given_are_called_and_others_are_foreign() -> None:
    content = b"cmath\ngcd\n(I12\nI18\ntR."
    assert read(content, {("math", "gcd"): lambda *numbers: numbers}) == (12, 18)
    for other in (
        content,
        content.replace(b"math", b"posix"),
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"(ios\nsystem\n.",
    ):
        with pytest.raises(ForeignGlobalError):
            read(other, {("math", "lcm"): print, ("os", "path"): print})


@pytest.mark.parametrize(
    "content",
    [
        b"", b"N", b".", b"R.", b"NNR.", b"]N\x86R.", b"NNb.", b"Na.", b"e.", b"(e.", b"NNa.", b"t.", b"(Nt", b"h\x05.",
        b"(\x85.", b"N(\x94.", b"\xff.", b"\x80", b"U\x05ab.", b"}.", b"N0.", b"N2.",
        b"Q.", b"\x82\x01.", b")\x81.", b"\x97.",
    ],
)  # fmt: skip
def test_what_is_no_pickle_of_data_is_refused(content: bytes) -> None:
    with pytest.raises((PickleError, ValueError)):
        read(content)


def test_no_bytes_raise_anything_but_an_error() -> None:
    rng = random.Random(0)
    whole = [pickle.dumps(value, protocol) for value in VALUES[-8:] for protocol in range(6)]
    num_refused = 0
    for _ in range(3_000):
        data = bytearray(rng.choice(whole)[:400])
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read(bytes(data))
        except (PickleError, ForeignGlobalError, ValueError):
            num_refused += 1
    assert num_refused > 500


def test_a_budget_is_in_proportion_to_the_length() -> None:
    small, large = Budget(0), Budget(1_000_000)
    small.spend(4 << 20)
    large.spend((4 << 20) + 16_000_000)
    for budget in (small, large):
        with pytest.raises(PickleError, match="memory"):
            budget.spend(1)
