"""Which rows and units have been registered before, by keyed digests that never leave the vault.

So a file that was reordered, written in another format, cut or grown by a row is recognised, and
counts against the budget that its rows have already. Only digests are kept, HMAC-SHA256 under a
random key of the vault, cut to 16 bytes. They stay when a data set is removed, as what was spent
on its rows is spent.

Two texts are the same row if they have the same words in the same case-folded letters, however
letters are composed and words are spaced apart; labels play no part. A text that was paraphrased
is another row, and nothing here notices.
"""

import hmac
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator

from comity_client.rows import Record

DIGEST_BYTES = 16
KEY_BYTES = 32
AT_ONCE = 500  # digests in one question to SQLite


def fingerprints(records: Iterable[Record], key: bytes) -> set[bytes]:
    """Digest the text of every row, and what names its unit.

    Args:
        key: of the vault, 32 bytes.

    Returns:
        digests of 16 bytes, those of texts and of units alike.
    """
    return {digest for record in records for digest in _of(record, key)}


def namespaces_with(tx: sqlite3.Connection, found: Iterable[bytes]) -> list[str]:
    """List the namespaces in which any of these rows or units is, in order."""
    digests, names = list(found), set()
    for start in range(0, len(digests), AT_ONCE):
        some = digests[start : start + AT_ONCE]
        marks = ", ".join("?" * len(some))
        rows = tx.execute(
            f"select distinct namespace from fingerprints where digest in ({marks})",  # noqa: S608
            some,
        )
        names |= {row["namespace"] for row in rows}
    return sorted(names)


def remember(tx: sqlite3.Connection, namespace: str, found: Iterable[bytes]) -> None:
    """Note that rows and units are in a namespace, for good."""
    tx.executemany(
        "insert or ignore into fingerprints values (?, ?)",
        ((digest, namespace) for digest in found),
    )


def normal(text: str) -> str:
    """Write a text as it is compared: composed alike, without case, words one space apart.

    Compatibility caseless matching (Unicode 15, §3.13, D146), then composed.
    """
    folded = unicodedata.normalize("NFD", text).casefold()
    folded = unicodedata.normalize("NFKD", folded).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def _of(record: Record, key: bytes) -> Iterator[bytes]:
    yield _digest(key, b"row", record.text)
    if record.unit is not None:
        yield _digest(key, b"unit", record.unit)


def _digest(key: bytes, label: bytes, text: str) -> bytes:
    content = label + b"\0" + normal(text).encode("utf-8", "surrogatepass")
    return hmac.digest(key, content, "sha256")[:DIGEST_BYTES]
