"""The dishonest peer: an operator that shows to each what it likes, and institutions that help it.

Real vaults with their real stores sit on the other side. Change the world in one line, run, look:

    world = Dishonest(tmp_path)
    world.collect()
    reveal = world.show(world.roster[0], world.listing(world.roster[:4]))

What it may do is what the threat model gives it: sign anything as the operator, sign and answer
anything as a colluding institution, keep every byte that it was ever sent, and deliver anything in
any order. It never reads an honest vault's store.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comity.v1 import transfer_pb2 as pb
from comity_client.rounds import StoredUpload
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.messages import Decline, Header, Plan, Receipt, Reveal, Survivors, Upload
from comity_common.secagg.participant import answer, header_digest, upload_digest
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.unmasking import Residue, residue

from .operator import Line
from .test_vaults import Federation, Seat


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An upload as the operator has it."""

    header: Header
    signed_header: Signed
    signed_upload: Signed
    boxes: tuple[bytes, ...]
    vector: bytes


class Thief(Line):
    """A line whose operator takes every upload, gives a receipt for each and forgets none."""

    def __init__(self, world: "Dishonest", me: InstitutionId) -> None:
        super().__init__(world.operator, me)
        self.world = world

    def send(self, agreement: Digest, kind: int, message: Signed) -> None:
        """Keep the message; the collector is not asked."""
        if kind in (pb.PARCEL_KIND_REVEAL, pb.PARCEL_KIND_DECLINE):
            self.world.sent.append((self.me, kind, message))
        else:
            super().send(agreement, kind, message)

    def upload(self, agreement: Digest, stored: StoredUpload, file: Path) -> Signed:
        """Take an upload, also a second one."""
        header = decode(Header, stored.header)
        taken = Taken(
            header=header,
            signed_header=Signed(body=stored.header, signature=stored.header_signature),
            signed_upload=Signed(body=stored.upload, signature=stored.upload_signature),
            boxes=stored.boxes,
            vector=file.read_bytes(),
        )
        versions = self.world.taken.setdefault(self.me, [])
        if taken not in versions:
            versions.append(taken)
        return self.world.sign(Purpose.RECEIPT, Receipt(header=header_digest(header)))


class Dishonest(Federation):
    """Honest vaults, an operator without manners, and the last institution on its side.

    Attributes:
        taken: every different upload of the present round, by sender.
        sent: every reveal and decline that a vault sent.
    """

    def __init__(self, path: Path, n: int = 5) -> None:
        super().__init__(path, n=n)
        self.taken: dict[InstitutionId, list[Taken]] = {}
        self.sent: list[tuple[InstitutionId, int, Signed]] = []
        self.roster = list(self.agreement.roster)
        self.colluder = self.roster[-1]
        self.honest = self.roster[:-1]
        self.set_up_keys()
        for seat in self.seats.values():
            self.bug(seat)

    @property
    def plan(self) -> Plan:
        """The plan of the present round."""
        return self.operator.plan

    def bug(self, seat: Seat) -> None:
        """Put a thief at the other end of a seat's line."""
        line = Thief(self, seat.inst.me)
        seat.line = line
        seat.vault._uplink = seat.letters._uplink = seat.mailroom._uplink = line

    def sign(self, purpose: Purpose, message: object) -> Signed:
        """Sign as the operator."""
        return self.operator.keys.sign(purpose, encode(message))

    def sign_as(self, who: InstitutionId, purpose: Purpose, message: object) -> Signed:
        """Sign as a colluding institution."""
        return self.seats[who].inst.keys.signing.sign(purpose, encode(message))

    def offer(self, plan: Plan, who: Iterable[InstitutionId]) -> dict[InstitutionId, str]:
        """Order a plan of any content and return what each says: "taken" or its refusal."""
        self.operator.plans[plan_digest(plan)] = self.sign(Purpose.PLAN, plan)
        said = {}
        for id in who:
            refused = self.order(plan, [id])
            before = len(self.sent)
            if not refused:
                self.seats[id].work()
            declines = [decode(Decline, message.body) for _, kind, message in self.sent[before:]
                        if kind == pb.PARCEL_KIND_DECLINE]  # fmt: skip
            said[id] = refused.get(id) or next((d.code for d in declines), "taken")
        return said

    def collect(self, who: Sequence[InstitutionId] | None = None) -> Plan:
        """Run a round of all up to the uploads of some."""
        plan = self.operator.begin_round(self.roster)
        self.taken.clear()
        assert set(self.offer(plan, who or self.roster).values()) == {"taken"}
        return plan

    def listing(
        self, who: Sequence[InstitutionId], versions: Mapping[InstitutionId, int] | None = None
    ) -> Survivors:
        """Write a survivor list over uploads that came, of some institutions another version."""
        chosen = self._chosen(who, versions or {})
        return Survivors(
            plan=plan_digest(self.plan),
            survivors=tuple(who),
            headers=tuple(header_digest(taken.header) for taken in chosen),
            uploads=tuple(
                upload_digest(decode(Upload, taken.signed_upload.body)) for taken in chosen
            ),
        )

    def show(
        self,
        who: InstitutionId | Seat,
        listed: Survivors,
        *,
        headers: Sequence[Signed] | None = None,
        uploads: Sequence[Signed] | None = None,
        boxes: Sequence[bytes] | None = None,
        signed: Signed | None = None,
    ) -> Reveal | None:
        """Show a list to a vault, with anything in place of what belongs to it.

        Returns:
            the answer, or None if it gave none.
        """
        seat = who if isinstance(who, Seat) else self.seats[who]
        chosen = self._named(listed)
        slot = self.plan.participants.index(seat.inst.me)
        messages = [
            signed or self.sign(Purpose.SURVIVORS, listed),
            *([taken.signed_header for taken in chosen] if headers is None else headers),
            *([taken.signed_upload for taken in chosen] if uploads is None else uploads),
        ]
        if boxes is None:
            boxes = [taken.boxes[slot] for taken in chosen]
        return self.post(seat, pb.PARCEL_KIND_SURVIVORS, messages, boxes)

    def post(
        self, seat: Seat, kind: int, messages: Sequence[Signed], boxes: Sequence[bytes] = ()
    ) -> Reveal | None:
        """Deliver anything; return the reveal that it set off, if any."""
        before = len(self.sent)
        self.operator.post(seat.inst.me, kind, list(messages), boxes)
        seat.deliver(self.operator.mail[seat.inst.me][-1])
        seat.letters.send_waiting()
        for _, sent, message in self.sent[before:]:
            if sent == pb.PARCEL_KIND_REVEAL:
                return decode(Reveal, message.body)
        return None

    def help_with(self, listed: Survivors) -> Reveal:
        """Let the colluding institution answer a list, whatever it answered before."""
        seat = self.seats[self.colluder]
        round = seat.inst.rounds.get(self.agreement.digest, self.plan.round)
        chosen = self._named(listed)
        slot = self.plan.participants.index(self.colluder)
        return answer(
            self.agreement,
            self.plan,
            self.colluder,
            round.held,
            listed,
            [taken.signed_header for taken in chosen],
            [taken.signed_upload for taken in chosen],
            [taken.boxes[slot] for taken in chosen],
        )

    def open(self, listed: Survivors, reveals: Iterable[Reveal | None]) -> Residue | None:
        """Try to unmask the sum of a list with what was answered; None if that is not enough."""
        headers = {taken.header.institution: taken.header for taken in self._named(listed)}
        known = {reveal.institution: reveal for reveal in reveals if reveal is not None}
        named = bytes.fromhex(listed.plan)
        try:
            return residue(self.plan, named, listed.survivors, headers, known)
        except PeerError:
            return None

    def round_of(self, who: InstitutionId) -> Any:
        """Look into a vault's store, as a test may and the adversary may not."""
        return self.seats[who].inst.rounds.get(self.agreement.digest, self.plan.round)

    def _chosen(
        self, who: Sequence[InstitutionId], versions: Mapping[InstitutionId, int]
    ) -> list[Taken]:
        return [self.taken[id][versions.get(id, 0)] for id in who]

    def _named(self, listed: Survivors) -> list[Taken]:
        every = {
            (header_digest(taken.header), upload_digest(decode(Upload, taken.signed_upload.body))):
                taken
            for own in self.taken.values()
            for taken in own
        }  # fmt: skip
        named = zip(listed.headers, listed.uploads, strict=False)
        return [every[name] for name in named if name in every]
