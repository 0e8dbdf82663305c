"""The bytes of pictures against the digests under which they were taken in."""

import hashlib
from collections.abc import Iterable

from pipelines.settings import UserError


def check_pictures(image_ids: Iterable[str], images: Iterable[bytes], *, records: str) -> None:
    """Compare pictures with their `image_id`, the sha256 of the bytes as found.

    Args:
        records: the folders of the records that hold them, for the message.

    Raises:
        UserError: a picture is not the one that was taken in.
    """
    for image_id, image in zip(image_ids, images, strict=True):
        if hashlib.sha256(image).hexdigest() != image_id:
            raise UserError(
                f"the picture with image_id {image_id} was altered since it was taken in (its sha256 differs); "
                f"remove {records}, and the next run makes it again"
            )
