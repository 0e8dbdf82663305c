"""A driver of the test river, to be killed: python -m mill_drive RUN_YAML."""

import sys
from pathlib import Path

from mill_settings import MillSettings
from mill_stages import STAGES
from rich.console import Console

from jobs.listeners.screen import Screen
from jobs.run import drive
from jobs.settings import load

if __name__ == "__main__":
    with Screen(Console()) as screen:
        drive(load(Path(sys.argv[1]), MillSettings), [screen], STAGES)
