"""A weighted sum of objectives over the same features, such as identification and verification (DeepID2,
arXiv 1406.4773, equation 5).

The terms are named, and their losses before weighting are the parts of the loss.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from training.local_update import LocalUpdate
from training.objectives.build import build_objective
from training.objectives.context import ObjectiveContext
from training.objectives.loss import Loss
from training.objectives.objective import Objective
from training.objectives.settings import SumSettings
from training.row_shards import RowShard


class WeightedSum(Objective):
    """``sum of weight x loss``; a collective where a term is one."""

    def __init__(self, terms: Mapping[str, Objective], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.terms = nn.ModuleDict(terms)
        self._weights = dict(weights)

    def forward(self, features_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Features (B, D) and labels (B,) of one rank -> the weighted sum, a scalar."""
        return self.loss(features_BD, labels_B).total

    def loss(self, features_BD: Tensor, labels_B: Tensor) -> Loss:
        losses = {name: term(features_BD, labels_B) for name, term in self.terms.items()}
        total: Tensor = sum(self._weights[name] * loss for name, loss in losses.items())
        return Loss(total, losses)

    @property
    def local_updates(self) -> Sequence[LocalUpdate]:
        return tuple(local for term in self._objectives().values() for local in term.local_updates)

    @property
    def local_rows(self) -> RowShard | None:
        """The tables of all terms, which have a row for each class, under the names of their terms."""
        shards = {name: rows for name, term in self._objectives().items() if (rows := term.local_rows) is not None}
        if not shards:
            return None
        first, *_ = shards.values()
        tables = {f"{name}.{key}": table for name, shard in shards.items() for key, table in shard.tables.items()}
        return RowShard(first.first, first.total, tables)

    def _objectives(self) -> dict[str, Objective]:
        return {name: term for name, term in self.terms.items() if isinstance(term, Objective)}


def build(settings: SumSettings, context: ObjectiveContext) -> WeightedSum:
    """The objectives of the terms, in their order."""
    terms = {name: build_objective(term.objective, context) for name, term in settings.terms.items()}
    return WeightedSum(terms, {name: term.weight for name, term in settings.terms.items()})
