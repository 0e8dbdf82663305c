"""The installed distributions that executors or ranks need, found by their metadata.

The project's extras say what only one side needs: `spark`, `train` and `test`. What somebody installed beside them,
such as a driver of fsspec, goes to both sides together with all that it requires.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Set
from enum import StrEnum
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.settings import UserError

RINGMILL = "ringmill"

Found = Mapping[str, Distribution]  # by canonical name
Node = tuple[str, str]  # a distribution and one of its extras; "" = what it always requires


class Side(StrEnum):
    """The machines on which an environment is unpacked."""

    EXECUTORS = "executors"
    RANKS = "ranks"
    ALL = "all"


# Of the extra `train` too, but installed without their requirements: the project lists those that they really have.
_APART = ("horovod", "petastorm")
_UNUSED_EXTRAS = {Side.EXECUTORS: {"train", "test"}, Side.RANKS: {"spark", "test"}, Side.ALL: {"test"}}
# Spark puts its own pyspark before all else on the path of its executors.
_BROUGHT_BY_HOST = {Side.EXECUTORS: {"pyspark"}, Side.RANKS: set[str](), Side.ALL: set[str]()}


def installed(site_packages: Path) -> dict[str, Distribution]:
    """The distributions in a folder by canonical name.

    Raises:
        UserError: the project is not among them.
    """
    found = {str(canonicalize_name(one.metadata["Name"])): one for one in distributions(path=[str(site_packages)])}
    if RINGMILL not in found:
        raise UserError(f"{site_packages} does not hold {RINGMILL}; install it there: pip install {RINGMILL}")
    return found


def needed(found: Found, side: Side) -> set[str]:
    """The names of those that one side needs.

    Raises:
        UserError: one of them is missing, or is installed editable and lies elsewhere.
    """
    unused = _UNUSED_EXTRAS[side]
    extras = set(found[RINGMILL].metadata.get_all("Provides-Extra") or ())
    if unused - extras:
        raise UserError(
            f"the installed {RINGMILL} knows no extra {', '.join(sorted(unused - extras))}, so its metadata is of an "
            "earlier version; install it again"
        )
    own = [(RINGMILL, ""), *((RINGMILL, extra) for extra in sorted(extras - unused))]
    others = [(RINGMILL, extra) for extra in unused]
    (others if "train" in unused else own).extend((name, "") for name in _APART)
    _refuse_missing(found, side, unused)
    added = found.keys() - _reached(found, others)
    closed = {(RINGMILL, extra) for extra in unused}
    needed = _reached(found, [*own, *((name, "") for name in added)], closed) & found.keys()
    _refuse_editable(found, needed)
    return needed - _BROUGHT_BY_HOST[side]


def _refuse_missing(found: Found, side: Side, unused: Set[str]) -> None:
    must = [(RINGMILL, extra) for extra in ("", *({"spark", "train"} - unused))]
    names = {name for node in must for name, _ in _required(found, node)}
    if "train" not in unused:
        names.update(_APART)
    missing = sorted(names - found.keys())
    if missing:
        raise UserError(
            f"--for {side}: the environment lacks {', '.join(missing)}; install it, or pack for another side"
        )


def _refuse_editable(found: Found, names: Iterable[str]) -> None:
    for name in sorted(names):
        origin = json.loads(found[name].read_text("direct_url.json") or "{}")
        if name != RINGMILL and origin.get("dir_info", {}).get("editable"):
            raise UserError(
                f"{name} is installed editable from {origin.get('url')}, which other hosts lack; install it without -e"
            )


def _reached(found: Found, nodes: Iterable[Node], closed: Iterable[Node] = ()) -> set[str]:
    """The names that the nodes lead to, their own among them, by no way through a closed node."""
    seen, waiting = set(closed), list(nodes)
    names = set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        names.add(node[0])
        if node[0] not in _APART:
            waiting.extend(_required(found, node))
    return names


def _required(found: Found, node: Node) -> Iterator[Node]:
    name, extra = node
    for text in (found[name].requires if name in found else None) or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield from ((canonicalize_name(requirement.name), one) for one in ("", *requirement.extras))
