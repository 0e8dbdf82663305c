"""Whatever a picture does to its decoder, it gets a named outcome, and the next one its pixels."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from pipelines import decode_faults
from pipelines.formats.signatures import reads_heif
from pipelines.guard import PLAIN_BYTES, guarded_decode, is_plain
from pipelines.helper import WALL_FACTOR
from pipelines.measure import examine
from pipelines.pixels import Decoded, DecodeError, decode
from pipelines.settings import PixelSettings

reads_heif()

SETTINGS = PixelSettings()
NOISE = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
GUARDED = ("GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")
ROOT = Path(__file__).resolve().parents[2]


def encoded(picture: Image.Image, picture_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, picture_format, **options)
    return stream.getvalue()


def large(side: int) -> Image.Image:
    coarse = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


WEBP = encoded(Image.fromarray(NOISE), "WEBP", lossless=True)
SLOW = encoded(large(1_500), "JPEG2000")  # takes about half a second


def fault_of(data: bytes, settings: PixelSettings = SETTINGS) -> str:
    with pytest.raises(DecodeError) as caught:
        guarded_decode(data, settings)
    return caught.value.fault


def helpers(parent: int | None = None) -> list[psutil.Process]:
    """The helpers among the children of a process, dead ones too."""
    found = []
    for child in psutil.Process(parent).children():
        if child.status() == psutil.STATUS_ZOMBIE or "pipelines.helper_child" in child.cmdline():
            found.append(child)
    return found


def the_helper() -> psutil.Process:
    (helper,) = helpers()
    assert helper.status() != psutil.STATUS_ZOMBIE
    return helper


def assert_all_is_well(settings: PixelSettings = SETTINGS) -> None:
    assert np.array_equal(guarded_decode(WEBP, settings).rgb, NOISE)
    the_helper()


Mutants = Callable[..., Iterator[bytes]]
Meddle = Callable[[Callable[[], object]], None]


@pytest.fixture
def meddle() -> Iterator[Meddle]:
    """Do something again and again, from another thread, until the test ends."""
    is_over = threading.Event()
    threads: list[threading.Thread] = []

    def start(deed: Callable[[], object]) -> None:
        def work() -> None:
            while not is_over.wait(0.1):
                deed()

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield start
    is_over.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", *GUARDED])
def test_the_outcome_is_that_of_the_process_itself(picture_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(NOISE), picture_format, exif=exif.tobytes())
    here, there = decode(data, SETTINGS), guarded_decode(data, SETTINGS)
    assert np.array_equal(there.rgb, here.rgb)
    assert there.rgb.flags.c_contiguous
    assert (there.format, there.mode, there.orientation) == (here.format, here.mode, here.orientation)


@pytest.mark.parametrize("picture_format", GUARDED)
def test_the_fault_is_that_of_the_process_itself(picture_format: str) -> None:
    data = encoded(Image.fromarray(NOISE), picture_format)
    with pytest.raises(DecodeError) as here:
        decode(data[: len(data) // 2], SETTINGS)
    assert fault_of(data[: len(data) // 2]) == here.value.fault
    assert fault_of(data, PixelSettings(max_pixels=599)) == decode_faults.TOO_MANY_PIXELS


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", *GUARDED])
def test_only_jpeg_and_png_stay_in_the_process(picture_format: str) -> None:
    data = encoded(Image.fromarray(NOISE), picture_format)
    assert is_plain(data, SETTINGS) == (picture_format in {"JPEG", "PNG"})


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG"])
def test_a_large_file_is_decoded_apart(picture_format: str) -> None:
    data = encoded(Image.fromarray(NOISE), picture_format)
    assert is_plain(data + bytes(PLAIN_BYTES - len(data)), SETTINGS)
    assert not is_plain(data + bytes(PLAIN_BYTES - len(data) + 1), SETTINGS)
    padded = data + bytes(PLAIN_BYTES)
    assert np.array_equal(guarded_decode(padded, SETTINGS).rgb, decode(data, SETTINGS).rgb)


@pytest.mark.parametrize(("side", "expected"), [(4_082, True), (4_083, False)])
def test_a_jpeg_of_many_passes_over_many_pixels_is_decoded_apart(side: int, expected: bool) -> None:
    data = encoded(Image.new("L", (side, side)), "JPEG", progressive=True)
    assert data.count(b"\xff\xda") == 6  # 6 x 4,082^2 < 100,000,000 < 6 x 4,083^2
    assert is_plain(data, SETTINGS) == expected
    assert is_plain(encoded(Image.new("L", (side, side)), "JPEG"), SETTINGS)
    assert is_plain(data + b"\xff\xda" * 100, SETTINGS) == expected  # these are no passes


def test_what_is_refused_unread_starts_no_helper() -> None:
    code = (
        "import psutil; from pipelines.guard import *; from pipelines.pixels import *\n"
        "for data in (b'', b'<html>', b'12345678', b'8BPS'):\n"
        "    try: guarded_decode(data, PixelSettings(max_bytes=7))\n"
        "    except DecodeError as error: print(error.fault)\n"
        "print(len(psutil.Process().children()))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["empty", "not_an_image", "too_many_bytes", "unsupported_format", "0"]


def test_one_helper_serves_them_all() -> None:
    assert_all_is_well()
    pid = the_helper().pid
    for _ in range(20):
        assert_all_is_well()
    assert the_helper().pid == pid


def test_threads_get_their_own_pixels() -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        picture = np.random.default_rng(seed).integers(0, 256, (20 + seed, 30, 3), dtype=np.uint8)
        data = encoded(Image.fromarray(picture), "WEBP", lossless=True)
        wrong.extend(seed for _ in range(30) if not np.array_equal(guarded_decode(data, SETTINGS).rgb, picture))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_picture_that_computes_too_long_is_too_slow() -> None:
    hasty = PixelSettings(max_seconds=0.05)
    assert_all_is_well(hasty)
    assert fault_of(SLOW, hasty) == decode_faults.TOO_SLOW
    assert_all_is_well(hasty)


def test_a_helper_that_answers_nothing_is_too_slow() -> None:
    hasty = PixelSettings(max_seconds=1.0)
    assert_all_is_well(hasty)
    os.kill(the_helper().pid, signal.SIGSTOP)
    start = time.monotonic()
    assert fault_of(WEBP, hasty) == decode_faults.TOO_SLOW
    assert time.monotonic() - start < 10
    assert_all_is_well(hasty)


@pytest.mark.parametrize("picture_format", ["GIF", "TIFF", "WEBP", "JPEG2000", "AVIF", "HEIF"])
def test_memory_that_is_refused_is_told_from_damage_and_changes_no_pixel(picture_format: str) -> None:
    data = encoded(large(2_000), picture_format, **({"method": 0} if picture_format == "WEBP" else {}))
    expected = decode(data, SETTINGS).rgb
    outcomes = []
    for max_mib in (16, 32, 56, 256):
        tight = PixelSettings(max_decode_bytes=max_mib << 20)
        try:
            assert np.array_equal(guarded_decode(data, tight).rgb, expected)
            outcomes.append("ok")
        except DecodeError as error:
            outcomes.append(error.fault)
        assert_all_is_well(tight)
    assert set(outcomes[:-1]) <= {decode_faults.TOO_MUCH_MEMORY, "ok"}
    assert (outcomes[0], outcomes[-1]) == (decode_faults.TOO_MUCH_MEMORY, "ok")


def test_a_helper_killed_between_two_pictures_is_replaced() -> None:
    assert_all_is_well()
    killed = the_helper()
    os.kill(killed.pid, signal.SIGKILL)
    assert_all_is_well()
    assert the_helper().pid != killed.pid


def test_a_helper_killed_in_the_middle_changes_no_pixel(meddle: Meddle) -> None:
    assert_all_is_well()
    first = the_helper().pid
    meddle(lambda: os.kill(first, signal.SIGKILL) if first in [helper.pid for helper in helpers()] else None)
    assert np.array_equal(guarded_decode(SLOW, SETTINGS).rgb, np.asarray(large(1_500)))
    assert the_helper().pid != first


def test_a_picture_that_kills_every_helper_is_named_so(meddle: Meddle) -> None:
    assert_all_is_well()
    meddle(lambda: [os.kill(helper.pid, signal.SIGSEGV) for helper in helpers() if helper.cpu_times().user > 0.5])
    assert fault_of(encoded(large(4_000), "JPEG2000")) == decode_faults.DECODER_CRASHED
    assert not helpers()
    assert_all_is_well()


def test_a_fork_gets_a_helper_of_its_own_and_leaves_that_of_its_parent() -> None:
    assert_all_is_well()
    ours = the_helper().pid
    pid = os.fork()
    if pid == 0:
        is_well = False
        try:
            assert_all_is_well()
            is_well = the_helper().pid != ours
        finally:
            os._exit(0 if is_well else 1)
    for _ in range(100):
        assert np.array_equal(guarded_decode(WEBP, SETTINGS).rgb, NOISE)
    assert os.waitpid(pid, 0)[1] == 0
    assert the_helper().pid == ours


@pytest.mark.spark
def test_a_hostile_picture_costs_spark_one_row(spark: SparkSession) -> None:
    hasty = PixelSettings(max_seconds=0.1)

    def outcomes(images: Iterable[bytes]) -> list[str]:
        return examine(list(images), hasty).column("decode").to_pylist()

    images = [*[WEBP] * 4, SLOW, *[WEBP] * 4]
    found = spark.sparkContext.parallelize(images, 3).mapPartitions(outcomes).collect()
    assert found == [*["ok"] * 4, decode_faults.TOO_SLOW, *["ok"] * 4]


PARENT = """
import os, sys, time
from pipelines.guard import guarded_decode
from pipelines.settings import PixelSettings
pictures = [open(path, "rb").read() for path in sys.argv[1:]]
guarded_decode(pictures[0], PixelSettings())
if os.fork() == 0:  # as a pool of workers would: it holds what it inherited
    time.sleep(30)
    os._exit(0)
print("ready", flush=True)
guarded_decode(pictures[-1], PixelSettings())
time.sleep(30)
"""


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_helper_does_not_outlive_its_killed_parent(tmp_path: Path, is_busy: bool) -> None:
    pictures = {"quick": WEBP, "slow": SLOW if is_busy else WEBP}
    for name, data in pictures.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", PARENT, *(str(tmp_path / name) for name in pictures)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        children = psutil.Process(parent.pid).children()
        (helper,) = helpers(parent.pid)
        parent.kill()
    gone, alive = psutil.wait_procs([helper], timeout=10)
    for child in children:
        if child.is_running():
            child.kill()
    assert gone
    assert not alive


def test_a_process_that_ends_leaves_no_helper(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(WEBP)
    code = (
        "import pathlib, sys, psutil; from pipelines.guard import *; from pipelines.pixels import *\n"
        "guarded_decode(pathlib.Path(sys.argv[1]).read_bytes(), PixelSettings())\n"
        "print(psutil.Process().children()[0].pid)"
    )
    command = [sys.executable, "-X", "dev", "-c", code, str(tmp_path / "picture")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not psutil.pid_exists(int(ended.stdout))
    assert ended.stderr == ""


def test_a_helper_that_cannot_start_is_no_fault_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise ImportError('half an installation')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(RuntimeError, match="did not start: ImportError: half an installation"):
        guarded_decode(WEBP, PixelSettings(max_seconds=7.0))  # other limits, and so another helper
    monkeypatch.undo()
    assert_all_is_well()


def test_what_libraries_print_is_swallowed(capfd: pytest.CaptureFixture[str]) -> None:
    data = encoded(Image.fromarray(NOISE), "TIFF", compression="tiff_lzw")
    broken = data.replace(data[8:40], bytes(32))
    with pytest.raises(DecodeError):
        decode(broken, SETTINGS)
    assert capfd.readouterr().err  # libtiff's own line
    fault_of(broken)
    assert capfd.readouterr() == ("", "")


TIGHT = PixelSettings(max_pixels=1_000_000, max_seconds=5.0, max_decode_bytes=256 << 20)


def fuzz(mutants: Iterator[bytes], decoder: Callable[[bytes, PixelSettings], Decoded]) -> list[str]:
    """The outcome of each; none may take longer than a picture can."""
    outcomes = []
    for data in mutants:
        start = time.monotonic()
        try:
            decoder(data, TIGHT)
            outcomes.append("ok")
        except DecodeError as error:
            outcomes.append(error.fault)
        assert time.monotonic() - start < 2 * WALL_FACTOR * TIGHT.max_seconds
    return outcomes


def test_mutated_pictures_fare_as_in_the_process_itself(mutants: Mutants) -> None:
    there, here = fuzz(mutants(600, seed=2), guarded_decode), fuzz(mutants(600, seed=2), decode)
    assert {"ok", decode_faults.CORRUPT, decode_faults.TRUNCATED} <= set(there) <= decode_faults.FAULTS | {"ok"}
    # A WebP of a million pixels too many may already be refused the memory for them.
    assert [
        pair for pair in zip(there, here, strict=True) if pair[0] not in {pair[1], decode_faults.TOO_MUCH_MEMORY}
    ] == []


@pytest.mark.slow
def test_twenty_thousand_mutated_pictures_do_no_harm(mutants: Mutants) -> None:
    outcomes = Counter(fuzz(mutants(20_000, seed=3), guarded_decode))
    print(dict(outcomes))
    assert outcomes.total() == 20_000
    assert_all_is_well(TIGHT)
