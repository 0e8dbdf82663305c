"""pipelines/dedup/verdicts and keep: who stands behind whom is what looking at one picture after the other finds."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.dedup.case import MEMBERS
from pipelines.dedup.elect import NOT_TRUSTED
from pipelines.dedup.signatures import CopyRule
from pipelines.dedup.verdicts import Rules, verdicts
from pipelines.settings import ConflictSettings

Member = dict[str, Any]
Key = tuple[str, str]  # image, name
Outcome = tuple[str, str | None, str | None]  # status, reason, keeper
MAX_DISTANCE = 31
DROP, MAJORITY = ConflictSettings(), ConflictSettings(policy="majority")
TRUSTED = ConflictSettings(policy="trusted", trusted=("/checked",))


def _member(image_id: str, bits: int = 0, name: str = "ann", *, start: int = 0, **given: Any) -> Member:
    """A picture whose hash has so many bits set, from `start` on."""
    pattern = np.zeros(256, dtype=np.uint8)
    pattern[start : start + bits] = 1
    drawn: Member = {"component": "c", "is_reference": False, "image_id": image_id, "name": name, "num_rows": 1}
    drawn |= {"rank": NOT_TRUSTED, "num_pixels": 100, "num_bytes": 10, "blur": 1.0, "hash_is_reliable": True}
    drawn |= {"hash": np.packbits(pattern).tobytes(), "hash_flipped": np.tile([85], 32).astype(np.uint8).tobytes()}
    drawn |= {"pixel_digest": image_id.encode(), "leak_to": None, "cosine": None, "links": None, "thumbnail": None}
    return drawn | given


def _reference(image_id: str, bits: int, **given: Any) -> Member:
    return _member(image_id, bits, **given) | {"name": None, "num_rows": None, "rank": None, "is_reference": True}


def _thumbnail(seed: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 64, 48 * 48, dtype=np.uint8).tobytes()


def _found(members: list[Member], conflicts: ConflictSettings = DROP, **given: Any) -> dict[tuple[str, str], Member]:
    rules = Rules(
        **{"copies": CopyRule(MAX_DISTANCE), "conflicts": conflicts, "leak_cosine": 0.9, "semantic_cosine": 0.9} | given
    )
    rows = verdicts(pa.Table.from_pylist(members, schema=MEMBERS), rules).to_pylist()
    assert len({(row["image_id"], row["name"]) for row in rows}) == len(rows)
    return {(row["image_id"], row["name"]): row for row in rows}


def _outcomes(members: list[Member], conflicts: ConflictSettings = DROP) -> dict[str, tuple[str, str | None]]:
    return {
        image: (row["reason"] or "kept", row["keeper_id"]) for (image, _), row in _found(members, conflicts).items()
    }


@pytest.mark.parametrize(
    ("better", "measurement"),
    [({"num_pixels": 200, "num_bytes": 5}, "num_pixels"), ({"num_bytes": 30}, "num_bytes"), ({"blur": 7.0}, "blur")],
)
def test_the_keeper_is_the_better_by_the_first_criterion_in_which_they_differ(
    better: dict[str, Any], measurement: str
) -> None:
    found = _found([_member("a"), _member("b", **better)])
    row = found["a", "ann"]
    assert (row["status"], row["reason"], row["keeper_id"]) == ("duplicate", "near_duplicate", "b")
    assert (row["measurement"], row["value"], row["limit"]) == (
        measurement,
        _member("a")[measurement],
        better[measurement],
    )
    assert (found["b", "ann"]["status"], found["b", "ann"]["group_id"]) == ("kept", "b")


def test_of_equals_the_smallest_id_is_kept() -> None:
    row = _found([_member("b"), _member("a")])["b", "ann"]
    assert (row["keeper_id"], row["measurement"], row["value"], row["limit"]) == ("a", "image_id", None, None)


def test_a_chain_is_cut_where_it_leaves_the_keeper() -> None:
    # 0 - 20 - 40 - 60 bits from the first: neighbours are alike, the ends are not.
    chain = [_member(name, bits) for name, bits in (("a", 0), ("b", 20), ("c", 40), ("d", 60))]
    found = _found(chain)
    assert {image: row["keeper_id"] for (image, _), row in found.items()} == {"a": None, "b": "a", "c": None, "d": "c"}
    assert found["d", "ann"]["distance"] == 20


def test_equal_pixels_are_one_picture_however_flat_and_alike_hashes_of_flat_pictures_say_nothing() -> None:
    flat = [
        _member(name, hash_is_reliable=False, pixel_digest=digest)
        for name, digest in (("a", b"1"), ("b", b"1"), ("c", b"2"))
    ]
    assert _outcomes(flat) == {"a": ("kept", None), "b": ("same_pixels", "a")}


def test_a_second_look_keeps_pictures_of_close_hashes_apart_but_not_what_is_linked_or_leaks() -> None:
    members = [_member(name, thumbnail=_thumbnail(seed)) for name, seed in (("a", 1), ("b", 2), ("c", 1))]
    rule = CopyRule(MAX_DISTANCE, 0.4)
    assert {image: row["keeper_id"] for (image, _), row in _found(members).items()} == {"a": None, "b": "a", "c": "a"}
    apart = {image: (row["reason"], row["keeper_id"]) for (image, _), row in _found(members, copies=rule).items()}
    assert apart == {"a": (None, None), "c": ("near_duplicate", "a")}
    linked = [members[0] | {"links": [{"image_id": "b", "cosine": 0.95}]}, *members[1:]]
    assert _found(linked, copies=rule)["b", "ann"]["reason"] == "semantic_duplicate"
    found = _found([*members, _reference("r", 0, thumbnail=_thumbnail(3))], copies=rule)
    assert {row["reason"] for row in found.values()} == {"leak"}


def test_thumbnails_belong_to_their_pictures_whatever_the_order_and_the_names() -> None:
    members = [
        _member(f"{number:02}", name=name, thumbnail=_thumbnail(number % 3) if number % 5 else None)
        for number in range(12)
        for name in ("ann", "bob")[: 1 + number % 2]
    ]
    found = _found(members, MAJORITY, copies=CopyRule(MAX_DISTANCE, 0.4))
    # 0, 5 and 10 have no thumbnail, so the hashes decide: all follow 00, the smallest, which has none either.
    assert {row["keeper_id"] for row in found.values()} <= {"00", None}
    seen = [member for member in members if member["thumbnail"]]
    groups: dict[str, set[int]] = {}
    for (image, _), row in _found(seen, MAJORITY, copies=CopyRule(MAX_DISTANCE, 0.4)).items():
        groups.setdefault(row["group_id"], set()).add(int(image) % 3)
    assert sorted(groups.values(), key=min) == [{0}, {1}, {2}]


def test_whatever_follows_a_reference_is_a_leak_of_the_nearest_before_anything_else() -> None:
    members = [
        _reference("far", 20),
        _reference("near", 5),
        _member("best", 0, num_pixels=900),
        _member("beyond", 60),
        _member("behind", 40),
    ]
    found = _found(members)
    told = {
        image: (row["reason"], row["keeper_id"], row["distance"], row["group_id"]) for (image, _), row in found.items()
    }
    # "behind" and "beyond" are 20 bits apart, but only one of them follows a reference, and what leaks keeps nothing.
    assert told == {"best": ("leak", "near", 5, None), "behind": ("leak", "far", 20, None)}
    assert {row["status"] for row in found.values()} == {"rejected"}


def test_of_references_that_are_equally_near_the_best_is_named() -> None:
    members = [
        _reference("a", 5, start=100),
        _reference("b", 5, num_pixels=900),
        _reference("c", 5, start=200),
        _member("x"),
    ]
    assert _outcomes(members) == {"x": ("leak", "b")}
    assert [row["distance"] for row in _found(members).values()] == [5]


def test_the_same_file_as_a_reference_is_a_leak_of_itself() -> None:
    members = [
        _reference("a", hash_is_reliable=False, bits=0),
        _member("a", hash_is_reliable=False),
        _reference("b", 0),
    ]
    row = _found(members)["a", "ann"]
    assert (row["reason"], row["keeper_id"], row["distance"]) == ("leak", "a", 0)


def test_an_embedding_close_to_a_reference_is_a_leak_too() -> None:
    row = _found([_member("a", leak_to="r", cosine=0.95), _member("b", 20)])["a", "ann"]
    assert (row["status"], row["reason"], row["keeper_id"], row["distance"]) == ("rejected", "leak", "r", None)
    assert (row["measurement"], row["value"], row["limit"]) == ("cosine", pytest.approx(0.95), 0.9)


def test_a_linked_picture_follows_only_if_it_is_linked_with_the_keeper_itself() -> None:
    link = [{"image_id": "b", "cosine": 0.95}]
    members = [
        _member("a", 0, num_pixels=300, links=link),
        _member(
            "b",
            100,
            num_pixels=200,
            links=[{"image_id": "c", "cosine": 0.97}, {"image_id": "elsewhere", "cosine": 1.0}],
        ),
        _member("c", 200),
    ]
    found = _found(members)
    row = found["b", "ann"]
    assert (row["reason"], row["keeper_id"], row["distance"]) == ("semantic_duplicate", "a", 100)
    assert (row["measurement"], row["value"], row["limit"]) == ("cosine", pytest.approx(0.95), 0.9)
    assert ("c", "ann") not in found, "it is kept, alone: what it is linked with is not"


def test_by_default_a_group_of_two_names_goes_as_a_whole() -> None:
    members = [
        _member("a", name="ann", num_pixels=300),
        _member("b", 5, name="bob"),
        _member("c", 3, name="ann"),
        _member("d", 80),
    ]
    assert _outcomes(members) == {
        "a": ("two_identities", None),
        "b": ("two_identities", "a"),
        "c": ("two_identities", "a"),
    }


def test_the_best_of_the_winners_is_the_keeper_and_those_it_does_not_reach_are_kept_themselves() -> None:
    members = [
        _member("a", 30, name="bob", num_pixels=900),  # the best, of the losing name
        _member("b", 0, name="ann", num_pixels=500),
        _member("c", 10, name="ann"),
        _member("d", 60, name="ann"),  # alike to a, not to b
    ]
    found = _found(members, MAJORITY)
    outcomes = {image: (row["reason"], row["keeper_id"], row["group_id"]) for (image, _), row in found.items()}
    assert outcomes == {
        "a": ("two_identities", "b", "b"),
        "b": (None, None, "b"),
        "c": ("near_duplicate", "b", "b"),
    }


def test_rows_of_one_file_lose_their_name_while_the_file_stays() -> None:
    members = [_member("a", name="ann", num_rows=2), _member("a", name="bob")]
    found = _found(members, MAJORITY)
    assert (found["a", "ann"]["status"], found["a", "ann"]["keeper_id"]) == ("kept", None)
    assert (found["a", "bob"]["status"], found["a", "bob"]["keeper_id"], found["a", "bob"]["distance"]) == (
        "conflict",
        "a",
        0,
    )


@pytest.mark.parametrize("conflicts", [DROP, MAJORITY, TRUSTED], ids=lambda settings: settings.policy)
@pytest.mark.parametrize("seed", range(12))
def test_verdicts_are_those_of_looking_at_one_picture_after_the_other(conflicts: ConflictSettings, seed: int) -> None:
    members = list(_drawn(seed))
    found = _found(members, conflicts)
    expected = _one_by_one(members, conflicts)
    assert {key: (row["status"], row["reason"], row["keeper_id"]) for key, row in found.items()} == expected
    shuffled = [members[place] for place in np.random.default_rng(seed).permutation(len(members))]
    assert _found(shuffled, conflicts) == found
    kept = {image for (image, _), row in found.items() if row["status"] == "kept"}
    assert all(row["keeper_id"] in kept for row in found.values() if row["status"] == "duplicate")


def _drawn(seed: int) -> Iterator[Member]:
    """Components of chains, copies, references, links and names."""
    rng = np.random.default_rng(seed)
    for component in range(12):
        pictures = [f"{component:02d}{letter}" for letter in "abcdefghij"[: rng.integers(1, 11)]]
        for image_id in pictures:
            to = [other for other in pictures if other > image_id and rng.random() < 0.1]
            links = [{"image_id": other, "cosine": 0.95} for other in to]
            drawn = {
                "component": str(component),
                "num_pixels": int(rng.integers(1, 4)),
                "hash_is_reliable": rng.random() < 0.9,
            }
            drawn |= {
                "start": int(rng.integers(0, 40)),
                "pixel_digest": rng.choice([image_id.encode(), b"same"], p=[0.9, 0.1]),
            }
            bits = int(rng.integers(0, 60))
            if rng.random() < 0.1:
                yield _reference(image_id, bits, **drawn)
                continue
            drawn |= {"links": links, "leak_to": rng.choice([None, "r"], p=[0.95, 0.05])}
            names = rng.permutation(["ann", "bob", "eve"])[: rng.choice([1, 2], p=[0.8, 0.2])]
            for name in names:
                ballot = {"num_rows": int(rng.integers(1, 4)), "rank": int(rng.choice([0, 1, NOT_TRUSTED]))}
                yield _member(image_id, bits, str(name), **drawn, **ballot)


def _distance(one: Member, other: Member) -> int:
    ways = (("hash", "hash"), ("hash_flipped", "hash"), ("hash", "hash_flipped"))
    return min((int.from_bytes(one[a]) ^ int.from_bytes(other[b])).bit_count() for a, b in ways)


def _alike(one: Member, other: Member) -> str | None:
    if one["pixel_digest"] == other["pixel_digest"]:
        return "same_pixels"
    is_near = one["hash_is_reliable"] and other["hash_is_reliable"] and _distance(one, other) <= MAX_DISTANCE
    return "near_duplicate" if is_near else None


def _linked(one: Member, other: Member) -> bool:
    ends = ((one, other), (other, one))
    return any(link["image_id"] == b["image_id"] for a, b in ends for link in a["links"] or ())


def _one_by_one(members: list[Member], conflicts: ConflictSettings) -> dict[Key, Outcome]:
    """(image, name) -> status, reason, keeper, the slow way."""
    found = {}
    for component in sorted({member["component"] for member in members}):
        own = [member for member in members if member["component"] == component]
        found |= _component(own, conflicts)
    return found


def _component(members: list[Member], conflicts: ConflictSettings) -> dict[Key, Outcome]:
    references = sorted((member for member in members if member["is_reference"]), key=_quality)
    ballots = {(m["image_id"], m["name"]): m for m in members if not m["is_reference"]}
    pictures = {image: member for (image, _), member in ballots.items()}
    found: dict[Key, Outcome] = {}
    for key, member in ballots.items():
        leaks = [other for other in references if _alike(member, other)]
        if leaks or member["leak_to"]:
            nearest = min(leaks, key=lambda other: _distance(member, other))["image_id"] if leaks else member["leak_to"]
            found[key] = ("rejected", "leak", nearest)
    standing = {key for key in ballots if key not in found}
    keeper, behind = _keepers(standing, ballots, pictures, conflicts)
    last = {image: to for (image, _), to in behind.items()}
    for image, name in behind:
        to = behind[image, name]
        while (further := keeper.get(to, last.get(to, to))) != to:
            to = further
        is_nobodys = to == image and to not in keeper
        found[image, name] = ("conflict", "two_identities", None if is_nobodys else to)
    lost_to = Counter(row[2] for row in found.values())
    for image, name in standing:
        to = keeper[image]
        if to != image:
            found[image, name] = ("duplicate", _alike(pictures[to], pictures[image]) or "semantic_duplicate", to)
        elif lost_to[image] or list(keeper.values()).count(image) > 1:
            found[image, name] = ("kept", None, None)
    return found


def _quality(member: Member) -> tuple[Any, ...]:
    return (-member["num_pixels"], -member["num_bytes"], -member["blur"], member["image_id"])


def _keepers(
    standing: set[Key], ballots: dict[Key, Member], pictures: dict[str, Member], conflicts: ConflictSettings
) -> tuple[dict[str, str], dict[Key, str]]:
    """Image -> its keeper; whoever lost its name, which leaves `standing` -> to whom."""
    keeper: dict[str, str] = {}
    behind: dict[Key, str] = {}
    while pool := sorted({image for image, _ in standing} - set(keeper), key=lambda image: _quality(pictures[image])):
        best = pictures[pool[0]]
        group = [i for i in pool if i == pool[0] or _alike(best, pictures[i]) or _linked(best, pictures[i])]
        voting = [key for key in standing if key[0] in group]
        if len({name for _, name in voting}) == 1:
            keeper |= dict.fromkeys(group, pool[0])
            continue
        winner = _winner([(name, ballots[image, name]) for image, name in voting], conflicts.policy)
        winning = [image for image in group if (image, winner) in voting]
        lost = [key for key in voting if key[1] != winner]
        standing.difference_update(lost)
        behind |= dict.fromkeys(lost, winning[0] if winning else pool[0])
    return keeper, behind


def _winner(voting: list[tuple[str, Member]], policy: str) -> str | None:
    if policy == "drop":
        return None
    if policy == "trusted":
        best = min(member["rank"] for _, member in voting)
        names = {name for name, member in voting if member["rank"] == best}
        return names.pop() if len(names) == 1 and best != NOT_TRUSTED else None
    rows: Counter[str] = Counter()
    for name, member in voting:
        rows[name] += member["num_rows"]
    (first, most), *others = rows.most_common()
    return None if others and others[0][1] == most else first
