"""A ledger whose content a test knows, with true signatures, and the report of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from hashlib import sha256
from typing import Any

from tests.simulation.federation import make_agreement

from comity_audit.ledgers.verification import Verification
from comity_audit.report.facts import PackageFacts
from comity_audit.report.writing import Written, recompute, write_report
from comity_common.agreement import Agreement, Party
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, SigningKeys
from comity_common.dp.accountant import calibrate
from comity_common.dp.budget import Budget
from comity_common.dp.terms import Guarantee
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    AgreementSign,
    Body,
    BudgetCharge,
    BudgetGrant,
    BudgetRefund,
    DatasetId,
    DatasetRegister,
    Egress,
    Genesis,
    Ingress,
    NamespaceId,
    Outcome,
    PolicySet,
    RefundReason,
    RoundJoin,
    RoundVoid,
    SelfTest,
    Traffic,
    Verdict,
)
from comity_common.ledger.entries import Entry, append
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.notes import read_note
from comity_common.ledger.operatorbodies import (
    AgreementEnd,
    AgreementStart,
    Ending,
    MemberApprove,
    ModelRelease,
    RoundCertificate,
    RoundPlan,
)
from comity_common.ledger.package import AuditPackage, Signatures
from comity_common.ledger.signed import write
from comity_common.ledger.signers import signers
from comity_common.ledger.tree import Tree
from comity_common.ledger.witness import (
    TreeHead,
    cosign,
    head_note,
    request_head,
    witness_lines,
)
from comity_common.mechanisms import schedule_event, spending_of
from comity_common.secagg.kinds import RoundKind

OWNER, OPERATOR = InstitutionId("bank"), InstitutionId("operator")
REGULATOR = InstitutionId("regulator")  # a witness that is in no agreement
PLACES = {
    "bank": ("DE", "Spree Bank"),
    "clinic": ("CN", "协和医院"),
    "lab": ("BR", "Laboratório Ipê"),
}
BEGINNING = datetime(2026, 1, 5, 8, tzinfo=UTC)
DATASET, NAMESPACE = DatasetId("d" * 32), NamespaceId("a1b2c3d4" + "0" * 24)
TESTS = ("noise-scale", "clipping", "sampling-rate", "step")
MADE = "2026-03-01T10:00:00Z"


def digest_of(*parts: object) -> Digest:
    """Make up a digest."""
    return Digest(sha256(repr(parts).encode()).hexdigest())


def number(*parts: object) -> bytes:
    """Make up a nonce."""
    return bytes.fromhex(digest_of(*parts))[:16]


LANES = 9_700  # an upload of 40,000 bytes has the right size then


@dataclass
class Ledger:
    """A ledger, written entry by entry.

    Attributes:
        owner: an institution, or the operator.
        terms: of `make_agreement`.
        changed: makes another agreement of it, before it is signed.
        places: country and name of each institution.
        operator: country and name.
        pace: between two entries.
        beside: who cosigns too, and does not count: the operator, `REGULATOR`.
    """

    owner: InstitutionId = OWNER
    terms: dict[str, Any] = field(default_factory=dict)
    changed: Callable[[Agreement], Agreement] = lambda agreement: agreement
    places: dict[str, tuple[str, str]] = field(default_factory=lambda: dict(PLACES))
    operator: tuple[str, str] = ("DE", "Verbund")
    pace: timedelta = timedelta(hours=6)
    epsilon: Decimal = Decimal(8)
    beside: tuple[InstitutionId, ...] = ()
    entries: list[Entry] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    budget: Budget = field(default_factory=Budget)

    @cached_property
    def keys(self) -> dict[InstitutionId, SigningKeys]:
        """The same in every test, so that reports can be held against each other."""
        ids = [*self.places, OPERATOR, REGULATOR]
        return {
            InstitutionId(id): SigningKeys.from_bytes(sha256(id.encode()).digest() * 2)
            for id in ids
        }

    @cached_property
    def agreement(self) -> Agreement:
        """The one agreement."""
        institutions = {id: keys for id, keys in self.keys.items() if id in self.places}
        agreement = make_agreement(
            institutions, self.keys[OPERATOR], **{"lanes": LANES, **self.terms}
        )
        scores = agreement.private_evaluation
        beside: list[object] = []
        if scores is not None:
            scores = replace(scores, noise_multiplier=Decimal(20))
            agreement = replace(agreement, private_evaluation=scores)
            beside.append(schedule_event(agreement, scores.attempts, RoundKind.EVALUATE))
        steps = agreement.training.local_steps * agreement.schedule.attempts
        sigma, order = calibrate(
            Decimal("0.1"), steps, self.epsilon, Decimal("0.00001"), beside=beside
        )
        return self.changed(
            replace(
                agreement,
                purpose="fraud detection",
                federation="Five Rivers",
                operator=self._placed(agreement.operator, *self.operator),
                institutions=tuple(
                    self._placed(one, *self.places[one.id]) for one in agreement.institutions
                ),
                training=replace(agreement.training, noise_multiplier=sigma),
                privacy=replace(agreement.privacy, order=order, epsilon=self.epsilon),
            )
        )

    @staticmethod
    def _placed(party: Party, country: str, name: str) -> Party:
        return replace(party, jurisdiction=country, name=name)

    def ledger_keys(self, id: str) -> LedgerKeys:
        """The keys of a party's own ledger."""
        return LedgerKeys.derive(self.keys[InstitutionId(id)].to_bytes())

    def add(self, *bodies: Body) -> None:
        """Write entries."""
        for body in bodies:
            time = BEGINNING + self.pace * len(self.entries)
            last = self.entries[-1] if self.entries else None
            entry = append(last, body, self.owner, time.strftime("%Y-%m-%dT%H:%M:%SZ"))
            self.entries.append(entry)
            self.raw.append(write(entry, self.ledger_keys(self.owner).entries))
            self.budget.apply(entry)

    def begin(self, *, selftest: bool = True) -> "Ledger":
        """Write what comes before the first round."""
        privacy = self.agreement.privacy
        ceiling = Guarantee(epsilon=Decimal(8), delta=Decimal("0.00001"))
        self.add(
            Genesis(nonce=number("genesis"), software="comity 0.1.0"),
            PolicySet(policy=digest_of("policy")),
            DatasetRegister(
                dataset=DATASET,
                namespace=NAMESPACE,
                commitment=digest_of("rows"),
                schema=digest_of("schema"),
                unit=privacy.unit,
                ceiling=ceiling,
                parent=DatasetId(""),
            ),
            BudgetGrant(
                grant=number("grant"),
                namespace=NAMESPACE,
                guarantee=ceiling if privacy.is_private else None,
                gate=privacy.gate,
                order=privacy.order,
            ),
            AgreementSign(agreement=self.agreement.digest),
        )
        self.control("parcel_kind_signature", 3_000)
        if selftest:
            self.selftest()
        return self

    def selftest(self, *failed: str, attempt: int = 1) -> None:
        """Write a self-test."""
        self.add(
            SelfTest(
                verdict=Verdict.FAIL if failed else Verdict.PASS,
                tests=TESTS,
                failed=failed,
                attempt=attempt,
                agreement=self.agreement.digest,
            )
        )

    def control(self, message: str, size: int = 100) -> None:
        """Write that a control message leaves."""
        self.add(self._egress(message, size, Traffic.CONTROL, None, b""))

    def _egress(
        self, message: str, size: int, traffic: Traffic, round: int | None, nonce: bytes
    ) -> Egress:
        return Egress(
            purpose="fraud detection",
            receiver=OPERATOR,
            jurisdiction=self.operator[0],
            traffic=traffic,
            message=message,
            size_bytes=size,
            digest=digest_of(message, size, len(self.entries)),
            round=round,
            nonce=nonce,
        )

    def join(self, round: int) -> None:
        """Write that a round is joined."""
        self.add(
            RoundJoin(
                agreement=self.agreement.digest,
                epoch=1,
                round=round,
                plan=digest_of("plan", round),
            )
        )

    def reserve(self, round: int, kind: RoundKind = RoundKind.TRAIN) -> bytes:
        """Write the reserve of a round; returns its nonce."""
        nonce = number("reserve", round)
        self.add(
            self.budget.reserve(
                DATASET,
                spending_of(self.agreement),
                schedule_event(self.agreement, 1, kind),
                nonce=nonce,
                epoch=1,
                round=round,
            )
        )
        return nonce

    def release(self, round: int, kind: RoundKind = RoundKind.TRAIN, size: int = 40_000) -> None:
        """Write a round that released something."""
        self.join(round)
        nonce = self.reserve(round, kind)
        self.control("parcel_kind_head", 600)
        self.add(
            BudgetCharge(nonce=nonce, outcome=Outcome.RELEASED, released=digest_of("delta", round)),
            self._egress("upload", size, Traffic.MECHANISM, round, nonce),
        )
        self.control("parcel_kind_reveal", 400)
        self.control("parcel_kind_endorsement", 420)

    def forfeit(self, round: int) -> None:
        """Write a round that released nothing and counts all the same."""
        self.join(round)
        self.add(
            BudgetCharge(nonce=self.reserve(round), outcome=Outcome.FORFEITED, released=Digest(""))
        )

    def refund(self, round: int, why: str = "1 upload came, 3 are needed") -> None:
        """Write a round that was void before any noise."""
        self.join(round)
        nonce = self.reserve(round)
        self.add(
            RoundVoid(
                agreement=self.agreement.digest,
                epoch=1,
                round=round,
                plan=digest_of("plan", round),
                reason=why,
            ),
            BudgetRefund(
                nonce=nonce, reason=RefundReason.ROUND_VOID, evidence=digest_of("void", round)
            ),
        )

    def head(self) -> bytes:
        """Sign the head, and have it cosigned by all other institutions, and those beside."""
        witnesses = [*(id for id in self.places if id != self.owner), *self.beside]
        owner, tree = self.ledger_keys(self.owner), Tree(self.raw)
        generation = self.entries[-1].generation
        asked = request_head(self.agreement.digest, self.owner, generation, tree, (), owner.head)
        head = TreeHead(
            institution=self.owner, generation=generation, size=len(tree), root=tree.root()
        )
        lines = []
        for place, id in enumerate(witnesses):
            keys = self.ledger_keys(id)
            time = int(datetime(2026, 2, 28, 12, tzinfo=UTC).timestamp()) + place
            one = cosign(asked, InstitutionId(id), keys, time)
            lines += witness_lines(one, keys.public())
        return head_note(head, owner.head, lines)

    def package(self) -> AuditPackage:
        """Put the package together."""
        raw = encode(self.agreement)
        digest = self.agreement.digest
        bodies = [entry.body for entry in self.entries]
        due = signers(InstitutionId(self.owner), bodies, {digest: self.agreement})
        signatures = Signatures.of(
            {
                InstitutionId(id): keys.sign(Purpose.AGREEMENT, raw).signature
                for id, keys in self.keys.items()
                if id != REGULATOR
            },
            due[digest],
        )
        return AuditPackage(
            entries=tuple(self.raw),
            head=self.head(),
            agreements={digest: raw},
            signatures={digest: signatures},
        )

    def verified(
        self, *, anchored: bool = True, operator: "Ledger | None" = None, older: bytes = b""
    ) -> tuple[Verification, list[Any]]:
        """Verify the package, and hold it against the operator's ledger and a kept head."""
        anchors = [self.agreement.digest] if anchored else []
        other = None
        if operator is not None:
            other = Verification(operator.package(), anchors=[operator.agreement.digest])
        verification = Verification(
            self.package(),
            anchors=anchors,
            operator=other,
            older=read_note(older) if older else None,
            outside=self.ledger_keys(REGULATOR).public().witnesses(REGULATOR)
            if REGULATOR in self.beside
            else (),
        )
        steps = list(verification.steps())
        assert verification.is_founded, steps[-1]
        return verification, steps

    def written(
        self,
        *,
        anchored: bool = True,
        operator: "Ledger | None" = None,
        older: bytes = b"",
        recomputing: bool = False,
        **more: Any,
    ) -> Written:
        """Write the report; computing every ε again takes seconds."""
        verification, steps = self.verified(anchored=anchored, operator=operator, older=older)
        return write_report(
            verification,
            steps,
            recompute(verification) if recomputing else (),
            package=PackageFacts(name="bank.zip", sha256="e" * 64, bytes=12_345),
            made=MADE,
            software="comity 0.1.0",
            **more,
        )


def full() -> Ledger:
    """Write a ledger with something of everything, by the rules."""
    ledger = Ledger(terms={"rounds": 6, "spare_rounds": 2, "scored_after": (2,)}).begin()
    ledger.release(1)
    ledger.release(2)
    ledger.release(3, RoundKind.EVALUATE, 1_200)
    ledger.refund(4)
    ledger.forfeit(5)
    ledger.release(6)
    return ledger


def operators(of: Ledger) -> Ledger:
    """Write the ledger of the operator that an institution's messages reached."""
    agreement = of.agreement.digest
    ledger = Ledger(
        owner=OPERATOR,
        terms=of.terms,
        changed=of.changed,
        places=of.places,
        operator=of.operator,
    )
    ledger.add(
        Genesis(nonce=number("operator"), software="comity 0.1.0"),
        *(
            MemberApprove(
                institution=InstitutionId(id), jurisdiction=country, party=digest_of("party", id)
            )
            for id, (country, _) in of.places.items()
        ),
        AgreementStart(agreement=agreement),
    )
    for entry in of.entries:
        body = entry.body
        if isinstance(body, RoundJoin):
            ledger.add(
                RoundPlan(agreement=agreement, epoch=body.epoch, round=body.round, plan=body.plan),
                RoundCertificate(
                    agreement=agreement,
                    epoch=body.epoch,
                    round=body.round,
                    plan=body.plan,
                    certificate=digest_of("certificate", body.round),
                    is_void=body.round == 4,
                    model=digest_of("model", 3 if body.round == 4 else body.round),
                ),
            )
        if isinstance(body, Egress):
            ledger.add(
                Ingress(
                    purpose=body.purpose,
                    sender=of.owner,
                    jurisdiction=of.places[of.owner][0],
                    traffic=body.traffic,
                    message=body.message,
                    size_bytes=body.size_bytes,
                    digest=body.digest,
                    round=body.round,
                    nonce=body.nonce,
                )
            )
    rounds = [entry.body.round for entry in of.entries if isinstance(entry.body, RoundJoin)]
    if rounds:
        last = rounds[-1]
        ledger.add(ModelRelease(agreement=agreement, round=last, model=digest_of("model", last)))
    ledger.add(AgreementEnd(agreement=agreement, ending=Ending.FINISHED))
    return ledger
