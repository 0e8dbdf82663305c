"""Which file shows which photo."""

from collections import Counter

import pytest
from pydantic import ValidationError

from pipelines.sample.planted_faults import CONFLICTS, COPIES, OWN_PHOTO, PLANTED_FAULTS
from pipelines.sample.sample_plan import PlannedFile, plan_sample
from pipelines.sample.settings import SampleSettings
from pipelines.settings import UserError


def _files(settings: SampleSettings) -> list[PlannedFile]:
    return [file for album in plan_sample(settings) for file in album]


def test_the_usual_sample_has_its_shares_of_every_fault() -> None:
    counts = Counter(file.fault for file in _files(SampleSettings()))
    assert counts.pop("") == 1200
    assert all(counts[fault.name] == 24 for fault in COPIES + CONFLICTS)
    assert all(counts[fault.name] == 6 for fault in OWN_PHOTO)
    assert set(counts) == set(PLANTED_FAULTS)


def test_every_identity_keeps_its_clean_photos() -> None:
    clean = Counter(file.identity for file in _files(SampleSettings(identities=7, photos=12)) if not file.fault)
    assert sorted(clean.values()) == [12] * 7


def test_paths_are_unique_and_lie_in_the_folder_of_their_identity() -> None:
    files = _files(SampleSettings(identities=6, photos=8))
    assert len({file.path for file in files}) == len(files)
    assert all(file.path.startswith(f"{file.identity}/") for file in files)


def test_every_copy_names_a_clean_original_of_its_own() -> None:
    files = _files(SampleSettings(identities=6, photos=8))
    by_path = {file.path: file for file in files}
    copies = [file for file in files if file.of]
    assert {file.fault for file in copies} == {fault.name for fault in COPIES + CONFLICTS}
    assert len({file.of for file in copies}) == len(copies)
    for copy in copies:
        original = by_path[copy.of]
        assert original.fault == ""
        assert (original.identity != copy.identity) == (copy.fault == "conflict")
        assert original.expected == ("conflict" if copy.fault == "conflict" else "kept")


def test_faults_with_a_photo_of_their_own_share_it_with_nobody() -> None:
    for album in plan_sample(SampleSettings(identities=6, photos=8)):
        own = [file.photo for file in album if not file.of]
        assert sorted(own) == list(range(len(own)))


def test_another_seed_plants_elsewhere() -> None:
    first, second = (plan_sample(SampleSettings(identities=6, photos=8, seed=seed)) for seed in (0, 1))
    assert first != second


def test_a_set_too_small_for_its_copies_is_refused_with_a_remedy() -> None:
    with pytest.raises(UserError, match=r"8 clean photos, which cannot carry 24 copies.*raise one of the two"):
        plan_sample(SampleSettings(identities=2, photos=4))


def test_sides_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(UserError, match="min_side_px=200 is above max_side_px=150"):
        plan_sample(SampleSettings(min_side_px=200, max_side_px=150))


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="identites"):
        SampleSettings.model_validate({"identites": 5})
