"""One institution's parts, opened from its home: what vault and tools have in common."""

import json
import os
import sqlite3
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from comity_client import policy
from comity_client.agreements import Agreements
from comity_client.config import VaultConfig
from comity_client.epochs import KeyEpochs
from comity_client.home import Home
from comity_client.keystore import Keystore
from comity_client.ledger import Clock, Ledger, utc_now
from comity_client.models import ModelFiles
from comity_client.outbox import Outbox
from comity_client.policy import Policy
from comity_client.progress import ProgressTable
from comity_client.registrations import Registrations
from comity_client.rounds import Rounds
from comity_client.scores import ScoreTable
from comity_client.store import Store
from comity_client.uplink import Uplink
from comity_common.agreement import Agreement
from comity_common.crypto.sign import Signed
from comity_common.errors import LocalError, Problem, Refusal
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Egress, Genesis, Refused, Traffic
from comity_common.ledger.controls import purpose_of
from comity_common.ledger.crossings import Crossing
from comity_common.membership import OperatorCard, check_card
from comity_host import settings
from comity_host.files import write_durably


class Institution:
    """The parts of one institution.

    Attributes:
        me: its id.
        keys, store, ledger, agreements, rounds, epochs, outbox, progress, data, scores, models: by
            name.

    Raises:
        LocalError: the home is not complete.
        Problem: there is no institution, or its database is gone.
    """

    def __init__(self, path: Path, clock: Clock = utc_now) -> None:
        self.home = Home(path)
        self.config = self.home.settings()
        if not _is_there(self.home.database):  # a new one would be a ledger without its past
            raise Problem("COM-CLIENT-003", database=self.home.database)
        policy.load(self.home.policy)  # a file that cannot be read is told at once
        self.clock = clock
        self.me = InstitutionId(self.config.id)
        self.keys = Keystore(self.home.keys)
        self.store = Store(self.home.database)
        self.ledger = Ledger(self.store, self.me, self.keys.ledger, clock)
        self.agreements = Agreements(self.store, self.ledger)
        self.data = Registrations(self.store, self.ledger)
        self.rounds = Rounds(self.store)
        self.epochs = KeyEpochs(self.store, self.keys.signing, self.me)
        self.outbox = Outbox(self.store)
        self.progress = ProgressTable(self.store)
        self.scores = ScoreTable(self.store)
        self.models = ModelFiles(self.home.models)

    @classmethod
    def create(cls, path: Path, config: VaultConfig) -> "Institution":
        """Make a new institution: directories, keys, settings, and the first ledger entry.

        Raises:
            LocalError: there is one already.
        """
        home = Home(path)
        home.create()
        if home.config.exists():
            raise LocalError("expected an empty home for a new institution")
        keys = Keystore.create(home.keys)
        store = Store(home.database)
        ledger = Ledger(store, InstitutionId(config.id), keys.ledger)
        with store.transaction() as tx:
            ledger.append(tx, Genesis(nonce=os.urandom(16), software=f"comity {version('comity')}"))
        settings.write(home.config, config)
        return cls(path)

    @property
    def card(self) -> OperatorCard:
        """Who the operator is, as it said when this institution joined.

        Raises:
            Problem: this institution has not joined yet.
        """
        try:
            kept = json.loads(self.home.card.read_bytes())
            body, signature = (bytes.fromhex(kept[name]) for name in ("body", "signature"))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise Problem("COM-JOIN-001") from None
        return check_card(Signed(body=body, signature=signature))

    def keep_card(self, signed: Signed) -> None:
        """Keep the operator's card; whose it is, a person has compared."""
        kept = {"body": signed.body.hex(), "signature": signed.signature.hex()}
        write_durably(self.home.card, json.dumps(kept).encode())

    @property
    def policy(self) -> Policy:
        """The institution's own rules, as they are on disk now."""
        return policy.load(self.home.policy)

    def check_policy(self, agreement: Agreement) -> None:
        """Ask the rules, as they are now, about an agreement.

        Raises:
            Refusal: POLICY.
            Problem: they cannot be read, and so permit nothing.
        """
        self.policy.check(agreement, self.me, self.ledger.day())

    def recorder(
        self, receiver: InstitutionId, jurisdiction: str
    ) -> Callable[[str, Crossing], None]:
        """Return what writes a control message to the ledger before it leaves.

        Args:
            receiver, jurisdiction: the operator and its country.
        """

        def record(message: str, crossing: Crossing) -> None:
            with self.store.transaction() as tx:
                self.ledger.append(
                    tx,
                    Egress(
                        purpose=purpose_of(message),
                        receiver=receiver,
                        jurisdiction=jurisdiction,
                        traffic=Traffic.CONTROL,
                        message=message,
                        size_bytes=crossing.size_bytes,
                        digest=crossing.digest,
                        round=None,
                        nonce=b"",
                    ),
                )

        return record

    def uplink(self) -> Uplink:
        """Return a way to the operator; nothing is opened yet.

        Raises:
            Problem: this institution has not joined yet.
        """
        operator = self.card.operator
        return Uplink(
            self.config.server,
            operator.identity.tls,
            self.keys.tls(),
            self.recorder(operator.id, operator.jurisdiction),
            self.config.proxy,
            self.config.streams,
        )

    def note_refusal(
        self, tx: sqlite3.Connection, refusal: Refusal, agreement: Digest, round: int | None
    ) -> None:
        """Write a refusal to the ledger."""
        self.ledger.append(tx, Refused(code=refusal.code, agreement=agreement, round=round))

    def count_traffic(self, agreement: Digest, sent: int, received: int) -> None:
        """Add to the bytes that crossed the border under an agreement."""
        with self.store.transaction() as tx:
            tx.execute("insert or ignore into traffic values (?, 0, 0)", (agreement,))
            tx.execute(
                "update traffic set sent = sent + ?, received = received + ? where agreement = ?",
                (sent, received, agreement),
            )

    def traffic(self, agreement: Digest) -> tuple[int, int]:
        """Return bytes sent and received under an agreement."""
        row = (
            self.store.reading()
            .execute("select sent, received from traffic where agreement = ?", (agreement,))
            .fetchone()
        )
        return (0, 0) if row is None else (row["sent"], row["received"])


def _is_there(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0
