"""The first stage of the test river; its section says how it behaves."""

import os
import subprocess
import sys
import time
from pathlib import Path

from mill_settings import MillSettings
from mill_stages import STAGES

from jobs.entry import JobContext, run_job
from pipelines.manifest import clear, describe
from pipelines.settings import UserError


def work(context: JobContext) -> None:
    section = context.settings.grind
    fault = section.fault
    tried = context.run_folder / "tried"
    if fault == "crash" or (fault == "crash once" and not tried.exists()):
        tried.touch()
        raise RuntimeError("the stone broke\nin two")
    if fault == "user":
        raise UserError("grind.grain=gravel cannot be ground; give it wheat")
    if fault == "no manifest":
        return
    time.sleep(section.seconds)
    if fault == "hang once" and not Path(section.pids).exists():
        _hang(Path(section.pids), is_deaf=False)
    elif fault.startswith("hang") and fault != "hang once":
        _hang(Path(section.pids), is_deaf=fault == "hang deaf")
    if section.pids:
        # Whoever works says so, for tests of several drivers.
        Path(section.pids).with_name(f"worked-{os.getpid()}").touch()
    clear(context.folder)
    path = context.folder / "rows" / "flour.txt"
    path.parent.mkdir()
    path.write_text("flour\n" * section.rows)
    context.progress(section.rows, section.rows, f"{section.rows} rows of flour")
    files = [describe(context.folder, path, rows=section.rows)]
    context.finish(counts={"rows": section.rows}, files=files, facts={"notes": list(section.notes)})


def _hang(pids: Path, *, is_deaf: bool) -> None:
    """Sleep, and so does a grandchild that has left for a session of its own; a deaf one ignores requests to end."""
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if is_deaf else ""
    code = f"import signal, time; {ignore}time.sleep(600)"
    grandchild = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    pids.with_suffix(".part").write_text(f"{os.getpid()} {os.getppid()} {grandchild.pid}")
    pids.with_suffix(".part").replace(pids)
    time.sleep(600)


if __name__ == "__main__":
    sys.exit(run_job("grind", work, stages=STAGES, model=MillSettings))
