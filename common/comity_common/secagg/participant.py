"""The institution's half of a round: deal, mask, answer one survivor list, check the certificate.

Pure functions over frozen values; the vault stores what they return before it sends anything.
What is kept between upload and reveal is `Held`: enough to answer one list, not enough to mask the
vector again or to open anybody else's.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from comity_common import chunks
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.derive import digest, expand
from comity_common.crypto.seal import close_box, open_box
from comity_common.crypto.shamir import split
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import PeerError
from comity_common.fixedpoint import Lanes
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.masking import (
    SEED_BYTES,
    commitment,
    masked_windows,
    pair_seed,
    vector_bytes,
)
from comity_common.secagg.messages import (
    CertificateBody,
    Complaint,
    Endorsement,
    Header,
    Plan,
    Reveal,
    Survivors,
    Upload,
)
from comity_common.secagg.plan import check_terms, plan_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What an institution keeps to answer a survivor list.

    Attributes:
        header: digest of its own header.
        own_share: the share that it dealt to itself.
        box_roots: per participant, the key from which the key of that dealer's box follows.
    """

    header: Digest
    own_share: bytes
    box_roots: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"Held({len(self.box_roots)} boxes)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealt:
    """What belongs to a masked vector that was written: ready to be stored and then sent.

    Attributes:
        leaves: 32 bytes per chunk of the masked vector.
        boxes: per participant, the encrypted share; empty in its own slot.
    """

    leaves: tuple[bytes, ...]
    header: Header
    upload: Upload
    boxes: tuple[bytes, ...]
    held: Held

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.header.size} bytes)"


def header_digest(header: Header) -> Digest:
    """Name an upload: its header's digest keys its boxes."""
    return Digest(digest("header", encode(header)).hex())


def deal(
    plan: Plan,
    me: InstitutionId,
    round_keys: Mapping[InstitutionId, bytes],
    windows: Iterable[Lanes],
    write: Callable[[memoryview], object],
) -> Dealt:
    """Mask a vector and share the seeds that may be needed to unmask the sum.

    Args:
        round_keys: p of every other participant, 32 bytes each, used for this plan only.
        windows: the lanes from `fixedpoint.quantise` in order, d of uint32 in all.
        write: takes the masked vector piece by piece; it has to be whole on disk before anything
            of what is returned leaves.

    Raises:
        LocalError: other than d lanes of uint32.
    """
    named = bytes.fromhex(plan_digest(plan))
    others = [party for party in plan.participants if party != me]
    self_seed = os.urandom(SEED_BYTES)
    seeds = {peer: pair_seed(round_keys[peer], me, peer) for peer in others}

    running = chunks.RunningRoot(vector_bytes(plan.lanes, plan.ring_width))
    for piece in masked_windows(
        windows,
        plan.lanes,
        plan.ring_width,
        me=me,
        self_seed=self_seed,
        pair_seeds=list(seeds.items()),
    ):
        running.update(piece)
        write(piece)

    slots = [self_seed if party == me else seeds[party] for party in plan.participants]
    secret = b"".join(slots)
    shares = split(
        secret,
        plan.threshold,
        len(plan.participants),
        os.urandom((plan.threshold - 1) * len(secret)),
    )
    header = Header(
        plan=plan_digest(plan),
        institution=me,
        size=vector_bytes(plan.lanes, plan.ring_width),
        root=running.finish(),
        commitments=tuple(commitment(named, seed) for seed in slots),
        shares=tuple(_share_digest(share) for share in shares),
    )
    name = header_digest(header)
    keys = tuple(
        b"" if peer == me else _box_key(round_keys[peer], me, peer, name)
        for peer in plan.participants
    )
    boxes = tuple(
        close_box(key, share, _aad(name)) if key else b""
        for key, share in zip(keys, shares, strict=True)
    )
    return Dealt(
        leaves=tuple(running.leaves),
        header=header,
        upload=Upload(
            header=name,
            boxes=tuple(box_digest(box) for box in boxes),
            keys=tuple(digest("box-key", key) if key else b"" for key in keys),
        ),
        boxes=boxes,
        held=Held(
            header=name,
            own_share=shares[plan.participants.index(me)],
            box_roots=tuple(
                b"" if peer == me else _box_root(round_keys[peer], peer, me)
                for peer in plan.participants
            ),
        ),
    )


def upload_digest(upload: Upload) -> Digest:
    """Name an upload message."""
    return Digest(digest("upload", encode(upload)).hex())


def list_digest(survivors: Survivors) -> Digest:
    """Name a survivor list: plan, survivors, all their headers and upload messages."""
    return Digest(digest("survivors", encode(survivors)).hex())


def answer(
    agreement: Agreement,
    plan: Plan,
    me: InstitutionId,
    held: Held,
    survivors: Survivors,
    headers: Sequence[Signed],
    uploads: Sequence[Signed],
    boxes: Sequence[bytes],
) -> Reveal:
    """Answer a survivor list with the shares that unmask its sum.

    The caller stores the list's digest before it sends the answer and never answers another list
    for the same round.

    Args:
        headers: of all survivors, in order.
        uploads: their upload messages: a box that its dealer did not sign for is the operator's
            doing, and is never answered with a key.
        boxes: per survivor, the box that it made for me; empty in my own slot.

    Raises:
        PeerError: the list is not one that may be answered.
    """
    chosen = listed_headers(agreement, plan, survivors, headers)
    if me not in chosen or header_digest(chosen[me]) != held.header:
        raise PeerError("expected my own header, the one that I stored, among the survivors")
    if len(boxes) != len(survivors.survivors):
        raise PeerError("expected one box per survivor")
    _check_pairs(plan, me, chosen)
    promised = listed_uploads(agreement, plan, survivors, chosen, uploads)

    position = plan.participants.index(me)
    dropped = [k for k, party in enumerate(plan.participants) if party not in chosen]
    shares, complaints = [], []
    for (dealer, header), box in zip(chosen.items(), boxes, strict=True):
        slot = plan.participants.index(dealer)
        if dealer == me:
            share = held.own_share
        else:
            if promised[dealer].boxes[position] != box_digest(box):
                raise PeerError(f"expected the box that {dealer} signed for")
            key = expand(held.box_roots[slot], "box", _aad(header_digest(header)))
            opened = _opened(key, box, header, position)
            if opened is None:
                complaints.append(Complaint(dealer=dealer, box_key=key))
                shares.append(b"")
                continue
            share = opened
        shares.append(b"".join(share[SEED_BYTES * k :][:SEED_BYTES] for k in (slot, *dropped)))
    return Reveal(
        survivors=list_digest(survivors),
        institution=me,
        shares=tuple(shares),
        complaints=tuple(complaints),
    )


def is_justified(
    complaint: Complaint,
    plan: Plan,
    helper: InstitutionId,
    header: Header,
    upload: Upload,
    box: bytes,
) -> bool:
    """Judge a complaint as anyone can: does the promised key open the box to a false share?

    A key that the dealer did not sign for proves nothing, so no dealer can be framed. A dealer that
    signs for another key than the one it boxed with is therefore not named by one complaint: helper
    and dealer alone know which key is right. See `reasons.false_reveals` for what is said then.
    """
    position = plan.participants.index(helper)
    if digest("box-key", complaint.box_key) != upload.keys[position]:
        return False
    return _opened(complaint.box_key, box, header, position) is None


def check_certificate(
    agreement: Agreement,
    plan: Plan | None,
    answered: Survivors | None,
    certificate: Signed,
    endorsements: Sequence[Signed],
) -> CertificateBody:
    """Check how a round ended.

    A certificate over the list that I answered stands on that list. A certificate of a round that
    I was not in stands on t endorsements of its participants, who agree on the next model. A void
    one changes no model and needs the operator's signature alone.

    Args:
        plan: the plan of that round, where I hold it.
        answered: the list that I answered in that round, if any.

    Raises:
        PeerError: it cannot be accepted.
    """
    operator = agreement.operator.identity
    raw = verify(operator.ed25519, operator.mldsa44, Purpose.CERTIFICATE, certificate)
    body = decode(CertificateBody, raw)
    if body.agreement != agreement.digest:
        raise PeerError("expected a certificate of this agreement")
    if plan is not None:
        check_terms(agreement, plan)
        if (body.plan, body.epoch, body.round) != (plan_digest(plan), plan.epoch, plan.round):
            raise PeerError("expected a certificate of this plan")
    if body.void:
        return body
    if plan is None:
        raise PeerError("expected the plan of the round")
    if answered is not None:
        if body.survivors != answered.survivors:
            raise PeerError("expected a certificate over the survivors that I answered")
        return body
    listed = body.survivors
    if list(listed) != sorted(set(listed)) or not set(listed) <= set(plan.participants):
        raise PeerError("expected survivors among the participants, in order, each once")
    if len(listed) < plan.minimum:
        raise PeerError(f"expected at least {plan.minimum} survivors, got {len(listed)}")
    endorsed_model(agreement, plan, body, endorsements)
    return body


def endorsed_model(
    agreement: Agreement, plan: Plan, body: CertificateBody, endorsements: Sequence[Signed]
) -> Digest:
    """Return the next model that t participants of a round computed alike.

    Raises:
        PeerError: fewer than t valid endorsements agree.
    """
    named = certificate_digest(body)
    models: dict[Digest, set[InstitutionId]] = {}
    for signed in endorsements:
        endorsement = decode(Endorsement, signed.body)
        if endorsement.institution not in plan.participants:
            continue
        identity = agreement.party(endorsement.institution).identity
        verify(identity.ed25519, identity.mldsa44, Purpose.ENDORSEMENT, signed)
        if (endorsement.agreement, endorsement.epoch, endorsement.round) != (
            body.agreement,
            body.epoch,
            body.round,
        ) or endorsement.certificate != named:
            raise PeerError("expected endorsements of this certificate")
        models.setdefault(endorsement.model, set()).add(endorsement.institution)
    for model, endorsers in models.items():
        if len(endorsers) >= plan.threshold:
            return model
    raise PeerError(f"expected {plan.threshold} endorsements of one model")


def certificate_digest(body: CertificateBody) -> Digest:
    """Name a round's end: the next plan carries this digest."""
    return Digest(digest("certificate", encode(body)).hex())


def listed_headers(
    agreement: Agreement, plan: Plan, survivors: Survivors, headers: Sequence[Signed]
) -> dict[InstitutionId, Header]:
    """Verify a survivor list against the headers of those whom it names.

    Raises:
        PeerError: the list may not be answered, or names another header than one of these.
    """
    listed = survivors.survivors
    if survivors.plan != plan_digest(plan):
        raise PeerError("expected survivors of this plan")
    if list(listed) != sorted(set(listed)) or not set(listed) <= set(plan.participants):
        raise PeerError("expected survivors among the participants, in order, each once")
    if len(listed) < plan.minimum:
        raise PeerError(f"expected at least {plan.minimum} survivors, got {len(listed)}")
    if len(headers) != len(listed) or len(survivors.headers) != len(listed):
        raise PeerError("expected one header per survivor")
    checked = {}
    for party, named, signed in zip(listed, survivors.headers, headers, strict=True):
        header = read_header(agreement, plan, signed)
        if header.institution != party or header_digest(header) != named:
            raise PeerError(f"expected the listed header of {party}")
        checked[party] = header
    return checked


def listed_uploads(
    agreement: Agreement,
    plan: Plan,
    survivors: Survivors,
    headers: Mapping[InstitutionId, Header],
    uploads: Sequence[Signed],
) -> dict[InstitutionId, Upload]:
    """Verify the upload messages of those whom a survivor list names.

    Args:
        headers: of all survivors, verified, in order.

    Raises:
        PeerError: one is missing, not its sender's, or another than the list names.
    """
    if {len(uploads), len(survivors.uploads)} != {len(headers)}:
        raise PeerError("expected one upload message per survivor")
    checked = {}
    for (party, header), named, signed in zip(
        headers.items(), survivors.uploads, uploads, strict=True
    ):
        upload = read_upload(agreement, plan, header, signed)
        if upload_digest(upload) != named:
            raise PeerError(f"expected the listed upload message of {party}")
        checked[party] = upload
    return checked


def read_header(agreement: Agreement, plan: Plan, signed: Signed) -> Header:
    """Verify a participant's header.

    Raises:
        PeerError: unsigned, of a stranger or another plan, or with lists of a wrong length.
    """
    header = decode(Header, signed.body)
    if header.institution not in plan.participants or header.plan != plan_digest(plan):
        raise PeerError("expected a header of a participant for this plan")
    identity = agreement.party(header.institution).identity
    verify(identity.ed25519, identity.mldsa44, Purpose.HEADER, signed)
    n = len(plan.participants)
    if (len(header.commitments), len(header.shares)) != (n, n):
        raise PeerError(f"expected {n} commitments and {n} share digests")
    if any(len(item) != 32 for item in (header.root, *header.commitments, *header.shares)):
        raise PeerError("expected digests of 32 bytes")
    size = vector_bytes(plan.lanes, plan.ring_width)
    if header.size != size:
        raise PeerError(f"expected an upload of {size} bytes")
    return header


def read_upload(agreement: Agreement, plan: Plan, header: Header, signed: Signed) -> Upload:
    """Verify the message that promises the boxes of a header.

    Raises:
        PeerError: unsigned, of another header, or without the digests of one box and one key for
            every other participant.
    """
    identity = agreement.party(header.institution).identity
    upload = decode(Upload, verify(identity.ed25519, identity.mldsa44, Purpose.UPLOAD, signed))
    n = len(header.shares)
    if upload.header != header_digest(header) or (len(upload.boxes), len(upload.keys)) != (n, n):
        raise PeerError(f"expected the upload of {header.institution} with this header")
    sizes = [0 if party == header.institution else 32 for party in plan.participants]
    for digests in (upload.boxes, upload.keys):
        if [len(item) for item in digests] != sizes:
            raise PeerError("expected digests of a box and its key for every other participant")
    return upload


def read_reveal(agreement: Agreement, survivors: Survivors, signed: Signed) -> Reveal:
    """Verify a survivor's answer to a list.

    Raises:
        PeerError: unsigned, of somebody else, to another list, or with lists of a wrong length.
    """
    message = decode(Reveal, signed.body)
    listed = survivors.survivors
    if message.institution not in listed or message.survivors != list_digest(survivors):
        raise PeerError("expected the reveal of a survivor for this list")
    identity = agreement.party(message.institution).identity
    verify(identity.ed25519, identity.mldsa44, Purpose.REVEAL, signed)
    if len(message.shares) != len(listed):
        raise PeerError("expected shares of every survivor")
    about = [complaint.dealer for complaint in message.complaints]
    if len(set(about)) != len(about) or not set(about) <= set(listed) - {message.institution}:
        raise PeerError("expected complaints about other survivors, one about each")
    return message


def complaints(
    reveals: Mapping[InstitutionId, Reveal],
) -> list[tuple[InstitutionId, InstitutionId]]:
    """Return dealer and helper of every complaint."""
    return [
        (complaint.dealer, helper)
        for helper, reveal in reveals.items()
        for complaint in reveal.complaints
    ]


def disagreeing_pairs(
    plan: Plan, headers: Mapping[InstitutionId, Header]
) -> list[tuple[InstitutionId, InstitutionId]]:
    """Find every two institutions that committed to unlike seeds, in order.

    Such a pair had unlike plans, models or keys, and its masks would not cancel.
    """
    slot = {party: k for k, party in enumerate(plan.participants)}
    return [
        (a, b)
        for a, b in combinations(sorted(headers), 2)
        if headers[a].commitments[slot[b]] != headers[b].commitments[slot[a]]
    ]


def box_digest(box: bytes) -> bytes:
    """Name a box; the own slot holds none."""
    return digest("box", box) if box else b""


def _check_pairs(plan: Plan, me: InstitutionId, headers: Mapping[InstitutionId, Header]) -> None:
    position = plan.participants.index(me)
    for peer, header in headers.items():
        slot = plan.participants.index(peer)
        if peer != me and header.commitments[position] != headers[me].commitments[slot]:
            raise PeerError(f"expected {peer} to commit to the seed that we share")


def _opened(key: bytes, box: bytes, header: Header, position: int) -> bytes | None:
    """Open a box and compare the share with its promised digest; None if it is false."""
    try:
        share = open_box(key, box, _aad(header_digest(header)))
    except PeerError:
        return None
    fits = len(share) == SEED_BYTES * len(header.shares)
    return share if fits and _share_digest(share) == header.shares[position] else None


def _share_digest(share: bytes) -> bytes:
    return digest("share", share)


def _box_root(round_key: bytes, dealer: InstitutionId, helper: InstitutionId) -> bytes:
    return expand(round_key, "box-root", dealer.encode(), helper.encode())


def _box_key(
    round_key: bytes, dealer: InstitutionId, helper: InstitutionId, header: Digest
) -> bytes:
    return expand(_box_root(round_key, dealer, helper), "box", _aad(header))


def _aad(header: Digest) -> bytes:
    return bytes.fromhex(header)
