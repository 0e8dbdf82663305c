"""From an error, or from the log of a process that left none, to the fault in one line."""

import re

from jobs.faults.causes import find_cause
from jobs.faults.fault import Fault
from jobs.faults.surroundings import Surroundings
from pipelines.settings import UserError

_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?:: (.*))?$")
_JAVA_CAUSE = re.compile(r"^(?:Caused by|Exception in thread \"[^\"]*\"|):? ?((?:\w+\.)+\w+(?:: .*)?)$", re.MULTILINE)
_MAX_LETTERS = 500


def explain(error: BaseException, around: Surroundings) -> Fault:
    """The fault of a job that ended by an error: the mistake of the user, a known cause, or the root of the error."""
    if isinstance(error, UserError):
        return Fault(True, str(error))
    texts = [_text(link) for link in _chain(error)]
    root = _root_line(texts[0])
    if root.startswith("UserError: "):
        # Raised in a Python worker of Spark, and thrown again by the JVM.
        return Fault(True, root.removeprefix("UserError: "))
    if cause := find_cause("\n".join(texts), around):
        return cause
    if getattr(error, "is_consequence", False):
        return Fault(False, _short(" ".join(str(error).split())), is_consequence=True)
    return Fault(False, root)


def explain_log(text: str, around: Surroundings) -> Fault | None:
    """The fault that the output of an attempt tells of; None where it names no known cause."""
    return find_cause(text, around)


def _chain(error: BaseException) -> list[BaseException]:
    """The error and those that it was raised from, the last one first."""
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in found:
        found.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return found


def _text(error: BaseException) -> str:
    """The type and all that the error says; that of the JVM needs a JVM that is alive."""
    try:
        said = str(error)
    except Exception as failed:
        said = f"(its text could not be had: {type(failed).__name__})"
    return f"{type(error).__name__}: {said}"


def _root_line(text: str) -> str:
    """One line: the exception of a Python worker, else the root cause of the JVM, else the first line."""
    if _TRACEBACK in text:
        lines = text.rpartition(_TRACEBACK)[2].splitlines()[1:]
        ended = (line for line in lines if line and not line.startswith((" ", "\t")))
        if (line := next(ended, None)) and (found := _EXCEPTION.match(line.strip())):
            return _short(f"{found[1]}: {found[2]}" if found[2] else found[1])
    if causes := _JAVA_CAUSE.findall(text):
        return _short(causes[-1])
    kind, _, said = text.partition(": ")
    first = next((line.strip() for line in said.splitlines() if line.strip()), "")
    return _short(f"{kind}: {first}" if first else kind)


def _short(line: str) -> str:
    return line if len(line) <= _MAX_LETTERS else f"{line[:_MAX_LETTERS]} ..."
