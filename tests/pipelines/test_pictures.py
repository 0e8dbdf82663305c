"""pipelines/pictures: a picture under an image_id of another is named, and so is the folder to remove."""

import hashlib

import pytest

from pipelines.pictures import check_pictures
from pipelines.settings import UserError

PICTURES = [b"one", b"", b"three" * 1000]
IDS = [hashlib.sha256(picture).hexdigest() for picture in PICTURES]


def test_pictures_under_their_own_digests_pass() -> None:
    check_pictures(IDS, map(memoryview, PICTURES), records="store/records/r")


@pytest.mark.parametrize("place", range(3))
def test_one_that_differs_is_named(place: int) -> None:
    damaged = [b"another" if at == place else picture for at, picture in enumerate(PICTURES)]
    with pytest.raises(UserError, match=rf"{IDS[place]} was altered .*; remove store/records/r, and the next run"):
        check_pictures(IDS, damaged, records="store/records/r")
