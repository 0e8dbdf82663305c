"""From settings to an objective."""

from training.objectives.base_settings import ObjectiveSettings
from training.objectives.context import ObjectiveContext
from training.objectives.objective import Objective
from training.objectives.settings import OBJECTIVES


def build_objective(settings: ObjectiveSettings, context: ObjectiveContext) -> Objective:
    """The objective with freshly drawn parameters, on the device.

    Centres that all ranks hold depend on torch's seed alone, sharded ones on the run's seed.
    """
    objective: Objective = OBJECTIVES.builder(settings)(settings, context)
    return objective.to(context.device)
