"""From settings to a strategy."""

from training.strategies.context import StrategyContext
from training.strategies.settings import STRATEGIES, StrategySettings
from training.strategies.strategy import Strategy


def build_strategy(settings: StrategySettings, context: StrategyContext) -> Strategy:
    """The strategy over the trainable parameters of the modules; a collective, since all ranks start from rank 0."""
    strategy: Strategy = STRATEGIES.builder(settings)(settings, context)
    return strategy
