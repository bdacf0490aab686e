"""What left the building: every message that the ledger has, read in passing.

The file is opened for reading alone, so this works beside a running vault and on a copied home.
Entries are picked and parsed here without the checks of `canonical.decode`, ten times as fast:
this shows what the vault wrote, and whether it is signed and whole is the auditor's question.
"""

import base64
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from comity_common.errors import LocalError
from comity_common.ids import Digest
from comity_common.ledger.bodies import EntryKind, Traffic
from comity_common.ledger.signed import PREDICATE

PAGE_ENTRIES = 2000
EGRESS = PREDICATE + EntryKind.EGRESS
PARCEL_PREFIX = "parcel_kind_"  # how the uplink names small signed messages

MEANING = {
    "ask": "am I approved yet?",
    "cosignature": "your ledger goes on from where I last saw it",
    "decline": "I do not take part in this round, with a reason of a closed list",
    "endorsement": "the digest of the next model, as computed here",
    "enrol": "who I am, with my public keys",
    "epoch-halves": "sealed random numbers for the other institutions' masks",
    "epoch-keys": "a fresh public key for masks",
    "epoch-views": "the digest of everyone's keys, as seen here",
    "fetch-agreements": "what agreements are there for me?",
    "fetch-model": "give me the model that this agreement goes on with",
    "fetch-plan": "give me the terms of this round",
    "fetch-total": "give me the sum of this round",
    "follow": "I am here; give me my messages",
    "greet": "who are you? I hold this invitation",
    "head": "a hash over my ledger, and how many entries it has",
    "objection": "it was not shown that your ledger goes on from this, which I saw last",
    "probe": "random bytes, to see how fast the way is",
    "reveal": "what takes the masks off the sum, and off nothing else",
    "signature": "I sign this agreement",
    "upload": "a change of weights, or the counts of a score: clipped, under a mask",
    "withdrawal": "I leave this agreement for good",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """One message that left.

    Attributes:
        time: `YYYY-MM-DDTHH:MM:SSZ`, UTC.
        message: its kind.
        receiver, country: where it went.
        traffic: `mechanism` if a reserve of the budget covers it, else `control`.
        reserve: that reserve's nonce in hexadecimal; empty for `control`.
        round: None outside a round.
    """

    time: str
    purpose: str
    message: str
    receiver: str
    country: str
    size_bytes: int
    digest: Digest
    traffic: Traffic
    reserve: str
    round: int | None


@dataclass(slots=True)
class Sum:
    """Messages and bytes, added up."""

    messages: int = 0
    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """Count one more."""
        self.messages += 1
        self.size_bytes += size_bytes


def departures(
    database: Path, *, since: str = "", round: int | None = None, purpose: str = ""
) -> Iterator[Departure]:
    """Go through the messages that left, oldest first.

    Args:
        database: `vault.db`.
        since: the first day, `YYYY-MM-DD` in UTC; empty for all.
        round: of this round alone.
        purpose: in the agreement's words; empty for all.

    Raises:
        LocalError: the file has no ledger, or an entry cannot be read.
    """
    for sequence, raw in _entries(database):
        try:
            statement = json.loads(base64.b64decode(json.loads(raw)["payload"]))
            entry = statement["predicate"]
            if statement["predicateType"] != EGRESS or entry["time"] < since:
                continue
            body = entry["body"]
            found = Departure(
                time=entry["time"],
                purpose=body["purpose"],
                message=body["message"].removeprefix(PARCEL_PREFIX).replace("_", "-"),
                receiver=body["receiver"],
                country=body["jurisdiction"],
                size_bytes=body["size_bytes"],
                digest=Digest(body["digest"]),
                traffic=Traffic(body["traffic"]),
                reserve=base64.b64decode(body["nonce"]).hex(),
                round=body["round"],
            )
            shown = (found.time, found.purpose, found.receiver, found.country, found.digest)
            if type(found.size_bytes) is not int or not all(type(text) is str for text in shown):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise LocalError(f"expected entry {sequence} as the vault wrote it") from None
        if (round is None or found.round == round) and purpose in ("", found.purpose):
            yield found


class Totals:
    """Messages and bytes of all that passed: in all, covered by the budget, and by kind."""

    def __init__(self) -> None:
        self.all = Sum()
        self.mechanism = Sum()
        self._by_message: dict[str, Sum] = {}

    def count(self, found: Iterable[Departure]) -> Iterator[Departure]:
        """Add up what passes."""
        for departure in found:
            self.all.add(departure.size_bytes)
            if departure.traffic is Traffic.MECHANISM:
                self.mechanism.add(departure.size_bytes)
            self._by_message.setdefault(departure.message, Sum()).add(departure.size_bytes)
            yield departure

    @property
    def by_message(self) -> dict[str, Sum]:
        """The sums of each kind, the most bytes first."""
        return dict(sorted(self._by_message.items(), key=lambda item: -item[1].size_bytes))


def _entries(database: Path) -> Iterator[tuple[int, bytes]]:
    """Read page by page: a reader that pauses must not keep the vault from erasing keys."""
    page = "select sequence, raw from entries where sequence > ? order by sequence limit ?"
    last = -1
    try:
        with closing(
            sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
        ) as connection:
            while rows := connection.execute(page, (last, PAGE_ENTRIES)).fetchall():
                yield from rows
                last = rows[-1][0]
    except sqlite3.Error as error:
        raise LocalError(f"expected a ledger in {database.name}: {error}") from None
