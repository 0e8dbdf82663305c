"""What cannot be built, in one line; what can is in test_objectives.py."""

import pytest
from torch import nn

from pipelines.settings import UserError
from training.objectives.settings import ObjectiveSettings
from training.settings import AdamWSettings
from training.testing.threads import run_threads

SHARDED = ObjectiveSettings(name="softmax", sharded=True)


def test_centres_that_adamw_should_update_cannot_be_shared_out(build):
    with pytest.raises(UserError, match=r"recipe.optimiser.name=adamw: .* updated by sgd"):
        build(SHARDED, num_classes=4, embedding_dim=2, optimiser=AdamWSettings())


def test_fewer_identities_than_ranks_cannot_be_shared_out(build):
    def work(comm):
        with pytest.raises(UserError, match=r"2 identities for 3 ranks; set objective.sharded=false"):
            build(SHARDED, num_classes=2, embedding_dim=2, comm=comm)

    run_threads(3, work)


def test_shared_out_centres_and_the_gallery_net_are_none_of_the_strategys_parameters(build):
    assert not list(build(SHARDED, num_classes=4, embedding_dim=2).parameters())
    pool = ObjectiveSettings(name="class_pool", margin=0.4, scale=32.0)
    objective = build(pool, num_classes=4, embedding_dim=2, backbone=nn.Linear(2, 2))
    assert not [p for p in objective.parameters() if p.requires_grad]
    assert not objective.local_updates
