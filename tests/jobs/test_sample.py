"""The verb that draws a sample."""

from pathlib import Path

import pytest

from jobs.sample import draw
from pipelines.settings import UserError


def test_a_number_out_of_bounds_names_its_option(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--identities=1: must be at least 2$"):
        draw(tmp_path, identities=1, photos=3, seed=0, processes=1)
