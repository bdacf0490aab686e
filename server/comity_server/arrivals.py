"""What arrived, on the operator's ledger: the mirror of the institutions' `egress` entries.

A message is written down when its sender is known, before anything is made of it; an upload when
all of it is here, in the transaction that says so (`uploads`).
"""

from comity_common.agreement import Agreement
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Ingress, Traffic
from comity_common.ledger.controls import PURPOSE_OF_ROUND, UPLOAD, purpose_of
from comity_common.ledger.crossings import of_message, of_upload
from comity_common.secagg.messages import Plan
from comity_server.registry import Registry
from comity_server.store import Store
from comity_server.uploads import Declared


class Arrivals:
    """Writes down control messages."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    def note(self, sender: InstitutionId, message: str, payload: bytes) -> None:
        """Write down a message of an institution that is let in.

        Args:
            message: its name, as the sender's ledger has it.
            payload: the bytes of its request.
        """
        self.note_from(sender, self._registry.jurisdiction(sender), message, payload)

    def note_from(
        self, sender: InstitutionId, jurisdiction: str, message: str, payload: bytes
    ) -> None:
        """Write down a message of somebody whose country is known otherwise."""
        crossing = of_message(payload)
        arrived = Ingress(
            purpose=purpose_of(message),
            sender=sender,
            jurisdiction=jurisdiction,
            traffic=Traffic.CONTROL,
            message=message,
            size_bytes=crossing.size_bytes,
            digest=crossing.digest,
            round=None,
            nonce=b"",
        )
        with self._store.write() as tx:
            self._store.ledger.append(tx, arrived)


def arrived_upload(
    agreement: Agreement, plan: Plan, sender: InstitutionId, declared: Declared
) -> Ingress:
    """Say that a masked vector is here."""
    crossing = of_upload(declared.header, declared.upload, declared.boxes, declared.leaves)
    return Ingress(
        purpose=PURPOSE_OF_ROUND[plan.kind],
        sender=sender,
        jurisdiction=agreement.party(sender).jurisdiction,
        traffic=Traffic.MECHANISM,
        message=UPLOAD,
        size_bytes=crossing.size_bytes,
        digest=crossing.digest,
        round=plan.round,
        nonce=b"",
    )
