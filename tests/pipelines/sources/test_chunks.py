"""pipelines/sources/chunks: every portion once, in order, in units of bounded size that follow from the source."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.chunks import expected_chunks, plan_chunks
from pipelines.sources.entry import Portion
from pipelines.sources.settings import SOURCES, SourceSettings


def source(**values: object) -> SourceSettings:
    return SOURCES.validate({"kind": "tar", "path": "x", **values})


def portions(sizes: list[tuple[int, int]]) -> list[Portion]:
    return [Portion("x", place, place + 1, images, size) for place, (images, size) in enumerate(sizes)]


sizes = st.lists(st.tuples(st.integers(1, 600), st.integers(0, 3 << 20)), max_size=120)


@given(sizes=sizes, images=st.integers(1, 5000), num_bytes=st.integers(1 << 20, 8 << 20))
def test_every_portion_is_in_one_chunk_and_in_order(sizes: list[tuple[int, int]], images: int, num_bytes: int) -> None:
    found = portions(sizes)
    chunks = list(plan_chunks(found, source(chunk_images=images, chunk_bytes=num_bytes)))
    assert [portion for chunk in chunks for portion in chunk.portions] == found
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert chunk.portions
        assert chunk.num_images == sum(portion.num_images for portion in chunk.portions)
        if len(chunk.portions) > 1:
            assert chunk.num_images <= images
            assert sum(portion.num_bytes for portion in chunk.portions) <= num_bytes


@given(sizes=sizes, images=st.integers(1, 5000))
def test_neighbouring_chunks_would_not_fit_into_one(sizes: list[tuple[int, int]], images: int) -> None:
    total = sum(number for number, _ in sizes)
    most = min(images, max(512, total // 32))
    chunks = list(plan_chunks(portions(sizes), source(chunk_images=images)))
    for left, right in itertools.pairwise(chunks):
        assert left.num_images + right.portions[0].num_images > most


def test_a_source_without_an_image_is_no_work() -> None:
    assert list(plan_chunks([], source())) == []


@pytest.mark.parametrize(
    ("num_images", "bytes_each", "values"),
    [
        (1, 10_000, {}),
        (511, 10_000, {}),
        (513, 10_000, {}),
        (20_000, 5_000, {}),
        (1_000_000, 8_000, {}),
        (3_000_000, 200_000, {}),
        (20_000, 3_000_000, {}),
        (10_000, 10_000, {"chunk_images": 5}),
        (10_000, 10_000, {"chunk_images": 700}),
        (100_000, 100_000, {"chunk_bytes": 1 << 20}),
    ],
)
def test_the_expected_number_of_chunks_is_near_the_real_one(
    num_images: int, bytes_each: int, values: dict[str, int]
) -> None:
    chosen = source(**values)
    most_images, most_bytes = min(512, chosen.chunk_images), min(16 << 20, chosen.chunk_bytes)
    each = max(1, min(most_images, -(-most_bytes // bytes_each)))
    counts = [min(each, num_images - start) for start in range(0, num_images, each)]
    real = len(list(plan_chunks(portions([(count, count * bytes_each) for count in counts]), chosen)))
    expected = expected_chunks(num_images, num_images * bytes_each, chosen)
    assert real / 2 <= expected <= 2 * real


def test_many_cores_have_work_as_soon_as_there_is_some() -> None:
    for num_images, fewest in ((5_000, 9), (16_384, 32), (100_000, 32), (1_000_000, 123)):
        counts = [512] * (num_images // 512) + [num_images % 512] * (num_images % 512 > 0)
        chunks = list(plan_chunks(portions([(count, 0) for count in counts]), source()))
        assert len(chunks) >= fewest


def test_the_same_portions_give_the_same_chunks() -> None:
    rng = random.Random(0)
    found = portions([(rng.randint(1, 512), rng.randint(0, 16 << 20)) for _ in range(500)])
    assert list(plan_chunks(found, source())) == list(plan_chunks(list(found), source()))
