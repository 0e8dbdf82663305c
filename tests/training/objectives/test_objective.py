"""The interface of objectives."""

import pytest

from training.objectives.objective import Objective


def test_an_objective_without_a_loss_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="forward"):
        Objective()  # type: ignore[abstract]
