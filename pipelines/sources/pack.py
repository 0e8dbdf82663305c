"""Images of verification packs (.bin): pairs of an evaluation, without identities, to be excluded from training."""

from collections.abc import Iterator

from pipelines.pack_file import read_pack
from pipelines.settings import UserError
from pipelines.sources import storage
from pipelines.sources.entry import INSIDE, Break, Container, Part, Portion, PortionCutter, RawImage, held
from pipelines.sources.locate import Found, find
from pipelines.sources.settings import SourceSettings

SUFFIXES = (".bin",)


def containers(settings: SourceSettings) -> Iterator[Found]:
    """The packs that the path names."""
    return find(settings, SUFFIXES)


def scan(container: Container, settings: SourceSettings) -> Iterator[Part]:
    """Cut one pack into portions by image number; a pack is small, and is read for this."""
    try:
        images = _images(container.path)
    except (OSError, UserError) as error:
        yield Break(container.path, 0, container.num_bytes, str(error))
        return
    cutter = PortionCutter(container.path, settings)
    for place, image in enumerate(images):
        cutter.add(len(image))
        if cutter.is_full:
            yield from cutter.cut(place + 1)
    yield from cutter.cut(len(images))


def read(portion: Portion, settings: SourceSettings, *, max_bytes: int) -> Iterator[RawImage]:
    """The pictures of one portion."""
    try:
        images = _images(portion.container)
    except UserError as error:  # it was a pack at the scan
        raise OSError(str(error)) from None
    for place in range(portion.start, min(portion.stop, len(images))):
        source = f"{portion.container}{INSIDE}{place}"
        yield held(images[place], source=source, identity=None, max_bytes=max_bytes)


def _images(path: str) -> list[bytes]:
    with storage.open_binary(path) as stream:
        images, _ = read_pack(stream.read(), path=path)
    return images
