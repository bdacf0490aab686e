"""Reads the signed messages of a stored round; what comes out was verified.

Each function checks one kind of file, in the order in which they stand on each other: agreement,
plan, certificate, uploads, survivor list, reveals. What it raises begins with the file's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from comity_audit.directory import StoredRound
from comity_audit.steps import about
from comity_common.agreement import Agreement
from comity_common.canonical import decode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import PeerError, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.messages import (
    CertificateBody,
    Decline,
    Endorsement,
    Header,
    Plan,
    Reveal,
    Survivors,
    Upload,
)
from comity_common.secagg.participant import (
    box_digest,
    certificate_digest,
    check_certificate,
    is_justified,
    listed_headers,
    listed_uploads,
    read_header,
    read_reveal,
    read_upload,
)
from comity_common.secagg.plan import check_terms, plan_digest
from comity_common.storedround import (
    AGREEMENT_FILE,
    CERTIFICATE,
    PLAN,
    SURVIVORS,
    box_of,
    decline_of,
    endorsement_of,
    header_of,
    reveal_of,
    signature_of,
    upload_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """One institution's upload, less its vector."""

    header: Header
    signed_header: Signed
    signed_upload: Signed
    upload: Upload


def read_agreement(stored: StoredRound) -> Agreement:
    """Verify that operator and institutions have all signed the agreement's exact bytes."""
    with about(AGREEMENT_FILE):
        raw = stored.message(AGREEMENT_FILE)
        agreement = decode(Agreement, raw)
    parties = (agreement.operator, *agreement.institutions)
    strangers = set(stored.ids("signatures", ".sig")) - {party.id for party in parties}
    if strangers:
        raise PeerError(f"{signature_of(min(strangers))}: expected no signature of a stranger")
    for party in parties:
        name = signature_of(party.id)
        with about(name):
            signed = Signed(body=raw, signature=stored.signature(name))
            verify(party.identity.ed25519, party.identity.mldsa44, Purpose.AGREEMENT, signed)
    return agreement


def read_plan(stored: StoredRound, agreement: Agreement) -> Plan:
    """Verify that the operator signed a plan and that it is what the agreement prescribes."""
    operator = agreement.operator.identity
    with about(PLAN + ".json"):
        signed = stored.signed(PLAN)
        raw = verify(operator.ed25519, operator.mldsa44, Purpose.PLAN, signed)
        plan = decode(Plan, raw)
        check_terms(agreement, plan)
    return plan


def read_certificate(stored: StoredRound, agreement: Agreement, plan: Plan) -> CertificateBody:
    """Verify that the operator signed how the round of this plan ended."""
    with about(CERTIFICATE + ".json"):
        signed = stored.signed(CERTIFICATE)
        claimed = decode(CertificateBody, signed.body)
        listed = Survivors(plan=claimed.plan, survivors=claimed.survivors, headers=(), uploads=())
        return check_certificate(agreement, plan, listed, signed, ())


def read_uploads(
    stored: StoredRound, agreement: Agreement, plan: Plan
) -> dict[InstitutionId, Uploaded]:
    """Verify the header and the upload message of each institution that uploaded."""
    found = {}
    for party in stored.ids("uploads", ".header.json"):
        with about(header_of(party) + ".json"):
            signed = stored.signed(header_of(party))
            header = read_header(agreement, plan, signed)
            if header.institution != party:
                raise PeerError(f"expected the header of {party}, got another's")
        with about(upload_of(party) + ".json"):
            signed_upload = stored.signed(upload_of(party))
            upload = read_upload(agreement, plan, header, signed_upload)
        found[party] = Uploaded(
            header=header, signed_header=signed, signed_upload=signed_upload, upload=upload
        )
    return found


def read_declines(
    stored: StoredRound,
    agreement: Agreement,
    plan: Plan,
    uploads: Mapping[InstitutionId, Uploaded],
) -> dict[InstitutionId, RefusalCode]:
    """Verify the words of those who took no part in this plan."""
    found = {}
    for party in stored.ids("declines", ".json"):
        with about(decline_of(party) + ".json"):
            signed = stored.signed(decline_of(party))
            message = decode(Decline, signed.body)
            expected = (plan.agreement, plan.round, plan_digest(plan), party)
            said = (message.agreement, message.round, message.plan, message.institution)
            if said != expected or party not in plan.participants:
                raise PeerError("expected a participant of this plan to decline")
            if party in uploads:
                raise PeerError(f"expected no decline of {party}, whose upload is here")
            identity = agreement.party(party).identity
            verify(identity.ed25519, identity.mldsa44, Purpose.DECLINE, signed)
            found[party] = message.code
    return found


def read_survivors(
    stored: StoredRound,
    agreement: Agreement,
    plan: Plan,
    uploads: Mapping[InstitutionId, Uploaded],
) -> Survivors:
    """Verify that the operator signed a list of just those who uploaded, with their headers."""
    operator = agreement.operator.identity
    with about(SURVIVORS + ".json"):
        signed = stored.signed(SURVIVORS)
        raw = verify(operator.ed25519, operator.mldsa44, Purpose.SURVIVORS, signed)
        survivors = decode(Survivors, raw)
        if survivors.survivors != tuple(sorted(uploads)):
            raise PeerError("expected a list of those who uploaded, and of nobody else")
        headers = [uploads[party].signed_header for party in survivors.survivors]
        checked = listed_headers(agreement, plan, survivors, headers)
        promised = [uploads[party].signed_upload for party in survivors.survivors]
        listed_uploads(agreement, plan, survivors, checked, promised)
    return survivors


def read_reveals(
    stored: StoredRound, agreement: Agreement, survivors: Survivors
) -> dict[InstitutionId, Reveal]:
    """Verify every survivor's answer to this very list."""
    found = {}
    for party in stored.ids("reveals", ".json"):
        with about(reveal_of(party) + ".json"):
            reveal = read_reveal(agreement, survivors, stored.signed(reveal_of(party)))
            if reveal.institution != party:
                raise PeerError(f"expected the reveal of {party}, got another's")
        found[party] = reveal
    return found


def justified_complaints(
    stored: StoredRound,
    plan: Plan,
    uploads: Mapping[InstitutionId, Uploaded],
    reveals: Mapping[InstitutionId, Reveal],
) -> list[tuple[InstitutionId, InstitutionId]]:
    """Judge every complaint again.

    Returns:
        dealer and helper of each that is justified. One that is not says nothing about the dealer.
    """
    found = []
    for helper, reveal in sorted(reveals.items()):
        slot = plan.participants.index(helper)
        for complaint in reveal.complaints:
            name, dealt = box_of(complaint.dealer, helper), uploads[complaint.dealer]
            box = stored.box(name)
            if box_digest(box) != dealt.upload.boxes[slot]:
                raise PeerError(f"{name}: expected the box that {complaint.dealer} signed for")
            if is_justified(complaint, plan, helper, dealt.header, dealt.upload, box):
                found.append((complaint.dealer, helper))
    return found


def read_endorsements(
    stored: StoredRound, agreement: Agreement, body: CertificateBody
) -> dict[InstitutionId, Digest]:
    """Verify who signed which model under this certificate."""
    named, found = certificate_digest(body), {}
    for party in stored.ids("endorsements", ".json"):
        with about(endorsement_of(party) + ".json"):
            identity = agreement.party(party).identity
            signed = stored.signed(endorsement_of(party))
            raw = verify(identity.ed25519, identity.mldsa44, Purpose.ENDORSEMENT, signed)
            message = decode(Endorsement, raw)
            under = (message.agreement, message.epoch, message.round, message.certificate)
            if message.institution != party:
                raise PeerError(f"expected the endorsement of {party}, got another's")
            if under != (body.agreement, body.epoch, body.round, named):
                raise PeerError("expected an endorsement of this certificate")
            found[party] = message.model
    return found
