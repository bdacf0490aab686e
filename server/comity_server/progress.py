"""How far an institution is in the round that is going on, in the words that people read."""

from collections.abc import Mapping
from typing import Any

UPLOADING = "uploading"


def in_words(institution: Mapping[str, Any]) -> str:
    """Say where an institution is; while it uploads, with how much of its vector is here.

    Args:
        institution: one of the status's `institutions`: phase, uploaded_bytes and upload_bytes.

    >>> in_words({"phase": "uploading", "uploaded_bytes": 3_145_728, "upload_bytes": 10_485_760})
    'uploading, 30 % of 10,485,760 bytes'
    >>> in_words({"phase": "revealed", "uploaded_bytes": 10, "upload_bytes": 10})
    'revealed'
    """
    phase, size = str(institution["phase"]), institution["upload_bytes"]
    if phase != UPLOADING or not size:
        return phase
    return f"{phase}, {100 * institution['uploaded_bytes'] // size} % of {size:,} bytes"
