"""Classification over all classes: the softmax cross-entropy of centres, with a margin or without.

Plain softmax takes inner products (no bias), ArcFace (arXiv 1801.07698), CosFace (arXiv 1801.09414) and AdaFace (arXiv
2204.00964) cosines. Not as in the papers: nothing but what ``margin`` and ``adaface`` say. Every rank holds all
centres; ``partial_fc`` shares them out.
"""

from torch import Tensor
from torch.nn import functional

from training.objectives.centres import ClassCentres
from training.objectives.logits import Logits
from training.objectives.objective import Objective


class Softmax(Objective):
    """Mean cross-entropy of the rank's batch."""

    def __init__(self, centres: ClassCentres, logits: Logits) -> None:
        super().__init__()
        self.centres = centres
        self.logits = logits

    def forward(self, features_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Features (B, D) and labels (B,) -> the mean loss, a scalar in the centres' dtype."""
        return functional.cross_entropy(self.logits(features_BD, self.centres.weight_CD, labels_B), labels_B)
