"""The operator's parts, opened from its home: what its tools have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, SigningKeys
from comity_common.errors import Problem
from comity_common.ids import Digest, InstitutionId
from comity_common.membership import Withdrawal
from comity_server.agreements import OVER, AgreementRecord, Agreements
from comity_server.history import History
from comity_server.home import Home
from comity_server.models import Models
from comity_server.registry import Registry
from comity_server.rounds import Round
from comity_server.store import Store
from comity_server.uploads import Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator's parts; the daemon may run on the same directory."""

    home: Home
    keys: SigningKeys
    registry: Registry
    agreements: Agreements
    history: History
    models: Models
    store: Store

    def round(self, agreement: Agreement, number: int) -> Round:
        """Read a round back, with all that came in it.

        Raises:
            Problem: there is no such round.
        """
        if self.history.get(agreement.digest, number) is None:
            raise Problem(
                "COM-AUDIT-005",
                round=number,
                agreement=agreement.federation,
                why="it was not begun",
            )
        return Round(self.store, Uploads(self.store, self.home.uploads), agreement, number)

    def turn_away(self, institution: InstitutionId) -> list[Digest]:
        """Revoke an institution, and take it out of every agreement that is not over.

        Returns:
            the agreements that it is out of now; their other institutions are told.

        Raises:
            Problem: there is no such institution.
        """
        self.registry.revoke(institution)
        left = []
        for record in self.agreements.records():
            agreement = record.agreement
            if record.state in OVER or institution not in agreement.roster:
                continue
            withdrawal = Withdrawal(
                agreement=agreement.digest, institution=institution, by=agreement.operator.id
            )
            signed = self.keys.sign(Purpose.WITHDRAWAL, encode(withdrawal))
            self.agreements.leave(agreement.digest, signed)
            left.append(agreement.digest)
        return left


def left_by(record: AgreementRecord) -> frozenset[InstitutionId]:
    """Return who is out of an agreement."""
    return frozenset(decode(Withdrawal, one.body).institution for one in record.withdrawals)


@contextmanager
def opened(directory: Path) -> Iterator[Operator]:
    """Open an operator's parts for a tool.

    Raises:
        Problem: there is no operator.
    """
    home = Home(directory)
    home.settings()
    store = home.open_store()
    try:
        registry, models = Registry(store), Models(home.models)
        yield Operator(
            home=home,
            keys=home.signing_keys(),
            registry=registry,
            agreements=Agreements(store, registry, models),
            history=History(store),
            models=models,
            store=store,
        )
    finally:
        store.close()
