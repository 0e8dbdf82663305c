"""Properties of the drawing, and a dataset written by hand to follow the pairs to their bytes."""

import zlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines import manifest
from pipelines.columns import DATASET
from pipelines.settings import UserError
from training.evaluate.val_pairs import draw_pairs, load_val_pairs
from training.feed.location import Location


def _split(num_people, per_person):
    labels = [person for person in range(num_people) for _ in range(per_person)]
    return labels, [f"{row:04d}" for row in range(len(labels))]


def _as_ids(draw, image_ids):
    rows = zip(draw.left, draw.right, draw.is_same, draw.fold, strict=True)
    return [(*sorted((image_ids[a], image_ids[b])), bool(same), int(fold)) for a, b, same, fold in rows]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=30), st.integers(4, 200), st.integers(2, 5), st.integers(0, 9))
def test_drawn_pairs_are_true_new_balanced_and_within_the_wish(sizes, num_pairs, folds, seed):
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    try:
        draw = draw_pairs(labels, [str(row) for row in range(len(labels))], num_pairs=num_pairs, folds=folds, seed=seed)
    except UserError:
        assume(False)
    drawn = list(zip(draw.left, draw.right, draw.is_same, draw.fold, strict=True))
    assert all((labels[a] == labels[b]) == same and a != b for a, b, same, _ in drawn)
    assert len({frozenset((a, b)) for a, b, *_ in drawn}) == len(drawn) <= num_pairs
    assert {fold for *_, fold in drawn} == set(range(folds))
    for fold in range(folds):
        kinds = Counter(bool(same) for *_, same, at in drawn if at == fold)
        assert kinds[True] == kinds[False]
    if not draw.folds_share_people:
        folds_of = {label: {f for a, b, _, f in drawn if label in (labels[a], labels[b])} for label in set(labels)}
        assert max(map(len, folds_of.values())) <= 1


def test_where_there_are_enough_people_the_folds_share_none():
    labels, image_ids = _split(40, 5)
    draw = draw_pairs(labels, image_ids, num_pairs=200, folds=10, seed=0)
    assert not draw.folds_share_people
    assert len(draw.left) == 200


def test_few_classes_are_shared_by_the_folds():
    labels, image_ids = _split(3, 30)
    draw = draw_pairs(labels, image_ids, num_pairs=100, folds=10, seed=0)
    assert draw.folds_share_people
    assert len(draw.left) == 100


def test_the_pairs_follow_the_content_and_not_the_order_of_the_rows():
    labels, image_ids = _split(20, 4)
    shuffled = np.random.default_rng(0).permutation(len(labels))
    one = draw_pairs(labels, image_ids, num_pairs=60, folds=5, seed=1)
    two = draw_pairs([labels[r] for r in shuffled], [image_ids[r] for r in shuffled], num_pairs=60, folds=5, seed=1)
    assert _as_ids(one, image_ids) == _as_ids(two, [image_ids[r] for r in shuffled])
    other_seed = draw_pairs(labels, image_ids, num_pairs=60, folds=5, seed=2)
    assert _as_ids(one, image_ids) != _as_ids(other_seed, image_ids)


def test_no_person_outweighs_the_others():
    labels = [0] * 50 + [label for label in range(1, 9) for _ in range(5)]
    draw = draw_pairs(labels, [str(row) for row in range(len(labels))], num_pairs=64, folds=2, seed=0)
    turns = Counter(labels[a] for a, same in zip(draw.left, draw.is_same, strict=True) if same)
    assert max(turns.values()) - min(turns.values()) <= 1


@pytest.mark.parametrize(("num_people", "per_person"), [(40, 1), (1, 40), (0, 0), (2, 2)])
def test_a_split_without_enough_pairs_is_refused(num_people, per_person):
    labels, image_ids = _split(num_people, per_person)
    with pytest.raises(UserError, match="too few pairs for 10 folds"):
        draw_pairs(labels, image_ids, num_pairs=100, folds=10, seed=0)


@pytest.fixture
def dataset(tmp_path):
    """Two shards of three row groups; every picture holds its label and its id."""
    labels, image_ids = _split(12, 5)
    files = []
    for shard, split in ((0, "val"), (1, "val"), (2, "train")):
        rows = range(shard * 30, shard * 30 + 30) if split == "val" else range(10)
        images = [f"{labels[row]} {image_ids[row]}".encode() for row in rows]
        columns = [[image_ids[r] for r in rows], [labels[r] for r in rows], images, [zlib.crc32(i) for i in images]]
        path = tmp_path / split / f"{shard:05d}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns, schema=DATASET), path, row_group_size=10)
        groups = tuple(manifest.RowGroup(rows=10, num_bytes=100) for _ in range(len(rows) // 10))
        files.append(manifest.describe(tmp_path, path, rows=len(rows), row_groups=groups))
    manifest.write(
        tmp_path,
        manifest.Manifest(
            kind="dataset", fingerprint="f", parents={}, settings={}, code_version="c", counts={}, files=tuple(files)
        ),
    )
    return tmp_path


def test_pairs_of_a_dataset_lead_to_their_pictures(dataset):
    pairs = load_val_pairs(Location(dataset), num_pairs=40, folds=4, seed=0)
    shown = [pairs.pictures.read(place, place + 1)[0].decode().split() for place in range(len(pairs.pictures))]
    assert [image_id for _, image_id in shown] == list(pairs.pictures.names)
    assert [" ".join(pair) for pair in shown] == [image.decode() for image in pairs.pictures.read(0, len(shown))]
    assert len(pairs) == 40
    for left, right, is_same in zip(pairs.left, pairs.right, pairs.is_same, strict=True):
        assert (shown[left][0] == shown[right][0]) == is_same
        assert shown[left][1] != shown[right][1]


def test_a_picture_that_was_altered_is_refused(dataset):
    pairs = load_val_pairs(Location(dataset), num_pairs=40, folds=4, seed=0)
    path = dataset / "val" / "00000.parquet"
    table = pq.read_table(path)
    altered = table.set_column(2, "image", pa.array([b"other"] * 30, pa.binary()))
    pq.write_table(altered, path, row_group_size=10)
    with pytest.raises(UserError, match=r"00000\.parquet: row \d+ of row group \d .*its digest differs"):
        pairs.pictures.read(0, len(pairs.pictures))


def test_pairs_come_from_wherever_the_dataset_lies(dataset):
    here = load_val_pairs(Location(dataset), num_pairs=40, folds=4, seed=0)
    there = load_val_pairs(Location(f"file://{dataset}"), num_pairs=40, folds=4, seed=0)
    assert there.pictures.names == here.pictures.names
    assert there.pictures.read(3, 9) == here.pictures.read(3, 9)
