"""Listeners that fail on purpose."""

import pytest

from jobs.listeners.events import Event, Note
from jobs.listeners.fan_out import FanOut


class Hearing:
    """Keeps the lines that it hears, and fails at one of them."""

    def __init__(self, fails_at: str = "") -> None:
        self.lines: list[str] = []
        self._fails_at = fails_at

    def __call__(self, event: Event) -> None:
        assert isinstance(event, Note)
        self.lines.append(event.line)
        if event.line == self._fails_at:
            raise OSError("the tracker is gone")


def test_every_listener_hears_every_event() -> None:
    required, optional = Hearing(), Hearing()
    tell = FanOut([required], [optional])
    tell(Note("a"))
    tell(Note("b"))
    assert required.lines == optional.lines == ["a", "b"]


def test_an_optional_listener_that_fails_is_reported_and_left_out() -> None:
    required, failing, other = Hearing(), Hearing("a"), Hearing()
    tell = FanOut([required], [failing, other])
    tell(Note("a"))
    tell(Note("b"))
    assert failing.lines == ["a"]
    assert sorted(other.lines) == sorted(required.lines)
    assert "Hearing failed and is left out from here on: OSError: the tracker is gone" in other.lines
    assert {"a", "b"} <= set(other.lines)


def test_listeners_may_all_fail() -> None:
    def failing(event: Event) -> None:
        raise OSError("gone at once")

    def failing_too(event: Event) -> None:
        raise OSError("gone as well, at the note on the other one")

    required = Hearing()
    tell = FanOut([required], [failing, failing_too, Hearing("b")])
    tell(Note("a"))
    tell(Note("b"))
    tell(Note("c"))
    assert [line for line in required.lines if len(line) == 1] == ["a", "b", "c"]
    assert len(required.lines) == 3 + 3


def test_a_fault_of_a_required_listener_ends_the_run() -> None:
    with pytest.raises(OSError, match="gone"):
        FanOut([Hearing("a")], [])(Note("a"))


def test_ctrl_c_is_no_fault_of_a_listener() -> None:
    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FanOut([], [interrupted])(Note("a"))
