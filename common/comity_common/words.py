"""Fingerprints in words, for two people to compare by voice.

Eight words of a list of 2048 are 88 bits: nobody finds another party or agreement with the words of
a given one. Whoever drafts agreements could look for two with the same words, one to be signed and
one to be shown to an auditor, and needs 2⁴⁴ tries for that; so an agreement's words are stretched
(scrypt, RFC 7914), which makes each try take some hundredths of a second and 16 MiB. The list is
BIP-39's; the words keep nothing secret.
"""

from functools import lru_cache
from importlib.resources import files

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from comity_common.agreement import Agreement, Party
from comity_common.canonical import encode
from comity_common.crypto.derive import digest
from comity_common.errors import PeerError
from comity_common.ids import Digest

WORDS = 8
BITS_PER_WORD = 11
STRETCHED_BYTES = WORDS * BITS_PER_WORD // 8
SALT = b"comity/agreement-words"
COST, BLOCK = 1 << 14, 8  # N and r of scrypt: 128 · N · r bytes of memory


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
    """Name an agreement, to its last byte; takes some hundredths of a second the first time."""
    return in_words(_stretched(agreement))


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


@lru_cache(maxsize=1024)
def _stretched(agreement: Digest) -> bytes:
    stretch = Scrypt(salt=SALT, length=STRETCHED_BYTES, n=COST, r=BLOCK, p=1)
    return stretch.derive(bytes.fromhex(agreement))


@lru_cache(maxsize=1)
def _list() -> tuple[str, ...]:
    wordlist = files("mnemonic") / "wordlist" / "english.txt"  # may be inside a zip
    return tuple(wordlist.read_text("utf-8").split())
