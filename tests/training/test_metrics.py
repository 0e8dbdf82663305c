"""The log of a run survives being cut off anywhere."""

import json
import math

import pytest

from training.metrics import MetricsLog


def test_rows_after_the_checkpoint_and_a_cut_off_last_line_are_forgotten(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    log = MetricsLog(path)
    log.truncate(0)
    for step in (1, 2, 2, 3):
        log.append({"step": step})
    path.write_text(path.read_text() + '{"step": 4, "lo')
    log.truncate(2)
    log.append({"step": 3, "again": True})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1},
        {"step": 2},
        {"step": 2},
        {"step": 3, "again": True},
    ]


def test_a_number_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        MetricsLog(tmp_path / "metrics.jsonl").append({"step": 1, "loss": math.nan})
