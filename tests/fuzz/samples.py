"""Valid samples of every message, made by the code that makes them in a federation."""

import random
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from comity_common.agreement import Party
from comity_common.canonical import encode
from comity_common.crypto.seal import SealingKey
from comity_common.crypto.sign import Purpose, Signed
from comity_common.errors import RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.membership import (
    PROTOCOL_VERSION,
    Approval,
    Invitation,
    OperatorCard,
    Withdrawal,
)
from comity_common.secagg.collector import Collector
from comity_common.secagg.keyepoch import make_halves, read_halves, read_keys, view_digest
from comity_common.secagg.messages import (
    CertificateBody,
    Complaint,
    Deadline,
    Decline,
    Endorsement,
    EpochHalves,
    EpochKey,
    EpochOpen,
    EpochView,
    Plan,
    Receipt,
    Survivors,
)
from comity_common.secagg.participant import certificate_digest, header_digest
from comity_common.secagg.plan import plan_digest
from tests.simulation.federation import World
from tests.simulation.network import Identity

TOKEN = bytes(range(16))
EPOCH = 2  # the world has set up epoch 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """A round of three institutions, the first of which is *me*, and the others who are hostile.

    Attributes:
        collector: at the stage where reveals are waited for.
        reveals, endorsements, keys, halves, views: signed, in the order of the roster.
    """

    world: World
    me: InstitutionId
    plan: Plan
    collector: Collector
    survivors: Survivors
    reveals: tuple[Signed, ...]
    certificate: CertificateBody
    endorsements: tuple[Signed, ...]
    opened: EpochOpen
    sealing: dict[InstitutionId, SealingKey]
    keys: tuple[Signed, ...]
    halves: tuple[Signed, ...]
    views: tuple[Signed, ...]

    def sign(self, purpose: Purpose, message: object) -> Signed:
        """Sign as the operator."""
        return self.world.operator.sign(purpose, encode(message))

    @property
    def roster(self) -> tuple[InstitutionId, ...]:
        """Everybody."""
        return self.world.agreement.roster

    def messages(self) -> list[object]:
        """Return one valid message of every kind that is signed and sent."""
        agreement, dealt = self.world.agreement, self.world.dealt[self.me]
        plan, digest = plan_digest(self.plan), agreement.digest
        return [
            agreement,
            *(Withdrawal(agreement=digest, institution=self.me, by=by) for by in (self.me,)),
            card(self.world),
            Approval(certificate="PEM", authority="PEM"),
            self.opened,
            self.plan,
            dealt.header,
            dealt.upload,
            Receipt(header=header_digest(dealt.header)),
            Deadline(plan=plan, until=2_000_000_000),
            self.survivors,
            Complaint(dealer=self.me, box_key=bytes(32)),
            self.certificate,
            Decline(
                agreement=digest,
                round=self.plan.round,
                plan=plan,
                institution=self.me,
                code=RefusalCode.BUDGET,
            ),
        ]

    def bodies(self) -> list[bytes]:
        """Return the canonical bytes of one valid message of every kind."""
        signed = (self.reveals, self.endorsements, self.keys, self.halves, self.views)
        return [encode(one) for one in self.messages()] + [
            *(some[0].body for some in signed),
            enrolment(Identity(self.me)).body,
        ]


@cache
def samples() -> Samples:
    """Play a round; the same one for all targets of a process."""
    world = World.of(3)
    agreement, roster = world.agreement, world.agreement.roster
    plan = world.plan()
    collector = Collector(agreement, plan)
    for who in roster:
        world.deal(plan, who, random.Random(1))
        collector.upload(*world.signed[who], world.dealt[who].boxes)
    assert collector.survivors is not None
    certificate = CertificateBody(
        agreement=agreement.digest,
        epoch=plan.epoch,
        round=plan.round,
        plan=plan_digest(plan),
        survivors=roster,
        total=bytes(32),
        reason="",
    )
    opened = EpochOpen(agreement=agreement.digest, epoch=EPOCH, members=roster)
    sealing = {who: SealingKey.generate() for who in roster}

    def signed(purpose: Purpose, make: type, **fields: object) -> tuple[Signed, ...]:
        made = []
        for who in roster:
            values = {name: one(who) if callable(one) else one for name, one in fields.items()}
            message = make(agreement=agreement.digest, institution=who, **values)
            made.append(world.keys[who].sign(purpose, encode(message)))
        return tuple(made)

    keys = signed(Purpose.EPOCH_KEY, EpochKey, epoch=EPOCH, key=lambda who: sealing[who].public())
    read = read_keys(agreement, opened, keys)
    halves = signed(
        Purpose.EPOCH_HALVES,
        EpochHalves,
        epoch=EPOCH,
        sealed=lambda who: make_halves(agreement, opened, who, read)[0].sealed,
    )
    view = view_digest(opened, read, read_halves(agreement, opened, halves))
    return Samples(
        world=world,
        me=roster[0],
        plan=plan,
        collector=collector,
        survivors=collector.survivors,
        reveals=tuple(world.reveal(plan, who, collector.survivors) for who in roster),
        certificate=certificate,
        endorsements=signed(
            Purpose.ENDORSEMENT,
            Endorsement,
            epoch=plan.epoch,
            round=plan.round,
            certificate=certificate_digest(certificate),
            model=Digest("5" * 64),
        ),
        opened=opened,
        sealing=sealing,
        keys=keys,
        halves=halves,
        views=signed(Purpose.EPOCH_VIEW, EpochView, epoch=EPOCH, view=view),
    )


def card(world: World, **told: object) -> OperatorCard:
    """Write what the operator tells whoever holds an invitation."""
    fields: dict[str, object] = {
        "version": PROTOCOL_VERSION,
        "operator": world.agreement.operator,
        "transfer": "operator.example:7443",
        "gate": "operator.example:7445",
        "institution": InstitutionId("inst-00"),
        "jurisdiction": "DE",
        "expires": 2_000_000_000,
        "now": 1_900_000_000,
    }
    return OperatorCard(**(fields | told))  # type: ignore[arg-type]


def enrolment(identity: Identity) -> Signed:
    """Write an institution's request under the one token."""
    return identity.enrolment(TOKEN, "ssh-ed25519 AAAA node")


def invitation() -> str:
    """Write an invitation."""
    return Invitation(
        host="operator.example", port=7444, token=TOKEN, pin=bytes(32),
        operator_jurisdiction="DE", institution=InstitutionId("inst-00"), jurisdiction="FR",
    ).write()  # fmt: skip


def certificate_request(id: str = "inst-00") -> bytes:
    """Write a certificate request, as PEM."""
    return Identity(InstitutionId(id)).request()


@cache
def certificate() -> x509.Certificate:
    """Make a certificate that its own key signed."""
    import datetime

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    start = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start)
    return builder.not_valid_after(start + datetime.timedelta(days=9000)).sign(key, SHA256())


def certificate_der() -> bytes:
    """Return that certificate in DER."""
    return certificate().public_bytes(Encoding.DER)


def party() -> Party:
    """Return an institution of the world."""
    return samples().world.agreement.institutions[0]
