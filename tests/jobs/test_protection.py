"""Rows of a reference that protect nothing: which count, and which are files beside the pictures."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.protection import Unread, find_unread, require_all_judged, require_readable
from pipelines.ingest import Survey
from pipelines.manifest import File, describe
from pipelines.settings import UserError
from pipelines.sources.chunks import Chunk
from pipelines.sources.entry import Portion
from pipelines.sources.settings import FolderSettings, ListSettings, SourceSettings
from training.evaluate.pairs import held

FOLDER, LIST = FolderSettings(path="/set"), ListSettings(path="/set.txt")


def written(folder: Path, rows: list[tuple[str, str]], image_id: str = "x") -> list[File]:
    """Records of (name, decode); a decoded row whose name begins with `flat` has no hash."""
    path = folder / "rows.parquet"
    hashes = [b"h" if fault == "ok" and not name.startswith("flat") else None for name, fault in rows]
    names, faults = ([row[place] for row in rows] for place in (0, 1))
    pq.write_table(
        pa.table({"source": names, "decode": faults, "hash": hashes, "image_id": [image_id] * len(rows)}), path
    )
    return [describe(folder, path)]


@pytest.mark.parametrize(
    ("name", "fault", "source", "is_lost"),
    [
        ("/set/a.jpg", "ok", FOLDER, False),
        ("flat", "ok", FOLDER, True),
        ("/set/a.jpg", "unreadable", FOLDER, True),
        ("/set/a.jpg", "truncated", FOLDER, True),
        ("/set/a.jpg", "not_an_image", FOLDER, True),  # a page of an error, saved under the picture's name
        ("/set/a.jpg", "empty", FOLDER, True),
        ("/set/subject01.glasses", "not_an_image", FOLDER, True),  # Yale's pictures have such names
        ("/set/0001", "not_an_image", FOLDER, True),
        ("/set/pairs.txt", "not_an_image", FOLDER, False),
        ("/set.tar!/lfw/README", "not_an_image", FOLDER, False),
        ("/set/.DS_Store", "not_an_image", FOLDER, False),
        ("/set/._a.jpg", "not_an_image", FOLDER, False),  # written by a Mac beside a.jpg
        ("/set/notes.txt", "unreadable", FOLDER, True),  # nobody knows what it holds
        ("/set/pairs.txt", "not_an_image", LIST, True),  # a list names pictures only
    ],
)
def test_a_row_is_lost_unless_it_is_known_to_be_no_picture(
    tmp_path: Path, name: str, fault: str, source: SourceSettings, is_lost: bool
) -> None:
    unread = find_unread(tmp_path, written(tmp_path, [("/set/b.jpg", "ok"), (name, fault)]), source)
    assert unread.count == int(is_lost)
    assert unread.first == (name if is_lost else "")


def survey_of(num_images: int) -> Survey:
    return Survey([], [Chunk(0, (Portion("/set", 0, num_images, num_images, 10),))], [])


@pytest.mark.parametrize(
    ("images", "lost", "beside", "allowed", "is_refused"),
    [
        (4, 0, 0, 0.0, False),
        (4, 1, 0, 0.0, True),
        (4, 1, 0, 0.24, True),
        (4, 1, 0, 0.25, False),
        (4, 4, 0, 1.0, True),
        (4, 3, 1, 1.0, True),  # every picture that there is
        (4, 0, 4, 1.0, True),  # no picture at all
    ],
)
def test_a_share_is_refused_above_what_is_allowed_and_a_whole_set_always(
    images: int, lost: int, beside: int, allowed: float, is_refused: bool
) -> None:
    unread = Unread({"corrupt": lost} if lost else {}, "/set/a.jpg" if lost else "", ("/set/README",) * beside)
    if not is_refused:
        require_readable("reference.sources[0]", FOLDER, survey_of(images), unread, allowed=allowed)
        return
    with pytest.raises(UserError, match=r"^reference.sources\[0\]=/set cannot be kept out of training") as raised:
        require_readable("reference.sources[0]", FOLDER, survey_of(images), unread, allowed=allowed)
    assert "\n" not in str(raised.value)


def test_a_judged_picture_that_ingestion_passed_over_is_named(tmp_path: Path) -> None:
    known = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # sha256 of b"a"
    files = written(tmp_path, [("/set/a.jpg", "ok")], known)
    require_all_judged("evaluate.sets.lfw", held(["a"], [b"a"]), tmp_path, files)
    with pytest.raises(UserError, match=r"^evaluate.sets.lfw: 1 of the 2 pictures .* the first behind-a-link; "):
        require_all_judged("evaluate.sets.lfw", held(["a", "behind-a-link"], [b"a", b"b"]), tmp_path, files)
