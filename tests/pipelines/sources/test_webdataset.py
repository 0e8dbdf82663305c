"""pipelines/sources/webdataset: neighbours with one key are a sample, grouped here a second time by a plain rule."""

import io
import json
import random
import tarfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.sources.entry import PassedOver, Portion, RawImage
from pipelines.sources.reading import containers, describe, scan
from pipelines.sources.settings import SOURCES, SourceSettings

Members = Sequence[tuple[str, bytes]]
settings_of_hypothesis = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def settings(path: Path | str, **values: object) -> SourceSettings:
    return SOURCES.validate({"kind": "webdataset", "path": str(path), **values})


def packed(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def key(name: str) -> str:
    """Up to the first dot behind the last slash."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.split(".")[0]


def expected(members: Members, sidecars: set[str]) -> list[tuple[str, str | None, bytes]]:
    """Name, content of the sample's `cls`, and bytes of each picture."""
    rows = []
    for _, sample in groupby(members, lambda member: key(member[0])):
        files = dict(sample)
        told = [content.decode() for name, content in files.items() if name.rpartition("/")[2].endswith(".cls")]
        rows += [
            (name, told[0] if told else None, content)
            for name, content in files.items()
            if name.rpartition(".")[2] not in sidecars
        ]
    return rows


SAMPLES: Members = [
    ("000.cls", b"7"),
    ("000.jpg", b"one"),
    ("001.jpg", b"two"),
    ("001.json", b'{"person": "Ann", "age": 3, "null": null}'),
    ("001.cls", b" 12\n"),
    ("dir.v1/002.left.jpg", b"left"),
    ("dir.v1/002.right.png", b"right"),
    ("dir.v1/002.person", b"Bob"),
    ("dir.v1/002.txt", b"a caption"),
    ("dir.v1/003.jpg", b"alone"),
    ("dir.v1/004.txt", b"no picture here"),
    ("dir.v1/005.PNG", b"loud"),
    ("dir.v1/005.CLS", b"5"),
]


def test_a_row_is_a_picture_with_the_class_of_its_sample(tmp_path: Path, read_rows) -> None:
    path = packed(tmp_path / "s.tar", [member for member in SAMPLES if not member[0].endswith(".person")])
    assert [(row.source, row.identity, row.data) for row in read_rows(settings(path))] == [
        (f"{path}!/000.jpg", "7", b"one"),
        (f"{path}!/001.jpg", "12", b"two"),
        (f"{path}!/dir.v1/002.left.jpg", None, b"left"),
        (f"{path}!/dir.v1/002.right.png", None, b"right"),
        (f"{path}!/dir.v1/003.jpg", None, b"alone"),
        (f"{path}!/dir.v1/005.PNG", "5", b"loud"),
    ]


def test_the_identity_may_be_a_key_of_the_json(tmp_path: Path, read_rows) -> None:
    path = packed(tmp_path / "s.tar", SAMPLES[:5])
    assert [row.identity for row in read_rows(settings(path, identity_column="person"))] == [None, "Ann"]
    assert [row.identity for row in read_rows(settings(path, identity_column="age"))] == [None, "3"]
    assert [row.identity for row in read_rows(settings(path, identity_column="null"))] == [None, None]


def test_the_identity_may_be_another_member_which_is_then_no_picture(tmp_path: Path, read_rows, look) -> None:
    chosen = settings(packed(tmp_path / "s.tar", SAMPLES[5:9]), identity_column="person")
    assert [(row.identity, row.data) for row in read_rows(chosen)] == [("Bob", b"left"), ("Bob", b"right")]
    assert describe(chosen).num_files == 2


def test_the_identity_may_lie_in_the_name(tmp_path: Path, read_rows) -> None:
    path = packed(tmp_path / "s.tar", SAMPLES[:5])
    assert [row.identity for row in read_rows(settings(path, identity_pattern=r"^0*(\d+)\."))] == ["0", "1"]


@pytest.mark.parametrize(
    "told",
    [b"{", b"[1, 2]", b"\xff\xfe", b'"person"', b"[" * 100_000, b'{"person": ' + b"9" * 5000 + b"}", b""],
)
def test_a_json_that_makes_no_sense_names_nobody(tmp_path: Path, told: bytes, read_rows) -> None:
    path = packed(tmp_path / "s.tar", [("1.json", told), ("1.jpg", b"x")])
    assert [row.identity for row in read_rows(settings(path, identity_column="person"))] == [None]


@pytest.mark.parametrize("members", [[("1.json", b'{"who": "\\ud800x"}')], [("1.who", b"\xffx")]])
def test_an_identity_is_text_whatever_its_bytes(tmp_path: Path, members: Members, read_rows) -> None:
    path = packed(tmp_path / "s.tar", [*members, ("1.jpg", b"x")])
    (row,) = read_rows(settings(path, identity_column="who"))
    assert row.identity is not None
    assert row.identity.encode().endswith(b"x")


@pytest.mark.parametrize("images", [1, 2, 3, 5, 1000])
def test_any_shard_is_grouped_as_by_the_plain_rule_and_no_sample_straddles_portions(
    tmp_path: Path, images: int, look, read_rows
) -> None:
    rng = random.Random(images)
    members: list[tuple[str, bytes]] = []
    for number in range(40):
        kinds = rng.sample(["jpg", "left.jpg", "png", "cls", "json", "txt", "meta.json"], rng.randint(1, 5))
        members += [
            (f"a.b/{number:03d}.{kind}", json.dumps({"n": number}).encode() if "json" in kind else b"%d" % number)
            for kind in kinds
        ]
    path = packed(tmp_path / "s.tar", members)
    cut = settings(path, chunk_images=images)
    rows = [(row.source.partition("!/")[2], row.identity, row.data) for row in read_rows(cut)]
    assert rows == expected(members, {"cls", "json", "txt"})
    portions, _ = look(cut)
    per_portion = [{key(row.source) for row in read_rows(cut, [portion])} for portion in portions]
    assert sum(map(len, per_portion)) == len(set().union(*per_portion)), "a sample lies in two portions"
    assert all(portion.num_images <= images + 2 for portion in portions), "a sample has three pictures at most"


def test_a_gap_inside_a_sample_leaves_what_is_around_it(tmp_path: Path, look, read_rows) -> None:
    path = packed(tmp_path / "s.tar", SAMPLES[:5])
    with tarfile.open(path) as archive:
        hit = archive.getmember("001.json").offset
    data = bytearray(path.read_bytes())
    data[hit : hit + 512] = b"\x01" * 512
    path.write_bytes(data)
    assert [(row.identity, row.data) for row in read_rows(settings(path))] == [("7", b"one"), ("12", b"two")]
    (part,) = look(settings(path))[1]
    assert (part.offset, part.num_bytes) == (hit, 1024)


def rows_of(read: Sequence[RawImage]) -> set[tuple[str, str | None, bytes]]:
    return {(row.source.partition("!/")[2], row.identity, row.data) for row in read}


def passed_over(chosen: SourceSettings) -> list[PassedOver]:
    return [part for one in containers(chosen) for part in scan(one, chosen) if isinstance(part, PassedOver)]


SORTED: Members = [
    member for n in range(6) for member in ((f"d/{n}.jpg", b"picture %d" % n), (f"d/{n}.cls", b"%d" % (n % 3)))
]


@pytest.mark.parametrize("images", [1, 2, 4, 100])
@pytest.mark.parametrize("order", ["types", "types reversed", "shuffled", "far", "sorted"])
def test_members_in_any_order_give_every_picture_its_identity(
    tmp_path: Path, order: str, images: int, look, read_rows
) -> None:
    orders = {
        "types": sorted(SORTED, key=lambda member: member[0][-3:]),
        "types reversed": sorted(SORTED, key=lambda member: member[0][-3:], reverse=True),
        "shuffled": random.Random(images).sample(SORTED, len(SORTED)),
        "far": [*SORTED[1:], SORTED[0]],
        "sorted": SORTED,
    }
    chosen = settings(packed(tmp_path / "s.tar", orders[order]), chunk_images=images)
    assert rows_of(read_rows(chosen)) == {(f"d/{n}.jpg", str(n % 3), b"picture %d" % n) for n in range(6)}
    portions, breaks = look(chosen)
    assert not breaks
    assert not passed_over(chosen)
    assert order != "sorted" or not any(portion.joined for portion in portions)


def test_a_json_far_away_identifies_and_a_neighbour_goes_before_it(tmp_path: Path, read_rows) -> None:
    members = [
        ("1.jpg", b"1"),
        ("2.jpg", b"2"),
        ("2.json", b'{"who": "near"}'),
        ("3.left.jpg", b"3l"),
        ("3.json", b'{"Who": "cid"}'),
        ("3.right.jpg", b"3r"),
        ("1.json", b'{"who": "ann"}'),
        ("4.jpg", b"4"),
    ]
    chosen = settings(
        packed(tmp_path / "s.tar", [*members[:4], members[5], *members[6:], members[4]]), identity_column="who"
    )
    assert {(name, who) for name, who, _ in rows_of(read_rows(chosen))} == {
        ("1.jpg", "ann"),
        ("2.jpg", "near"),
        ("3.left.jpg", "cid"),
        ("3.right.jpg", "cid"),
        ("4.jpg", None),
    }


def test_two_identities_far_apart_give_none_and_are_noted(tmp_path: Path, look, read_rows) -> None:
    members = [("1.cls", b"ann"), ("2.cls", b"bob"), ("1.jpg", b"1"), ("3.jpg", b""), ("2.jpg", b""), ("1.cls", b"eve")]
    chosen = settings(packed(tmp_path / "s.tar", members))
    assert {(name, who) for name, who, _ in rows_of(read_rows(chosen))} >= {("1.jpg", None), ("2.jpg", "bob")}
    (part,) = look(chosen)[1]
    assert part.reason == "1 samples have two members that identify them, apart; their images have no identity"


def test_a_scan_without_lonely_pictures_yields_portions_as_it_goes(tmp_path: Path) -> None:
    chosen = settings(packed(tmp_path / "s.tar", SORTED * 3), chunk_images=1)
    (container,) = containers(chosen)
    first = next(iter(scan(container, chosen)))
    assert isinstance(first, Portion)
    assert first.stop < container.num_bytes / 2


@pytest.mark.parametrize("prefix", ["", "faces/", "./faces/"])
def test_what_macos_and_windows_leave_in_an_archive_is_passed_over_by_name(
    tmp_path: Path, prefix: str, read_rows
) -> None:
    double = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(100)
    whole: list[tuple[str, bytes]] = []
    for name, content in SORTED[:4]:
        folder, _, last = name.rpartition("/")
        whole += [(f"{prefix}{folder}/._{last}", double), (prefix + name, content)]
    left = [
        f"{prefix}.DS_Store",
        f"__MACOSX/{prefix}._d",
        f"{prefix}d/Thumbs.db",
        f"PaxHeaders.7/{prefix}d",
        "desktop.ini",
    ]
    whole += [(name, double) for name in left]
    chosen = settings(packed(tmp_path / "s.tar", whole))
    assert {(who, data) for _, who, data in rows_of(read_rows(chosen))} == {("0", b"picture 0"), ("1", b"picture 1")}
    passed = passed_over(chosen)
    assert {part.reason for part in passed} == {"files_of_an_operating_system"}
    assert len(passed) == 4 + len(left)
    assert describe(chosen).num_files == 2


def test_backslashes_part_folders_as_slashes_do(tmp_path: Path, read_rows) -> None:
    members = [("dir.v1\\1.jpg", b"1"), ("dir.v1\\1.cls", b"ann"), ("dir.v1\\2.cls", b"bob"), ("dir.v1\\2.jpg", b"2")]
    rows = rows_of(read_rows(settings(packed(tmp_path / "s.tar", members))))
    assert {(who, data) for _, who, data in rows} == {("ann", b"1"), ("bob", b"2")}


@pytest.mark.parametrize("column", ["Person", "PERSON", "person"])
def test_the_member_and_the_key_are_found_in_any_case(tmp_path: Path, column: str, read_rows) -> None:
    members = [("1.jpg", b"1"), ("1.person", b"ann"), ("2.jpg", b"2"), ("2.json", b'{"Person": 2.0}')]
    rows = rows_of(read_rows(settings(packed(tmp_path / "s.tar", members), identity_column=column)))
    assert {(who, data) for _, who, data in rows} == {("ann", b"1"), ("2", b"2")}


@settings_of_hypothesis
@given(data=st.data(), images=st.integers(1, 9))
def test_any_order_of_the_members_joins_the_same_samples(
    tmp_path: Path, data: st.DataObject, images: int, read_rows
) -> None:
    whos = data.draw(st.lists(st.sampled_from(["1", "2.0", "ann", "-1", ""]), min_size=1, max_size=8))
    members = [(f"d/{n}.jpg", b"picture %d" % n) for n in range(len(whos))]
    members += [(f"d/{n}.{data.draw(st.sampled_from(['cls', 'CLS']))}", who.encode()) for n, who in enumerate(whos)]
    chosen = settings(packed(tmp_path / "s.tar", data.draw(st.permutations(members))), chunk_images=images)
    truth = {"1": "1", "2.0": "2", "ann": "ann", "-1": None, "": None}
    assert rows_of(read_rows(chosen)) == {(f"d/{n}.jpg", truth[who], b"picture %d" % n) for n, who in enumerate(whos)}


def test_ten_real_faces_are_read_as_tarfile_reads_them(shared_data: Path, read_rows) -> None:
    path = shared_data / "rec" / "small_dataset.tar"
    with tarfile.open(path) as archive:
        files = {one.name: archive.extractfile(one).read() for one in archive if one.isfile()}  # type: ignore[union-attr]
    # Whoever packed it left a .DS_Store, which is passed over by name: nothing is dropped silently.
    left = {name for name in files if "DS_Store" in name}
    pictures = {name: content for name, content in files.items() if not name.endswith(".txt") and name not in left}
    assert {row.source.partition("!/")[2]: row.data for row in read_rows(settings(path))} == pictures
    assert {part.name for part in passed_over(settings(path))} == left
    assert sum(content[:2] == b"\xff\xd8" for content in pictures.values()) == 10
