"""JSON that ends with the digest of all before it, so that no altered value in it is taken for what was written."""

import hashlib
import json
from typing import Any

_NAME = "sealed_by"


def seal(document: dict[str, Any]) -> bytes:
    """The document as JSON, one value per line, the last of them its digest; equal documents give equal bytes."""
    head = json.dumps(document, indent=1, sort_keys=True, allow_nan=False).removesuffix("\n}").encode()
    return head + _tail(head)


def unseal(content: bytes) -> dict[str, Any]:
    """The document; one without a seal, as earlier versions wrote them, as it is.

    Raises:
        ValueError: it is not what was written, or no JSON object.
    """
    document = json.loads(content)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    if document.pop(_NAME, None) is not None:
        head = content[: -len(_tail(b""))]
        if content != head + _tail(head):
            raise ValueError("its digest differs")
    return document


def _tail(head: bytes) -> bytes:
    return f',\n "{_NAME}": "{hashlib.sha256(head).hexdigest()}"\n}}\n'.encode()
