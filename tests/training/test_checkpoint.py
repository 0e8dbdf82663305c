"""Checkpoints are whole or passed over, and every rank gets the same."""

import shutil
from dataclasses import replace

import pytest
import torch

from pipelines.settings import UserError
from training.checkpoint import MODEL_NAME, OPTIMISER_NAME, STATE_NAME, Contents, Position, latest, restore, save
from training.comm.local import LocalComm
from training.row_shards import RowShard
from training.testing.threads import run_threads


def position(step):
    return Position(step=step, epoch=0, step_in_epoch=step, seed=1, global_batch_size=8, world_size=2)


def contents(step):
    weight = torch.full((2, 3, 2, 2), float(step)).to(memory_format=torch.channels_last)
    optimiser = {"state": {0: {"momentum_buffer": weight, "step": 3}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return Contents(
        model={"weight": weight, "shared": weight, "count": torch.tensor(step)},
        objective={"centres": torch.ones(2, 2, dtype=torch.bfloat16)},
        optimiser=optimiser,
    )


def test_what_was_saved_comes_back_on_every_rank(tmp_path):
    save(tmp_path, position(5), contents(5), LocalComm(), keep=1)
    for found in run_threads(3, lambda comm: restore(tmp_path if comm.rank == 0 else tmp_path / "nowhere", comm)):
        assert found is not None
        there, loaded, path = found
        assert path.name == "checkpoint-5"
        assert there == position(5)
        for name in ("weight", "shared", "count"):
            assert torch.equal(loaded.model[name], contents(5).model[name])
        assert loaded.objective["centres"].dtype == torch.bfloat16
        assert torch.equal(loaded.optimiser["state"][0]["momentum_buffer"], contents(5).model["weight"])


def test_a_folder_without_checkpoints_gives_none_on_every_rank(tmp_path):
    assert run_threads(2, lambda comm: restore(tmp_path / "new", comm)) == [None, None]


def test_only_the_newest_are_kept_and_steps_are_numbers_not_words(tmp_path):
    for step in (2, 9, 10, 100):
        save(tmp_path, position(step), contents(step), LocalComm(), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-100"]
    assert latest(tmp_path) == tmp_path / "checkpoint-100"


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_one_bit, lambda path: path.unlink()])
@pytest.mark.parametrize("name", [MODEL_NAME, OPTIMISER_NAME, STATE_NAME])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage, name):
    for step in (1, 2):
        save(tmp_path, position(step), contents(step), LocalComm(), keep=2)
    damage(tmp_path / "checkpoint-2" / name)
    found = restore(tmp_path, LocalComm())
    # One flipped bit in state.json may leave it readable; it then still tells the truth about the other files.
    assert found is not None
    assert found[1].model["count"].item() == (2 if latest(tmp_path) == tmp_path / "checkpoint-2" else 1)
    assert name == STATE_NAME or found[0].step == 1


def test_a_damaged_or_half_written_leftover_makes_room_for_the_new(tmp_path):
    save(tmp_path, position(2), contents(2), LocalComm(), keep=2)
    truncate(tmp_path / "checkpoint-2" / MODEL_NAME)
    shutil.copytree(tmp_path / "checkpoint-2", tmp_path / "checkpoint-7")
    (tmp_path / ".checkpoint-3.99").mkdir()
    save(tmp_path, position(1), contents(1), LocalComm(), keep=2)
    save(tmp_path, position(2), contents(2), LocalComm(), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-2"]
    assert latest(tmp_path) == tmp_path / "checkpoint-2"


def test_a_pickle_in_place_of_the_optimiser_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").touch, ())

    bomb = Contents(model={}, objective={}, optimiser={"bomb": Bomb()})
    save(tmp_path, position(1), bomb, LocalComm(), keep=1)
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        restore(tmp_path, LocalComm())
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("damage", [truncate, flip_one_bit, lambda path: path.unlink()])
def test_a_checkpoint_with_one_ranks_rows_damaged_is_passed_over(tmp_path, damage):
    def work(comm):
        for step in (1, 2):
            rows = RowShard(3 * comm.rank, 6, {"weight": torch.full((3, 2), float(comm.rank))})
            save(tmp_path, position(step), replace(contents(step), rows=rows), comm, keep=2)
            comm.barrier()

    run_threads(2, work)
    assert latest(tmp_path) == tmp_path / "checkpoint-2"
    damage(tmp_path / "checkpoint-2" / "rows-00001-of-00002.safetensors")
    assert latest(tmp_path) == tmp_path / "checkpoint-1"


def test_a_rank_that_does_not_see_the_folder_says_so(tmp_path):
    def work(comm):
        rows = RowShard(comm.rank, 2, {"weight": torch.zeros(1, 2)})
        folder = tmp_path if comm.rank == 0 else tmp_path / "elsewhere"
        save(folder, position(1), replace(contents(1), rows=rows), comm, keep=1)

    with pytest.raises(UserError, match=r"rank 1 does not see .*elsewhere"):
        run_threads(2, work)
