"""What happens at an operator, in the entries that it writes itself and in their order.

Members are let in, an agreement is proposed that nobody signs and withdrawn, two others run one
after the other. Of every institution arrive uploads, control messages and heads of its ledger.
"""

import random

from comity_common.agreement import Agreement
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    AgreementSign,
    Body,
    Genesis,
    Ingress,
    Traffic,
)
from comity_common.ledger.controls import CONTROLS
from comity_common.ledger.operatorbodies import (
    AgreementEnd,
    AgreementStart,
    Ending,
    Head,
    MemberApprove,
    MemberRevoke,
    ModelRelease,
    RoundCertificate,
    RoundPlan,
)
from tests.audit.federation import COUNTRIES, Federation
from tests.audit.history import Written


class OperatorHistory:
    """One operator's life."""

    def __init__(self, book: Written, federation: Federation, chance: random.Random) -> None:
        self._write = book.write
        self._federation = federation
        self._chance = chance
        self._sizes: dict[InstitutionId, int] = {}
        self._generations = {id: chance.randbytes(16) for id in federation.keys}
        self._model = self._digest()

    def live(self) -> None:
        """Write all of it."""
        first, second = self._federation.first, self._federation.second
        refused = self._federation.refused.digest
        self._write(Genesis(nonce=self._chance.randbytes(16), software="comity 0.1.0"))
        for id, country in COUNTRIES.items():
            for message in ("greet", "enrol", "ask"):
                self.arrive(InstitutionId(id), message)
            party = self._digest()
            self._write(
                MemberApprove(institution=InstitutionId(id), jurisdiction=country, party=party)
            )
        self._write(AgreementSign(agreement=refused))
        self._write(AgreementEnd(agreement=refused, ending=Ending.WITHDRAWN))
        self.propose(first)
        self._write(AgreementStart(agreement=first.digest))
        self.run(first, 1)
        self.run(first, 2, is_void=True)
        self._write(AgreementEnd(agreement=first.digest, ending=Ending.STOPPED))
        self._write(AgreementStart(agreement=first.digest))
        self.run(first, 3)
        self._generations[first.roster[-1]] = self._chance.randbytes(16)  # after a restore
        self._sizes[first.roster[-1]] = 5
        self.propose(second)
        self._write(AgreementEnd(agreement=first.digest, ending=Ending.FINISHED))
        self._write(AgreementStart(agreement=second.digest))
        for round in (1, 2):
            self.run(second, round)
        self._write(AgreementEnd(agreement=second.digest, ending=Ending.FINISHED))
        self._write(MemberRevoke(institution=first.roster[0]))

    def propose(self, agreement: Agreement) -> None:
        """Propose an agreement; all sign it."""
        self._write(AgreementSign(agreement=agreement.digest))
        for id in agreement.roster:
            self.arrive(id, "parcel_kind_signature")

    def run(self, agreement: Agreement, round: int, *, is_void: bool = False) -> None:
        """Run a round, in which all take part or hardly anybody."""
        plan = self._digest()
        self._write(RoundPlan(agreement=agreement.digest, epoch=1, round=round, plan=plan))
        for id in agreement.roster:
            self.witness(id)
        for id in agreement.roster[: 1 if is_void else None]:
            self.arrive(id, "upload", round)
            self.arrive(id, "parcel_kind_reveal")
        if not is_void:
            self._model = self._digest()
        self._write(
            RoundCertificate(
                agreement=agreement.digest,
                epoch=1,
                round=round,
                plan=plan,
                certificate=self._digest(),
                is_void=is_void,
                model=self._model,
            )
        )
        if not is_void:
            self._write(ModelRelease(agreement=agreement.digest, round=round, model=self._model))

    def witness(self, id: InstitutionId) -> None:
        """Cosign an institution's head."""
        self.arrive(id, "parcel_kind_head")
        self._sizes[id] = self._sizes.get(id, 0) + self._chance.randint(1, 9)
        head = Head(
            institution=id,
            generation=self._generations[id],
            size=self._sizes[id],
            root=self._digest(),
        )
        self._write(head)

    def arrive(self, id: InstitutionId, message: str, round: int | None = None) -> None:
        """Take a message."""
        is_upload = message == "upload"
        limit = 2_000 if is_upload else CONTROLS[message].limit(len(COUNTRIES))
        self._write(self._arrived(id, message, is_upload, limit, round))

    def _arrived(
        self, id: InstitutionId, message: str, is_upload: bool, limit: int, round: int | None
    ) -> Body:
        return Ingress(
            purpose="federated-training",
            sender=id,
            jurisdiction=COUNTRIES[id],
            traffic=Traffic.MECHANISM if is_upload else Traffic.CONTROL,
            message=message,
            size_bytes=self._chance.randint(limit // 4, limit // 2),
            digest=self._digest(),
            round=round,
            nonce=b"",
        )

    def _digest(self) -> Digest:
        return Digest(self._chance.randbytes(32).hex())
