"""The operator's half of a round: collect, list the survivors, unmask, certify or void.

A machine without clock, socket or file. The shell stores every message before it hands it in; after
a crash it hands them in again in the same order and arrives at the same stage, the same list and
the same residue.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from comity_common.agreement import Agreement
from comity_common.canonical import decode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import PeerError, RefusalCode
from comity_common.ids import InstitutionId
from comity_common.secagg import reasons
from comity_common.secagg.messages import (
    CertificateBody,
    Decline,
    Header,
    Plan,
    Reveal,
    Survivors,
    Upload,
)
from comity_common.secagg.participant import (
    box_digest,
    complaints,
    disagreeing_pairs,
    header_digest,
    is_justified,
    read_header,
    read_reveal,
    read_upload,
    upload_digest,
)
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import OPERATOR, Event, Stage, advance
from comity_common.secagg.unmasking import ClosedSeeds, Residue, residue


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One institution's complete upload, less the vector itself."""

    header: Header
    signed_header: Signed
    signed_upload: Signed
    upload: Upload
    boxes: tuple[bytes, ...]


class Collector:
    """One round at the operator.

    Attributes:
        stage: where the round is; the shell acts on it.
        survivors: the list, from the stage REVEALING on.
        residue: what to take off the sum, from the stage SUMMING on.
        reason: why the round is void.
    """

    def __init__(self, agreement: Agreement, plan: Plan) -> None:
        self.agreement = agreement
        self.plan = plan
        self.stage = Stage.COLLECTING
        self.uploads: dict[InstitutionId, Received] = {}
        self.declined: dict[InstitutionId, RefusalCode] = {}
        self.reveals: dict[InstitutionId, Reveal] = {}
        self.survivors: Survivors | None = None
        self.residue: Residue | None = None
        self.reason = ""
        self._digest = plan_digest(plan)

    def check_header(self, signed: Signed) -> Header:
        """Check a header before any byte of its vector is taken.

        Raises:
            PeerError: it is invalid, or this institution has begun another upload.
        """
        header = read_header(self.agreement, self.plan, signed)
        known = self.uploads.get(header.institution)
        if known is not None and known.header != header:
            raise PeerError("expected the header of the first upload; another is refused for ever")
        return header

    def upload(self, signed_header: Signed, signed_upload: Signed, boxes: Sequence[bytes]) -> None:
        """Take a complete upload.

        Raises:
            PeerError: it is invalid or too late.
        """
        header = self.check_header(signed_header)
        if header.institution in self.uploads:
            return
        if self.stage is not Stage.COLLECTING:
            raise PeerError(f"expected no upload of a round that is {self.stage}")
        upload = read_upload(self.agreement, self.plan, header, signed_upload)
        if upload.boxes != tuple(box_digest(box) for box in boxes):
            raise PeerError("expected the boxes that were signed with this header")
        self.declined.pop(header.institution, None)
        self.uploads[header.institution] = Received(
            header=header,
            signed_header=signed_header,
            signed_upload=signed_upload,
            upload=upload,
            boxes=tuple(boxes),
        )
        self._close_if_settled()

    def decline(self, signed: Signed) -> None:
        """Note that an institution takes no further part in this round."""
        message = decode(Decline, signed.body)
        if message.plan != self._digest or message.institution not in self.plan.participants:
            raise PeerError("expected a participant of this plan to decline")
        identity = self.agreement.party(message.institution).identity
        verify(identity.ed25519, identity.mldsa44, Purpose.DECLINE, signed)
        self.excuse(message.institution, message.code)

    def excuse(self, institution: InstitutionId, code: RefusalCode) -> None:
        """Stop waiting for an institution, by its own word or because no order reached it."""
        if self.stage is Stage.COLLECTING and institution not in self.uploads:
            self.declined[institution] = code
            self._close_if_settled()

    def reveal(self, signed: Signed) -> None:
        """Take a survivor's shares.

        Raises:
            PeerError: it is invalid, or a second, different one.
        """
        if self.survivors is None:
            raise PeerError("expected no reveal before the survivor list")
        message = read_reveal(self.agreement, self.survivors, signed)
        if message.institution in self.reveals:
            if self.reveals[message.institution] != message:
                raise PeerError("expected the same reveal again")
            return
        if self.stage is not Stage.REVEALING:
            return
        self.reveals[message.institution] = message
        self._judge(message)
        if self.stage is Stage.REVEALING:
            self._unmask(last=len(self.reveals) == len(self.survivors.survivors))

    def expire(self) -> None:
        """Let the deadline of the present stage pass."""
        if self.stage is Stage.COLLECTING:
            self._close()
        elif self.stage is Stage.REVEALING:
            self._unmask(last=True)

    def summed(self) -> None:
        """Note that the sum is unmasked and every canary is right."""
        self.stage = advance(OPERATOR, self.stage, Event.SUMMED)

    def fail(self, reason: str) -> None:
        """Void the round."""
        self.stage = advance(OPERATOR, self.stage, Event.FAIL)
        self.reason = reason

    def certificate(self, total: bytes) -> CertificateBody:
        """Write the certificate's body.

        Args:
            total: root of the summed vector's chunks; ignored when the round is void.
        """
        survivors = self.survivors.survivors if self.survivors is not None else ()
        certified = self.stage is Stage.CERTIFIED
        return CertificateBody(
            agreement=self.plan.agreement,
            epoch=self.plan.epoch,
            round=self.plan.round,
            plan=self._digest,
            survivors=survivors if certified else (),
            total=total if certified else b"",
            reason="" if certified else self.reason,
        )

    def _close_if_settled(self) -> None:
        if len(self.uploads) + len(self.declined) == len(self.plan.participants):
            self._close()

    def _close(self) -> None:
        listed = tuple(sorted(self.uploads))
        if len(listed) < self.plan.minimum:
            self.fail(
                reasons.too_few_uploads(len(listed), len(self.plan.participants), self.plan.minimum)
            )
            return
        headers = {party: self.uploads[party].header for party in listed}
        disagreeing = disagreeing_pairs(self.plan, headers)
        if disagreeing:
            self.fail(reasons.unlike_seeds(disagreeing))
            return
        self.survivors = Survivors(
            plan=self._digest,
            survivors=listed,
            headers=tuple(header_digest(headers[party]) for party in listed),
            uploads=tuple(upload_digest(self.uploads[party].upload) for party in listed),
        )
        self.stage = advance(OPERATOR, self.stage, Event.ENOUGH)

    def _judge(self, message: Reveal) -> None:
        position = self.plan.participants.index(message.institution)
        for complaint in message.complaints:
            dealt = self.uploads[complaint.dealer]
            if is_justified(
                complaint,
                self.plan,
                message.institution,
                dealt.header,
                dealt.upload,
                dealt.boxes[position],
            ):
                self.fail(reasons.false_share(complaint.dealer, message.institution))
                return

    def _unmask(self, *, last: bool) -> None:
        if len(self.reveals) >= self.plan.threshold and self.survivors is not None:
            headers = {party: self.uploads[party].header for party in self.survivors.survivors}
            try:
                self.residue = residue(
                    self.plan,
                    bytes.fromhex(self._digest),
                    self.survivors.survivors,
                    headers,
                    self.reveals,
                )
            except ClosedSeeds as closed:
                if last:
                    self.fail(reasons.false_reveals(closed.dealers, complaints(self.reveals)))
                return
            self.stage = advance(OPERATOR, self.stage, Event.UNMASKED)
        elif last:
            self.fail(reasons.too_few_reveals(len(self.reveals), self.plan.threshold))
