"""Fingerprints in words, for two people to compare by voice.

Eight words of a list of 2048 are 88 bits: nobody finds another party or agreement with the same
words. Which list stands behind each word is BIP-39's; the words keep nothing secret.
"""

from functools import lru_cache
from importlib.resources import files

from comity_common.agreement import Agreement, Party
from comity_common.canonical import encode
from comity_common.crypto.derive import digest
from comity_common.errors import PeerError
from comity_common.ids import Digest

WORDS = 8
BITS_PER_WORD = 11


def in_words(fingerprint: bytes) -> str:
    """Write the first 88 bits of a fingerprint as eight words.

    Args:
        fingerprint: at least 11 bytes, the output of a hash.
    """
    number = int.from_bytes(fingerprint, "big")
    shift = 8 * len(fingerprint) - BITS_PER_WORD
    places = [(number >> (shift - BITS_PER_WORD * k)) % 2**BITS_PER_WORD for k in range(WORDS)]
    return " ".join(_list()[place] for place in places)


def party_words(party: Party) -> str:
    """Name a party with all its keys, its country and its name."""
    return in_words(digest("party", encode(party)))


def agreement_words(agreement: Digest) -> str:
    """Name an agreement, to its last byte."""
    return in_words(bytes.fromhex(agreement))


def check_readable(agreement: Agreement) -> None:
    """Check that people can read an agreement: its texts are lines of visible characters.

    Raises:
        PeerError: one could move the cursor, and so show what was not agreed.
    """
    parties = (agreement.operator, *agreement.institutions)
    texts = [agreement.federation, agreement.purpose, agreement.model.name, *agreement.task.labels]
    if not all(text.isprintable() for text in (*texts, *(party.name for party in parties))):
        raise PeerError("expected an agreement in visible characters")


def is_word(text: str) -> bool:
    """Tell whether a fingerprint can have this word."""
    return text in _list()


def printable(text: str) -> str:
    """Write a stranger's text in one line that moves no cursor."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


@lru_cache(maxsize=1)
def _list() -> tuple[str, ...]:
    wordlist = files("mnemonic") / "wordlist" / "english.txt"  # may be inside a zip
    return tuple(wordlist.read_text("utf-8").split())
