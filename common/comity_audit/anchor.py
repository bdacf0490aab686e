"""What ties a directory to the world: an agreement's digest, or its words, from outside.

Signatures say that the keys in an agreement signed; they do not say whose keys these are. Somebody
who trusts an institution asks it for the eight words of the agreement that it signed.
"""

import re

from comity_common.agreement import DIGEST_PATTERN
from comity_common.errors import Problem
from comity_common.ids import Digest
from comity_common.words import WORDS, agreement_words, is_word

_WORDS = re.compile(rf"([a-z]+ ){{{WORDS - 1}}}[a-z]+")


def read_anchor(given: str) -> str:
    """Read what was given on the command line.

    Returns:
        64 hexadecimal digits, or eight words with one space between.

    Raises:
        Problem: it is neither.
    """
    anchor = " ".join(given.lower().split())
    if DIGEST_PATTERN.fullmatch(anchor):
        return anchor
    if not _WORDS.fullmatch(anchor):
        raise Problem("COM-AUDIT-004", count=len(anchor.split()))
    if unknown := [word for word in anchor.split() if not is_word(word)]:
        raise Problem("COM-AUDIT-019", word=unknown[0])
    return anchor


def is_anchored(agreement: Digest, anchor: str) -> bool:
    """Tell whether this is the agreement that was meant."""
    return anchor in (agreement, agreement_words(agreement))
