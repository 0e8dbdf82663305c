"""pipelines/sources/webdataset: neighbours with one key are a sample, grouped here a second time by a plain rule."""

import io
import json
import random
import tarfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pytest

from pipelines.sources.reading import describe
from pipelines.sources.settings import SOURCES, SourceSettings

Members = Sequence[tuple[str, bytes]]


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


def test_ten_real_faces_are_read_as_tarfile_reads_them(shared_data: Path, read_rows) -> None:
    path = shared_data / "rec" / "small_dataset.tar"
    with tarfile.open(path) as archive:
        files = {one.name: archive.extractfile(one).read() for one in archive if one.isfile()}  # type: ignore[union-attr]
    # Whoever packed it left a .DS_Store, which is a row too: nothing is dropped silently.
    pictures = {name: content for name, content in files.items() if not name.endswith(".txt")}
    assert {row.source.partition("!/")[2]: row.data for row in read_rows(settings(path))} == pictures
    assert sum(content[:2] == b"\xff\xd8" for content in pictures.values()) == 10
