"""Every kind of comm against the same oracles, under its real launcher; and a rank that dies under it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.settings import UserError
from training.comm.launch import open_comm

REPO = Path(__file__).parents[3]
CHECK = REPO / "tests/training/collectives_check.py"
BIN = Path(sys.executable).parent
LAUNCHERS = {
    "horovod": (2, [BIN / "horovodrun", "-np", "2", "--gloo", sys.executable]),
    # Three, so that there is a group that does not begin with rank 0. Horovod's groups are torch's.
    "torch": (3, [BIN / "torchrun", "--nproc-per-node", "3"]),
}


def launch(command: list[str]) -> str:
    """Everything that the ranks say; the test fails where they do not come to an end."""
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=90)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parallel
@pytest.mark.parametrize("kind", ["horovod", "torch"])
def test_operations_are_those_of_numpy_and_a_lost_rank_is_an_error_for_the_others(kind):
    size, launcher = LAUNCHERS[kind]
    said = launch([*map(str, launcher), str(CHECK), kind])
    for rank in range(size):
        assert f"rank {rank} of {size} passed" in said, said
    assert "rank 0 received (1, tensor(7))" in said, said
    for name in ("last words", "nothing"):
        assert f"rank 0 lost rank 1: '{name}' failed on rank 0 of {size}: rank 1 is gone" in said, said
    assert "rank 0 got an error: 'orphan of a pair' failed on rank 0 of 2" in said, said
    assert f"rank 0 got an error: 'orphan' failed on rank 0 of {size}" in said, said


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize("kind", ["horovod", "torch"])
def test_a_rank_that_stands_still_is_named(kind, monkeypatch):
    monkeypatch.setenv("HOROVOD_GLOO_TIMEOUT_SECONDS", "3")
    launcher = [str(BIN / "torchrun"), "--nproc-per-node", "2"] if kind == "torch" else LAUNCHERS[kind][1]
    said = launch([*map(str, launcher), str(CHECK.with_name("comm") / "freeze_check.py"), kind])
    assert (
        "rank 0 got an error: 'gradients' failed on rank 0 of 2: rank 1 has not answered for 5 s, so it is" in said
    ), said


def test_torch_without_torchrun_says_how_to_start(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(UserError, match="torchrun --nproc-per-node"):
        open_comm("torch")


def test_a_horovod_that_does_not_load_is_one_line_with_both_versions_and_the_remedy(monkeypatch, tmp_path):
    # The real failure: the library was linked against symbols that this torch lacks.
    package = tmp_path / "horovod"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "torch.py").write_text("raise ImportError('mpi_lib_v2.so: undefined symbol: _ZN3c105ErrorC2E\\nmore')\n")
    for name in [name for name in sys.modules if name == "horovod" or name.startswith("horovod.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"^Horovod .* under torch \d.*undefined symbol.*`ringmill install`") as caught:
        open_comm("horovod")
    assert "\n" not in str(caught.value)
    for name in ("horovod", "horovod.torch"):
        sys.modules.pop(name, None)
