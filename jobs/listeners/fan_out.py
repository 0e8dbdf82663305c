"""Every event to every listener: one that the run needs may end it, any other may not."""

from collections.abc import Callable, Sequence

from jobs.listeners.events import Event, Note

Listener = Callable[[Event], None]


class FanOut:
    """A listener that passes events on to others."""

    def __init__(self, required: Sequence[Listener], optional: Sequence[Listener] = ()) -> None:
        """Listeners hear events in the given order, the required ones first.

        Args:
            required: a fault of theirs ends the run.
            optional: one that fails is reported to the others as a note, and hears no further event.
        """
        self._required = tuple(required)
        self._optional = list(optional)

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        for listener in self._required:
            listener(event)
        for listener in list(self._optional):
            # It may have failed meanwhile, at the note on another one.
            if listener in self._optional:
                self._try(listener, event)

    def _try(self, listener: Listener, event: Event) -> None:
        try:
            listener(event)
        except Exception as error:
            self._optional.remove(listener)
            name = getattr(listener, "__name__", type(listener).__name__)
            self(Note(f"{name} failed and is left out from here on: {type(error).__name__}: {error}"))
