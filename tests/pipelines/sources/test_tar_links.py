"""pipelines/sources/tar_links: a link to a member is a row with the bytes that GNU tar extracts; others are counted."""

import io
import random
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from pipelines.sources import reading, tar_links
from pipelines.sources.entry import PassedOver
from pipelines.sources.settings import SOURCES, SourceSettings

Entries = list[tuple[str, bytes | tuple[bytes, str]]]
HARD, SYMBOLIC = tarfile.LNKTYPE, tarfile.SYMTYPE


def packed(path: Path, entries: Entries, form: int = tarfile.GNU_FORMAT) -> SourceSettings:
    """An archive of files (their bytes) and links (their type and target)."""
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                member.type, member.linkname = content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return SOURCES.validate({"kind": "tar", "path": str(path)})


def passed_over(settings: SourceSettings) -> list[tuple[str, str]]:
    parts = (part for one in reading.containers(settings) for part in reading.scan(one, settings))
    return [(part.name, part.reason) for part in parts if isinstance(part, PassedOver)]


LINKS: Entries = [
    ("early.jpg", (SYMBOLIC, "bob/2.jpg")),
    ("ann/1.jpg", b"one" * 300),
    ("ann/hard.jpg", (HARD, "ann/1.jpg")),
    ("bob/2.jpg", b"two"),
    ("bob/again.jpg", (HARD, "ann/hard.jpg")),
    ("cid/up.jpg", (SYMBOLIC, "../ann/1.jpg")),
    ("cid/chain.jpg", (SYMBOLIC, "up.jpg")),
    ("cid/dots.jpg", (SYMBOLIC, "./../cid/./chain.jpg")),
]
FOLLOWED = {
    "early.jpg": b"two",
    "ann/1.jpg": b"one" * 300,
    "ann/hard.jpg": b"one" * 300,
    "bob/2.jpg": b"two",
    "bob/again.jpg": b"one" * 300,
    "cid/up.jpg": b"one" * 300,
    "cid/chain.jpg": b"one" * 300,
    "cid/dots.jpg": b"one" * 300,
}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("images", [1, 3, 100])
def test_a_link_to_a_member_is_a_row_with_its_own_name_and_identity(
    tmp_path: Path, form: int, images: int, read_rows, look
) -> None:
    settings = packed(tmp_path / "a.tar", LINKS, form).model_copy(update={"chunk_images": images})
    rows = {row.source.partition("!/")[2]: row for row in read_rows(settings)}
    assert {name: row.data for name, row in rows.items()} == FOLLOWED
    assert list(rows) == [name for name, _ in LINKS]
    assert rows["cid/up.jpg"].identity == "cid"
    portions, breaks = look(settings)
    assert not breaks
    assert sum(portion.num_bytes for portion in portions) == sum(map(len, FOLLOWED.values()))
    assert passed_over(settings) == []


REFUSED: Entries = [
    ("1.jpg", b"1"),
    ("ann/1.jpg", b"1"),
    ("a", (SYMBOLIC, "/etc/passwd")),
    ("b", (SYMBOLIC, "../../etc/passwd")),
    ("ann/c", (SYMBOLIC, "../../1.jpg")),
    ("d", (SYMBOLIC, "nowhere.jpg")),
    ("e", (HARD, "nowhere.jpg")),
    ("bob", (SYMBOLIC, "ann")),
    ("f", (SYMBOLIC, ".")),
    ("g", (SYMBOLIC, "h")),
    ("h", (SYMBOLIC, "g")),
    ("i", (SYMBOLIC, "i")),
    ("j", (HARD, "")),
]


def test_links_that_lead_to_no_member_are_counted_by_their_reason(tmp_path: Path, read_rows) -> None:
    settings = packed(tmp_path / "a.tar", REFUSED)
    assert len(read_rows(settings)) == 2
    assert passed_over(settings) == [
        ("a", "links_out_of_the_archive"),
        ("b", "links_out_of_the_archive"),
        ("ann/c", "links_out_of_the_archive"),
        ("d", "links_to_nothing"),
        ("e", "links_to_nothing"),
        ("bob", "links_to_folders"),
        ("f", "links_to_folders"),
        ("g", "links_in_a_loop"),
        ("h", "links_in_a_loop"),
        ("i", "links_in_a_loop"),
        ("j", "links_to_folders"),
    ]


def test_a_hard_link_is_to_the_member_before_it_and_a_symbolic_one_to_the_last_of_the_name(
    tmp_path: Path, read_rows
) -> None:
    entries: Entries = [
        ("1.jpg", b"old"),
        ("hard.jpg", (HARD, "1.jpg")),
        ("soft.jpg", (SYMBOLIC, "1.jpg")),
        ("1.jpg", b"new"),
    ]
    rows = read_rows(packed(tmp_path / "a.tar", entries))
    assert [row.data for row in rows] == [b"old", b"old", b"new", b"new"]


def test_long_names_of_links_and_targets_are_whole(tmp_path: Path, read_rows) -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        entries: Entries = [("t" * 150, b"1"), ("l" * 150, (HARD, "t" * 150)), ("ö" * 120, (SYMBOLIC, "t" * 150))]
        rows = read_rows(packed(tmp_path / "a.tar", entries, form))
        assert [row.data for row in rows] == [b"1"] * 3


def test_an_archive_without_links_is_walked_once(tmp_path: Path, read_rows, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = packed(tmp_path / "a.tar", [("1.jpg", b"1"), ("2.jpg", b"2")])
    monkeypatch.setattr(tar_links, "walk", None)
    assert len(read_rows(settings)) == 2


def test_sidecars_of_webdataset_may_be_links(tmp_path: Path, read_rows) -> None:
    entries: Entries = [
        ("0.jpg", b"0"),
        ("0.cls", b"7"),
        ("1.jpg", (HARD, "0.jpg")),
        ("1.cls", (HARD, "0.cls")),
        ("2.jpg", b"2"),
        ("2.cls", (SYMBOLIC, "gone.cls")),
    ]
    settings = SOURCES.validate({**packed(tmp_path / "a.tar", entries).model_dump(), "kind": "webdataset"})
    rows = read_rows(settings.model_copy(update={"chunk_images": 1}))
    assert [(row.data, row.identity) for row in rows] == [(b"0", "7"), (b"0", "7"), (b"2", None)]
    assert passed_over(settings) == [("2.cls", "links_to_nothing")]


@pytest.mark.parametrize("seed", range(25))
def test_any_archive_is_accounted_for_and_links_are_what_tar_extracts(tmp_path: Path, seed: int, read_rows) -> None:
    rng = random.Random(seed)
    entries: Entries = []
    files: list[str] = []
    plain: list[str] = []  # tar makes a hard link of a symbolic one itself, which then leads elsewhere
    for number in range(rng.randrange(1, 60)):
        name = "/".join([*(rng.choice("abc") for _ in range(rng.randrange(3))), f"{number}.jpg"])
        kind = rng.choice(["file", "file", "hard", "soft", "lost", "out", "loop", "pipe"])
        up = "../" * name.count("/")
        if kind == "hard" and plain:
            entries.append((name, (HARD, rng.choice(plain))))
            plain.append(name)
        elif kind == "soft" and files:
            entries.append((name, (SYMBOLIC, up + rng.choice(files))))
        elif kind in ("lost", "out", "loop"):
            target = {"lost": "gone.jpg", "out": f"../{up}{tmp_path.name}x", "loop": name.rpartition("/")[2]}[kind]
            entries.append((name, (SYMBOLIC, target)))
            continue
        elif kind == "pipe":
            entries.append((name, (tarfile.FIFOTYPE, "")))
            continue
        else:
            entries.append((name, rng.randbytes(rng.randrange(1500))))
            plain.append(name)
        files.append(name)
    settings = packed(tmp_path / "a.tar", entries)
    rows = read_rows(settings.model_copy(update={"chunk_images": rng.randrange(1, 10)}))
    counted = Counter(reason for _, reason in passed_over(settings))
    assert len(rows) + counted.total() == len(entries)
    assert [row.source.partition("!/")[2] for row in rows] == files
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-C", out, "-xf", tmp_path / "a.tar"], check=True)
    assert [row.data for row in rows] == [(out / name).read_bytes() for name in files]
