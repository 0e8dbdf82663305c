"""pipelines/sources/recordio: what was framed by dmlc-core's rules comes back; damage loses what it hits, by name."""

import hashlib
import random
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.settings import UserError
from pipelines.sources.reading import describe
from pipelines.sources.settings import SOURCES, SourceSettings

MAGIC = (0xCED7230A).to_bytes(4, "little")
# A file is written anew for every example.
reused = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def source(path: Path | str, **values: object) -> SourceSettings:
    return SOURCES.validate({"kind": "recordio", "path": str(path), **values})


def body(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


pieces = st.lists(st.one_of(st.just(MAGIC), st.binary(max_size=9), st.binary(min_size=4, max_size=4)), max_size=6)


def test_a_row_is_a_record_named_by_where_it_starts(tmp_path: Path, write_rec, to_record, read_rows) -> None:
    path = tmp_path / "train.rec"
    starts = write_rec(path, [to_record(3, b"abc"), to_record(0.5, b""), to_record([7, 1, 2], b"defg")])
    assert [(row.source, row.identity, row.data) for row in read_rows(source(path))] == [
        (f"{path}!/{starts[0]}", "3", b"abc"),
        (f"{path}!/{starts[1]}", "0.5", b""),
        (f"{path}!/{starts[2]}", "7", b"defg"),
    ]


@pytest.mark.parametrize("label", [-1, -1.0, float("nan"), float("inf"), [-1, 5], [float("nan"), 1]])
def test_a_missing_label_is_nobody(tmp_path: Path, label: object, write_rec, to_record, read_rows) -> None:
    path = tmp_path / "train.rec"
    write_rec(path, [to_record(label, b"a"), to_record(1.0, b"b"), to_record(1, b"c")])
    assert [(row.identity, row.data) for row in read_rows(source(path))] == [(None, b"a"), ("1", b"b"), ("1", b"c")]


@pytest.mark.parametrize(
    "data",
    [
        MAGIC,
        MAGIC + b"rest",
        b"head" + MAGIC,
        b"head" + MAGIC + b"mid" + MAGIC + MAGIC + b"end",
        MAGIC * 5,
        b"1" + MAGIC + b"off the boundary",
        b"12" + MAGIC,
        MAGIC[:3],
    ],
)
@pytest.mark.parametrize("label", [1, [1, 2]])
def test_a_payload_that_holds_the_magic_is_put_together_again(
    tmp_path: Path, data: bytes, label: object, write_rec, to_record, read_rows
) -> None:
    path = tmp_path / "train.rec"
    write_rec(path, [to_record(label, data), to_record(2, b"next")])
    assert [(row.identity, row.data) for row in read_rows(source(path))] == [("1", data), ("2", b"next")]


def test_a_label_or_a_key_that_reads_as_the_magic_is_put_together_too(
    tmp_path: Path, write_rec, to_record, read_rows
) -> None:
    (label,) = struct.unpack("<f", MAGIC)  # negative, so it names nobody
    path = tmp_path / "train.rec"
    payloads = [
        to_record(label, b"one"),
        to_record(4, b"two", key=0xCED7230A),
        to_record([5, label, label], MAGIC + b"!"),
        to_record([label], b""),
    ]
    write_rec(path, payloads)
    assert [(row.identity, row.data) for row in read_rows(source(path))] == [
        (None, b"one"),
        ("4", b"two"),
        ("5", MAGIC + b"!"),
    ]


@reused
@given(bodies=st.lists(pieces.map(b"".join), min_size=1, max_size=6), images=st.integers(1, 4))
def test_any_payloads_come_back_in_any_portions(
    tmp_path: Path, bodies: list[bytes], images: int, write_rec, to_record, look, read_rows
) -> None:
    path = tmp_path / "train.rec"
    starts = write_rec(path, [to_record(number, data) for number, data in enumerate(bodies)])
    cut = source(path, chunk_images=images)
    portions, breaks = look(cut)
    assert not breaks
    assert [portion.num_images for portion in portions[:-1]] == [images] * (len(portions) - 1)
    rows = [(row.source, row.identity, row.data) for row in read_rows(cut, portions)]
    facts = enumerate(zip(starts, bodies, strict=True))
    assert rows == [(f"{path}!/{start}", str(number), data) for number, (start, data) in facts]


def insightface(to_record) -> list[bytes]:
    """Header record, images 1..6 of three people, and a record for each person: which images are theirs."""
    images = [to_record(person, body(10 * person + photo, 40)) for person in range(3) for photo in range(2)]
    people = [to_record([1 + 2 * person, 3 + 2 * person]) for person in range(3)]
    return [to_record([7, 10]), *images, *people]


@pytest.mark.parametrize("index", [False, True])
def test_insightfaces_header_and_identity_records_are_no_images(
    tmp_path: Path, index: bool, write_rec, to_record, look, read_rows
) -> None:
    path = tmp_path / "train.rec"
    write_rec(path, insightface(to_record), index=index)
    assert [row.identity for row in read_rows(source(path))] == ["0", "0", "1", "1", "2", "2"]
    assert describe(source(path)).num_files == 6
    assert not look(source(path))[1]


def test_shuffled_records_without_a_header_are_images_all(tmp_path: Path, write_rec, to_record, read_rows) -> None:
    path = tmp_path / "train.rec"
    labels = random.Random(0).sample(range(50), 50)
    write_rec(path, [to_record(label, body(label, label)) for label in labels])
    assert [(row.identity, row.data) for row in read_rows(source(path))] == [
        (str(label), body(label, label)) for label in labels
    ]


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (b"0\t0\n1\t8\n2\t16\n", "2 of its 3 offsets, the first 8, are no record's start"),
        (b"\xff\xfe nonsense", "no list of keys and offsets"),
        (b"1 2 3", "no list of keys and offsets"),
        (b"   ", "no list of keys and offsets"),
        (b"0\t99999999999999999999999\n", "1 of its 1 offsets"),
    ],
)
def test_an_index_that_does_not_fit_is_named_and_costs_nothing(
    tmp_path: Path, index: bytes, words: str, write_rec, to_record, look, read_rows
) -> None:
    path = tmp_path / "train.rec"
    write_rec(path, [to_record(number, b"x" * 30) for number in range(5)])
    path.with_suffix(".idx").write_bytes(index)
    assert len(read_rows(source(path))) == 5
    (part,) = look(source(path))[1]
    assert (part.container, part.num_bytes) == (str(path.with_suffix(".idx")), 0)
    assert words in part.reason
    assert part.reason.endswith("the records were found without it")


def test_an_empty_index_is_no_index(tmp_path: Path, write_rec, to_record, look) -> None:
    path = tmp_path / "train.rec"
    write_rec(path, [to_record(0, b"x")])
    path.with_suffix(".idx").touch()
    assert not look(source(path))[1]


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"nonsense" * 1000, MAGIC, MAGIC + b"\xff\xff\xff\x1f"])
def test_a_file_without_a_record_is_one_broken_part(tmp_path: Path, content: bytes, look) -> None:
    path = tmp_path / "train.rec"
    path.write_bytes(content)
    portions, (part,) = look(source(path))
    assert not portions
    assert (part.container, part.offset, part.num_bytes) == (str(path), 0, len(content))
    with pytest.raises(UserError, match=rf"^source\.path={path} holds no image: {path}"):
        describe(source(path))


def test_a_record_too_short_for_a_label_is_a_row_that_cannot_be_read(
    tmp_path: Path, write_rec, to_record, read_rows
) -> None:
    path = tmp_path / "train.rec"
    crowded = struct.pack("<IfQQ", 1000, 0, 0, 0) + b"few labels"
    absurd = struct.pack("<IfQQ", 0xFFFFFFFF, 0, 0, 0) + b"flags"
    write_rec(path, [to_record(1, b"a"), b"", b"short", crowded, absurd, to_record(2, b"b")])
    rows = read_rows(source(path))
    assert [row.fault for row in rows] == [None, *["unreadable"] * 4, None]


spans = st.lists(st.integers(0, 60), min_size=1, max_size=8)


@reused
@given(sizes=spans, magics=st.booleans(), data=st.data())
def test_a_cut_anywhere_loses_one_record_and_names_it(
    tmp_path: Path, sizes: list[int], magics: bool, data: st.DataObject, write_rec, to_record, look, read_rows
) -> None:
    path = tmp_path / "train.rec"
    bodies = [body(number, size) + MAGIC * magics + b"!" for number, size in enumerate(sizes)]
    starts = write_rec(path, [to_record(number, each) for number, each in enumerate(bodies)])
    ends = [*starts[1:], path.stat().st_size]
    cut = data.draw(st.integers(1, ends[-1] - 1))
    path.write_bytes(path.read_bytes()[:cut])
    whole = [number for number, end in enumerate(ends) if end <= cut]
    rows = {row.identity: row.data for row in read_rows(source(path))}
    hit = len(whole)
    if rows.pop(str(hit), None) is not None:
        assert cut > ends[hit] - 4, "only its padding may be missing"
    elif cut > starts[hit]:
        (part,) = look(source(path))[1]
        assert (part.offset, part.num_bytes) == (starts[hit], cut - starts[hit])
    assert rows == {str(number): bodies[number] for number in whole}


@reused
@given(sizes=spans, magics=st.booleans(), seed=st.integers(0, 2**32), zeros=st.booleans(), data=st.data())
def test_garbage_anywhere_loses_what_it_hits_and_names_it(
    tmp_path: Path,
    sizes: list[int],
    magics: bool,
    seed: int,
    zeros: bool,
    data: st.DataObject,
    write_rec,
    to_record,
    look,
    read_rows,
) -> None:
    path = tmp_path / "train.rec"
    bodies = [body(number, size) + MAGIC * magics + b"!" for number, size in enumerate(sizes)]
    starts = write_rec(path, [to_record(number, each) for number, each in enumerate(bodies)])
    whole = path.read_bytes()
    ends = [*starts[1:], len(whole)]
    begin = data.draw(st.integers(0, len(whole) - 1))
    garbage = (bytes(80) if zeros else body(seed, 80))[: data.draw(st.integers(1, min(80, len(whole) - begin)))]
    damaged = whole[:begin] + garbage + whole[begin + len(garbage) :]
    path.write_bytes(damaged)

    rows = {row.source.partition("!/")[2]: (row.identity, row.data) for row in read_rows(source(path))}
    _, breaks = look(source(path))
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        hit = start < begin + len(garbage) and begin < end
        named = [part for part in breaks if part.offset < end and start < part.offset + part.num_bytes]
        if not hit:
            assert rows.pop(str(start)) == (str(number), bodies[number])
            assert not named
            continue
        # The later part of a record that was hit may read as a record.
        inside = [at for at in rows if start <= int(at) < end]
        for at in inside:
            del rows[at]
        says_list_of_labels = struct.unpack_from("<I", damaged, start + 8)[0] > 0
        assert inside or named or says_list_of_labels, "lost, and nothing says so"
    assert not rows, "records that never were"


def test_a_length_that_was_made_longer_swallows_no_neighbour(
    tmp_path: Path, write_rec, to_record, look, read_rows
) -> None:
    path = tmp_path / "train.rec"
    starts = write_rec(path, [to_record(number, body(number, 50)) for number in range(6)])
    data = bytearray(path.read_bytes())
    data[starts[2] + 4 : starts[2] + 8] = struct.pack("<I", 150)
    path.write_bytes(data)
    assert [row.identity for row in read_rows(source(path))] == ["0", "1", "3", "4", "5"]
    (part,) = look(source(path))[1]
    assert (part.offset, part.num_bytes) == (starts[2], starts[3] - starts[2])


@pytest.mark.parametrize("images", [1, 2, 100])
def test_damage_reads_the_same_in_any_portions(
    tmp_path: Path, images: int, write_rec, to_record, look, read_rows
) -> None:
    path = tmp_path / "train.rec"
    starts = write_rec(path, [to_record(number, body(number, 50)) for number in range(9)])
    data = bytearray(path.read_bytes())
    for hit in (0, 4, 5, 8):
        data[starts[hit] : starts[hit] + 3] = b"bad"
    path.write_bytes(data)
    cut = source(path, chunk_images=images)
    assert [row.identity for row in read_rows(cut)] == ["1", "2", "3", "6", "7"]
    assert [(part.offset, part.num_bytes) for part in look(cut)[1]] == [
        (0, starts[1]),
        (starts[4], starts[6] - starts[4]),
        (starts[8], len(data) - starts[8]),
    ]


def test_a_gap_longer_than_one_search_is_passed(tmp_path: Path, write_rec, to_record, look, read_rows) -> None:
    path = tmp_path / "train.rec"
    write_rec(path, [to_record(1, b"a")])
    one = path.read_bytes()
    garbage = body(0, (5 << 20) // 2)
    path.write_bytes(one + garbage + one)
    assert len(read_rows(source(path))) == 2
    assert [(part.offset, part.num_bytes) for part in look(source(path))[1]] == [(len(one), len(garbage))]


@pytest.mark.parametrize("filler", [b"12345678", b"1234" + MAGIC])
def test_a_record_above_the_limit_is_digested_and_never_held(
    tmp_path: Path, filler: bytes, write_rec, to_record, look, read_rows
) -> None:
    path = tmp_path / "train.rec"
    data = b"z" * (32 << 20) + filler * 3 + b"z" * (32 << 20)
    write_rec(path, [to_record(1, data)])
    size, digest = len(data), hashlib.sha256(data).hexdigest()
    del data
    portions, _ = look(source(path))
    tracemalloc.start()
    (row,) = read_rows(source(path), portions, max_bytes=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (row.fault, row.data, row.num_bytes, row.image_id) == ("too_many_bytes", b"", size, digest)
    assert peak < 32 << 20


def test_a_file_that_shrinks_after_the_scan_gives_a_row_for_every_record(
    tmp_path: Path, write_rec, to_record, look, read_rows
) -> None:
    path = tmp_path / "train.rec"
    starts = write_rec(path, [to_record(number, body(number, 50)) for number in range(6)])
    portions, _ = look(source(path, chunk_images=2))
    path.write_bytes(path.read_bytes()[: starts[3] + 20])
    rows = read_rows(source(path), portions)
    assert [row.fault for row in rows] == [None] * 3 + ["unreadable"] * 3
    path.unlink()
    assert [row.fault for row in read_rows(source(path), portions)] == ["unreadable"] * 6


def test_real_records_are_those_of_their_list_and_index(shared_data: Path, look, read_rows) -> None:
    path = shared_data / "rec" / "train.rec"
    listed = [line.split("\t") for line in path.with_suffix(".lst").read_text().splitlines()]
    offsets = dict(line.split("\t") for line in path.with_suffix(".idx").read_text().splitlines())
    assert not look(source(path))[1]
    rows = {row.source.partition("!/")[2]: row for row in read_rows(source(path))}
    assert {offset: row.identity for offset, row in rows.items()} == {
        offsets[key]: label.removesuffix(".000000") for key, label, _ in listed
    }
    assert all(row.data[:2] == b"\xff\xd8" and row.data[-2:] == b"\xff\xd9" for row in rows.values())
