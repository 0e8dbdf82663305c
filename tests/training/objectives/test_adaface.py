"""AdaFace's running figures against numpy, on one rank and on several."""

import numpy as np
import torch

from training.objectives.adaface import AdaFace
from training.objectives.head_settings import AdaFaceSettings
from training.objectives.margin import adaface
from training.testing.threads import run_threads

NORMS = np.random.default_rng(0).uniform(1, 60, size=(3, 8))
COSINE_BC = torch.tensor(np.random.default_rng(1).uniform(-0.9, 0.9, size=(8, 4)))
LABELS_B = torch.tensor([0, 1, 2, 3, 0, 1, -1, 3])


def running_figures(norms):
    mean, std = 20.0, 100.0
    for row in norms:
        mean, std = 0.99 * mean + 0.01 * row.mean(), 0.99 * std + 0.01 * row.std(ddof=1)
    return mean, std


def test_the_margin_follows_the_running_mean_and_deviation_of_the_norms():
    head = AdaFace(AdaFaceSettings(), gather=None).double()
    for row in NORMS:
        logits = head(COSINE_BC, LABELS_B, torch.tensor(row))
    mean, std = running_figures(NORMS)
    strength = np.clip(0.333 * (NORMS[-1] - mean) / (std + 1e-3), -1, 1)
    expected = adaface(COSINE_BC, LABELS_B, torch.tensor(strength), margin=0.4, scale=64.0)
    torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)


def test_ranks_that_see_parts_keep_the_figures_of_the_whole():
    def work(comm):
        head = AdaFace(AdaFaceSettings(), gather=lambda norms: comm.allgather(norms, name="n")).double()
        part = slice(comm.rank * 4, comm.rank * 4 + 4)
        for row in NORMS:
            head(COSINE_BC[part], LABELS_B[part], torch.tensor(row[part]))
        return head.mean.item(), head.std.item()

    first, second = run_threads(2, work)
    assert first == second
    np.testing.assert_allclose(first, running_figures(NORMS), rtol=1e-6)


def test_evaluation_counts_nothing_and_norms_beyond_the_limits_are_cut():
    head = AdaFace(AdaFaceSettings(momentum=1.0, scale=1.0), gather=None).eval()
    head(COSINE_BC.float(), LABELS_B, torch.full((8,), 7.0))
    assert (head.mean.item(), head.std.item()) == (20, 100)
    head.train()(COSINE_BC.float(), LABELS_B, torch.full((8,), 1e6))
    assert head.mean.item() == 100
