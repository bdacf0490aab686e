"""How rounds ended, and how far institutions are in this one, in the words that people read."""

from collections.abc import Mapping
from typing import Any

from comity_common.secagg.kinds import RoundKind

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


def round_in_words(one: Mapping[str, Any]) -> str:
    """Say in a line how a round ended, which came as JSON's types (`status.round_summary`)."""
    end = f"void: {one['reason']}" if one["void"] else ", ".join(one["survivors"])
    if one["kind"] == RoundKind.EVALUATE:
        found = one["score"]["words"] if one["score"] else "its sum is not on this disk any more"
        end = f"score {end}" if one["void"] else f"score {found}  {end}"
    return f"round {one['n']:>4}  {one['seconds']:>8.1f} s  {end}"
