"""pipelines/sources/far_members: samples that lack what identifies them are joined with it, within limits."""

from pipelines.sources.entry import Portion
from pipelines.sources.far_members import Lonely, attach, attached
from pipelines.sources.tar import Sample
from pipelines.sources.tar_headers import Member


def member(name: str, header: int) -> Member:
    return Member(name.encode(), header, header + 512, 10)


def sample(header: int, key: str, *kinds: str) -> Sample:
    members = {kind: member(f"{key}.{kind}", header) for kind in kinds}
    pictures = [one for kind, one in members.items() if kind == "jpg"]
    return Sample(header, pictures, {kind: one for kind, one in members.items() if kind != "jpg"})


def key_of(one: Sample) -> bytes:
    return next(iter([*one.pictures, *one.sidecars.values()])).name.partition(b".")[0]


def identifying(one: Sample) -> dict[str, Member]:
    return {kind: found for kind, found in one.sidecars.items() if kind == "cls"}


def test_a_picture_is_joined_with_the_member_of_its_key() -> None:
    shard = [sample(0, "a", "jpg"), sample(1, "b", "jpg", "cls"), sample(2, "a", "cls"), sample(3, "c", "jpg")]
    lonely = Lonely(key_of, identifying)
    assert [lonely.see(one) for one in shard] == [True, False, False, True]
    assert lonely.num_identifying == 2
    assert lonely.join(shard) == ({0: {"cls": member("a.cls", 2)}}, 0)
    assert not list(lonely.breaks("s.tar", 0))


def test_both_parts_of_a_sample_are_joined_and_two_candidates_are_none() -> None:
    shard = [sample(0, "a", "jpg"), sample(1, "a", "jpg"), sample(2, "b", "jpg")]
    shard += [sample(3, "a", "cls"), sample(4, "b", "cls"), sample(5, "b", "cls")]
    lonely = Lonely(key_of, identifying)
    for one in shard:
        lonely.see(one)
    joined, twice = lonely.join(shard)
    assert (joined.keys(), twice) == ({0, 1}, 1)


def test_more_samples_than_fit_into_memory_are_left_out_and_noted() -> None:
    shard = [sample(number, f"{number}", "jpg") for number in range(5)]
    lonely = Lonely(key_of, identifying, max_keys=3)
    assert [lonely.see(one) for one in shard] == [True, True, True, False, False]
    (note,) = lonely.breaks("s.tar", 0)
    assert str(note) == (
        "s.tar: the members of more than 3 samples are no neighbours; sort the shard by name, "
        "for 2 images have no identity"
    )


def test_members_travel_with_the_portion_of_their_picture() -> None:
    joined = {5: {"cls": member("a.cls", 100)}, 10: {"json": member("b.json", 200)}}
    portion = attach(Portion("s.tar", 5, 10, 1, 1), joined)
    assert attached(portion) == {5: {"cls": Member(b"", 612, 612, 10)}}
    assert attach(Portion("s.tar", 6, 10, 1, 1), joined).joined == b""
    assert attached(Portion("s.tar", 6, 10, 1, 1)) == {}
