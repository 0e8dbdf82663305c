"""Progress is written seldom, whole, and last of all."""

from pathlib import Path

from jobs.progress import Progress, Reached, read_progress


def test_reports_between_two_writes_are_left_out_but_never_the_last(tmp_path: Path) -> None:
    path, now = tmp_path / "train.progress", 0.0
    progress = Progress(path, clock=lambda: now)
    seen = []
    for done in range(1, 101):
        now += 0.05
        progress(done, 100, f"at {done}")
        reached = read_progress(path)
        assert reached is not None
        seen.append(reached.done)
    assert len(set(seen)) == 11
    assert read_progress(path) == Reached(100, 100, "at 100")


def test_there_is_no_progress_before_the_first_report(tmp_path: Path) -> None:
    assert read_progress(tmp_path / "train.progress") is None


def test_nothing_but_the_progress_is_left_in_the_folder(tmp_path: Path) -> None:
    Progress(tmp_path / "train.progress")(1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["train.progress"]
