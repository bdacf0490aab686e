"""Which agreements this institution has signed, and on which data set each trains.

Signing is the one act that permits anything. An agreement is active only when every party's
signature over its exact bytes is here; nothing is trusted on first use.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from comity_client.keystore import Keystore
from comity_client.ledger import Ledger
from comity_client.policy import Policy
from comity_client.store import Store
from comity_common.agreement import Agreement
from comity_common.canonical import decode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.dp.accountant import fits
from comity_common.dp.terms import Guarantee, SampledGaussian
from comity_common.errors import LocalError, PeerError, Refusal, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import AgreementSign, DatasetId

RETIRED = -1  # in the column `active`, where 0 is signed and 1 in force


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An agreement in force and the data set that trains under it."""

    agreement: Agreement
    dataset: DatasetId


class Agreements:
    """The agreements in a vault's store."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    def sign(
        self, raw: bytes, keys: Keystore, me: InstitutionId, policy: Policy, dataset: DatasetId
    ) -> Signed:
        """Sign an agreement's exact bytes, if policy and budget allow all of it.

        Raises:
            PeerError: the bytes are no agreement, or not one with this institution's keys.
            Refusal: POLICY or BUDGET.
        """
        agreement = decode(Agreement, raw)
        if me not in agreement.roster or agreement.party(me).identity != keys.identity:
            raise PeerError("expected an agreement that names this institution's own keys")
        policy.check(agreement)
        whole = schedule_event(agreement, agreement.schedule.attempts)
        self._ledger.budget().check_reserve(dataset, whole)
        claimed = Guarantee(epsilon=agreement.privacy.epsilon, delta=agreement.privacy.delta)
        if not fits([whole], claimed, agreement.privacy.order):
            raise PeerError("expected a schedule within the guarantee that is claimed")
        with self._store.transaction() as tx:
            tx.execute(
                "insert or ignore into agreements values (?, ?, ?, 0)",
                (agreement.digest, raw, dataset),
            )
            self._ledger.append(tx, AgreementSign(agreement=agreement.digest))
        return keys.signing.sign(Purpose.AGREEMENT, raw)

    def activate(self, raw: bytes, signatures: Mapping[InstitutionId, bytes]) -> Agreement:
        """Put an agreement in force, with the signatures of all its parties.

        Raises:
            PeerError: a signature is missing or wrong.
            LocalError: this institution has not signed it.
        """
        agreement = decode(Agreement, raw)
        check_signatures(agreement, raw, signatures)
        with self._store.transaction() as tx:
            changed = tx.execute(
                "update agreements set active = 1 where digest = ? and raw = ? and active != ?",
                (agreement.digest, raw, RETIRED),
            )
            if changed.rowcount != 1:
                raise LocalError("expected an agreement that this institution has signed")
        return agreement

    def active(self) -> list[Standing]:
        """List the agreements in force."""
        rows = self._store.reading().execute(
            "select raw, dataset from agreements where active = 1 order by rowid"
        )
        return [
            Standing(agreement=decode(Agreement, row["raw"]), dataset=DatasetId(row["dataset"]))
            for row in rows
        ]

    def get(self, digest: Digest) -> Standing:
        """Look up an agreement in force.

        Raises:
            Refusal: UNKNOWN_AGREEMENT.
        """
        for standing in self.active():
            if standing.agreement.digest == digest:
                return standing
        raise Refusal(RefusalCode.UNKNOWN_AGREEMENT, "expected an agreement that all have signed")

    def retire(self, tx: sqlite3.Connection, digest: Digest) -> None:
        """Take an agreement out of force for good."""
        tx.execute("update agreements set active = ? where digest = ?", (RETIRED, digest))


def check_signatures(
    agreement: Agreement, raw: bytes, signatures: Mapping[InstitutionId, bytes]
) -> None:
    """Check that operator and institutions, all of them, signed these bytes.

    Raises:
        PeerError: a signature is missing or wrong.
    """
    for party in (agreement.operator, *agreement.institutions):
        if party.id not in signatures:
            raise PeerError(f"expected a signature of {party.id}")
        signed = Signed(body=raw, signature=signatures[party.id])
        verify(party.identity.ed25519, party.identity.mldsa44, Purpose.AGREEMENT, signed)


def check_expiry(agreement: Agreement, today: date) -> None:
    """Refuse an agreement after its last day.

    Raises:
        Refusal: AGREEMENT_EXPIRED.
    """
    if today > date.fromisoformat(agreement.schedule.expires):
        raise Refusal(
            RefusalCode.AGREEMENT_EXPIRED, f"expected a day until {agreement.schedule.expires}"
        )


def schedule_event(agreement: Agreement, rounds: int) -> SampledGaussian:
    """Return the mechanism that so many rounds of an agreement are."""
    return SampledGaussian(
        sampling_probability=agreement.training.sampling_probability,
        noise_multiplier=agreement.training.noise_multiplier,
        steps=agreement.training.local_steps * rounds,
    )
