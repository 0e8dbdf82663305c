"""A sum of objectives against its terms, each built alone."""

import torch

from training.comm.local import LocalComm
from training.feed.batch import Batch
from training.objectives.settings import OBJECTIVES, SumSettings
from training.testing.threads import run_threads

VERIFICATION = {"name": "contrastive", "margin": 1.0}
SHARDED = {"name": "softmax", "centres": {"kind": "sharded"}}
IMAGES = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 1, 0, 2, 2])


def settings_of(identification):
    terms = {
        "identification": {"weight": 0.5, "objective": identification},
        "verification": {"weight": 2.0, "objective": VERIFICATION},
    }
    return SumSettings.model_validate({"name": "sum", "terms": terms})


def test_the_total_is_the_weighted_sum_of_the_named_parts_and_the_images_are_embedded_once(build):
    torch.manual_seed(0)
    whole = build(settings_of({"name": "softmax"}), num_classes=3, embedding_dim=4)
    torch.manual_seed(0)
    softmax = build(OBJECTIVES.validate({"name": "softmax"}), num_classes=3, embedding_dim=4)
    contrastive = build(OBJECTIVES.validate(VERIFICATION), num_classes=3, embedding_dim=4)
    embedded = []

    def embed(net, images):
        embedded.append(images)
        return net(images)

    batch = Batch(IMAGES, LABELS, [""] * 6)
    loss = whole.compute(batch, torch.nn.Identity(), embed)
    expected = {"identification": softmax(IMAGES, LABELS), "verification": contrastive(IMAGES, LABELS)}
    assert len(embedded) == 1
    assert list(loss.parts) == ["identification", "verification"]
    assert all(torch.equal(loss.parts[name], value) for name, value in expected.items())
    assert torch.equal(loss.total, 0.5 * expected["identification"] + 2.0 * expected["verification"])
    loss.total.backward()
    assert whole.terms["identification"].centres.weight_CD.grad is not None


def test_sharded_centres_of_a_term_are_updated_and_saved_by_the_sum(build):
    def work(comm):
        whole = build(settings_of(SHARDED), num_classes=3, embedding_dim=4, comm=comm, seed=5)
        alone = build(OBJECTIVES.validate(SHARDED), num_classes=3, embedding_dim=4, comm=comm, seed=5)
        rows = whole.local_rows
        assert (rows.first, rows.total) == (alone.local_rows.first, alone.local_rows.total)
        assert set(rows.tables) == {"identification.weight", "identification.velocity"}
        assert torch.equal(rows.tables["identification.weight"], alone.local_rows.tables["weight"])
        mine = slice(3 * comm.rank, 3 * comm.rank + 3)
        whole.loss(IMAGES[mine], LABELS[mine]).total.backward()
        [local] = whole.local_updates
        assert local.squared_norm() > 0

    run_threads(2, work)


def test_terms_without_rows_have_none_together(build):
    whole = build(settings_of({"name": "softmax"}), num_classes=3, embedding_dim=4, comm=LocalComm())
    assert whole.local_rows is None
    assert not whole.local_updates
