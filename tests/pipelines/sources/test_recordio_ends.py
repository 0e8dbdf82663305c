"""pipelines/sources/recordio_ends: a file cut anywhere, between records too, is named where that can be known."""

from pathlib import Path

import pytest

from pipelines.ingest import Survey
from pipelines.sources.chunks import Chunk
from pipelines.sources.entry import Break, Container
from pipelines.sources.settings import SOURCES, SourceSettings

SIZES = (71, 102, 93, 44)


def source(path: Path) -> SourceSettings:
    return SOURCES.validate({"kind": "recordio", "path": str(path)})


def reasons(breaks: list[Break]) -> str:
    return " | ".join(part.reason for part in breaks)


@pytest.mark.parametrize("kind", ["index", "header"])
def test_a_file_cut_at_any_byte_has_all_records_or_says_that_it_was_cut(
    tmp_path: Path, kind: str, write_rec, to_record, look
) -> None:
    path = tmp_path / "train.rec"
    images = [to_record(number, b"x" * size) for number, size in enumerate(SIZES)]
    header = [to_record([len(images) + 1, len(images) + 1])] * (kind == "header")
    write_rec(path, [*header, *images], index=kind == "index")
    whole = path.read_bytes()
    assert look(source(path))[1] == []
    for cut in range(1, len(whole), 1 if kind == "index" else 7):
        path.write_bytes(whole[:cut])
        assert look(source(path))[1], cut


def test_without_index_and_header_only_a_cut_between_records_passes(tmp_path: Path, write_rec, to_record, look) -> None:
    path = tmp_path / "train.rec"
    starts = write_rec(path, [to_record(number, b"x" * size) for number, size in enumerate(SIZES)])
    whole = path.read_bytes()
    silent = []
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        if not look(source(path))[1]:
            silent.append(cut)
    assert silent == starts[1:]


def test_what_is_missing_is_said_with_the_numbers_and_weighs_as_much(
    tmp_path: Path, write_rec, to_record, look
) -> None:
    path = tmp_path / "train.rec"
    starts = write_rec(path, [to_record(number, b"x" * 1000) for number in range(10)], index=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: starts[4]])
    portions, (part,) = look(source(path))
    assert part.reason == f"{tmp_path}/train.idx lists 6 records behind its end; the file was cut (records found: 4)"
    assert (part.container, part.offset, part.num_bytes) == (str(path), starts[4], len(whole) - starts[4])
    survey = Survey([Container(str(path), starts[4], "")], [Chunk(0, tuple(portions))], [part])
    assert survey.broken_fraction() == pytest.approx(0.6, abs=0.01)
    path.write_bytes(whole[: starts[4] - 1])
    assert "ends inside" in reasons(look(source(path))[1])
    assert "lists 6 records" in reasons(look(source(path))[1])


def test_a_cut_in_the_padding_alone_keeps_the_record_and_is_named(tmp_path: Path, write_rec, to_record, look) -> None:
    path = tmp_path / "train.rec"
    write_rec(path, [to_record(0, b"x" * 1001)])
    path.write_bytes(path.read_bytes()[:-1])
    (portion,), (part,) = look(source(path))
    assert portion.num_images == 1
    assert part.reason == (
        "the file ends inside the padding of its last record; it may be incomplete (records found: 1)"
    )
    assert Survey([Container(str(path), 1032, "")], [Chunk(0, (portion,))], [part]).broken_fraction() == 0


def test_a_header_that_announces_more_images_is_believed(tmp_path: Path, write_rec, to_record, look) -> None:
    path = tmp_path / "train.rec"
    images = [to_record(number, b"x" * 100) for number in range(6)]
    people = [to_record([1, 4]), to_record([4, 7])]
    starts = write_rec(path, [to_record([7, 9]), *images, *people])
    whole = path.read_bytes()
    assert look(source(path))[1] == []
    path.write_bytes(whole[: starts[-1]])  # the last of the records without an image is missing
    assert look(source(path))[1] == []
    path.write_bytes(whole[: starts[6]])
    assert reasons(look(source(path))[1]) == "its header announces 6 images, 1 more than there are; the file was cut"
    path.write_bytes(whole[: starts[5]])
    assert reasons(look(source(path))[1]) == ("its header announces 6 images, 2 more than there are; the file was cut")


@pytest.mark.parametrize("label", [[float("nan"), 1], [-5.0, 1], [0.0, 0.0], [2.5, 3], [1e30, 1], [float("inf"), 1]])
def test_a_header_that_announces_nothing_sensible_is_not_believed(
    tmp_path: Path, label: list[float], write_rec, to_record, look
) -> None:
    path = tmp_path / "train.rec"
    write_rec(path, [to_record(label), to_record(0, b"x")])
    assert look(source(path))[1] == []
