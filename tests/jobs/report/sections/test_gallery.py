"""Tiles are decoded again by Pillow."""

import base64
import hashlib
import io

from PIL import Image

from jobs.report.artefact import open_artefact
from jobs.report.sections.gallery import build_galleries
from jobs.report.tiles import SIDE_PX


def _galleries(built):
    return build_galleries(*(open_artefact(built.artefacts[kind]) for kind in ("records", "decisions")))


def _shown(tile):
    prefix, text = tile.uri.split(",")
    assert prefix == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


def _repaint(built, image):
    """One rejected picture becomes a large one."""
    row = next(row for row in built.rows if row["status"] == "rejected")
    row["image"], row["image_id"] = image, hashlib.sha256(image).hexdigest()
    return row["source"]


def test_readable_pictures_are_shown_and_the_others_name_their_fault(built):
    shelves = {shelf.name: shelf.tiles for shelf in _galleries(built).rejected}
    assert all(_shown(tile).size == (40, 30) and tile.fault == "" for tile in shelves["too_blurred"])
    assert [(tile.uri, tile.fault) for tile in shelves["unreadable_truncated"]] == [("", "truncated")]
    assert [(tile.uri, tile.fault) for tile in shelves["unreadable_not_an_image"]] == [("", "not_an_image")]


def test_large_pictures_are_made_small_and_keep_shape_and_colour(built, rebuild):
    stream = io.BytesIO()
    Image.new("RGB", (600, 300), (200, 30, 60)).save(stream, "PNG")
    source = _repaint(built, stream.getvalue())
    tiles = [tile for shelf in _galleries(rebuild("large", built.rows)).rejected for tile in shelf.tiles]
    (tile,) = (tile for tile in tiles if tile.decision.source == source)
    shown = _shown(tile)
    assert shown.size == (SIDE_PX, SIDE_PX // 2)
    assert all(abs(a - b) < 6 for a, b in zip(shown.getpixel((9, 9)), (200, 30, 60), strict=True))


def test_duplicates_and_conflicts_have_their_pictures(built):
    galleries = _galleries(built)
    assert [len(shelf.tiles) for shelf in galleries.duplicates] == [4]
    assert [len(shelf.tiles) for shelf in galleries.conflicts] == [2]
    assert all(tile.uri for shelf in [*galleries.duplicates, *galleries.conflicts] for tile in shelf.tiles)


def test_a_decision_whose_record_is_gone_says_so(built, rebuild):
    built.artefacts["records"] = rebuild("fewer", built.rows[:12]).artefacts["records"]
    assert {tile.fault for shelf in _galleries(built).conflicts for tile in shelf.tiles} == {"not among the records"}
