"""The surroundings of a job: the file systems on which it writes, and the memory that its place gives it."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.places.settings import ClusterSettings, PlaceSettings
from jobs.settings import RunSettings
from jobs.wording import size_of

_SCRATCH = "spark.local.dir"
_ALMOST_FULL = 0.03  # of a file system that is free
_FULL_BYTES = 1 << 16


@dataclass(frozen=True)
class Surroundings:
    """The facts by which a fault is explained: settings of the place, and setting or variable -> folder written to."""

    place: PlaceSettings
    launcher: str
    folders: Mapping[str, Path]

    @classmethod
    def of(cls, settings: RunSettings, launcher: str) -> "Surroundings":
        """The surroundings of the stages of one launcher."""
        folders = {"store": settings.store, "runs": settings.folder}
        if launcher == "spark":
            given = settings.place.spark_conf.get(_SCRATCH) or os.environ.get("SPARK_LOCAL_DIRS", "")
            scratch = [folder for folder in given.split(",") if folder] or [tempfile.gettempdir()]
            folders |= {f"place.spark_conf.{_SCRATCH}": Path(folder) for folder in scratch[:1]}
        else:
            folders |= {"TMPDIR": Path(tempfile.gettempdir())}
        if launcher == "ranks" and settings.feed.cache_dir is not None:
            folders["feed.cache_dir"] = settings.feed.cache_dir
        return cls(settings.place, launcher, folders)

    @property
    def is_cluster(self) -> bool:
        """True where Spark's executors run elsewhere."""
        return isinstance(self.place, ClusterSettings)

    def full_file_system(self, *, is_certain: bool = True) -> str | None:
        """A line on the fullest file system; None where none is full.

        Args:
            is_certain: one was full, so that the fullest may have a little room again.
        """
        measured = {setting: _Space.of(folder) for setting, folder in self.folders.items()}
        known = {setting: space for setting, space in measured.items() if space is not None}
        if not known:
            return None
        setting = min(known, key=lambda one: known[one].free_share)
        space = known[setting]
        if not (space.is_full or (is_certain and space.free_share < _ALMOST_FULL)):
            return None
        left = "no free inode" if space.free_inodes == 0 else f"{size_of(space.free)} of {size_of(space.total)} free"
        return (
            f"the file system at {space.mount}, where {setting}={self.folders[setting]} lies, is full ({left}); "
            f"make room there, or set {setting} to a folder on another one"
        )

    def listed(self) -> str:
        """The folders and the room that is left there."""
        spaces = {setting: _Space.of(folder) for setting, folder in self.folders.items()}
        return ", ".join(
            f"{setting}={self.folders[setting]} ({size_of(space.free)} free at {space.mount})"
            for setting, space in spaces.items()
            if space is not None
        )

    def memory_remedy(self) -> str:
        """The settings by which a process of the stage needs less memory."""
        if self.launcher == "ranks":
            feed = "feed.prefetch_batches or feed.shuffle_row_groups"
            return f"lower recipe.batch_size, {feed}, or use fewer ranks on each host"
        if self.launcher == "spark" and self.is_cluster:
            return "lower place.driver_memory, or give executors less work at a time (spark.executor.cores)"
        if self.launcher == "spark":
            return "lower the number of cores in place.master, or place.driver_memory if the machine has less"
        return "free memory on this machine"


@dataclass(frozen=True)
class _Space:
    """The room on the file system of a folder, in bytes."""

    mount: Path
    free: int
    total: int
    free_inodes: int | None  # None = this file system has no fixed number of them

    @classmethod
    def of(cls, folder: Path) -> "_Space | None":
        folder = folder.absolute()
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        try:
            found = os.statvfs(folder)
        except OSError:
            return None
        mount = next((one for one in (folder, *folder.parents) if os.path.ismount(one)), Path("/"))
        inodes = found.f_favail if found.f_files else None
        return cls(mount, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, inodes)

    @property
    def free_share(self) -> float:
        return 0.0 if self.free_inodes == 0 or not self.total else self.free / self.total

    @property
    def is_full(self) -> bool:
        return self.free < _FULL_BYTES or self.free_inodes == 0
