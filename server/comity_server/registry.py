"""Which institutions the operator lets in, and how each is recognised.

    invited ─asks→ waiting ─approve→ approved ─revoke→ revoked
                      └──────revoke──────────────────────↑

An institution asks once, with a token that was good for it alone, and is approved by the operator's
own hand after both have compared the same words: only then does its TLS key get a certificate and
its Flower key a place. Who calls is decided by the TLS key's fingerprint alone.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from comity_common.agreement import Party
from comity_common.canonical import decode, encode
from comity_common.crypto.derive import digest
from comity_common.crypto.sign import Signed
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.operatorbodies import MemberApprove, MemberRevoke
from comity_common.membership import (
    TOKEN_BYTES,
    EnrolmentRequest,
    check_id,
    check_jurisdiction,
    check_request,
    request_digest,
    token_digest,
)
from comity_server.authority import Authority, Certified, read_request
from comity_server.errors import Stranger
from comity_server.flower.superlink import SuperLink
from comity_server.store import Store
from comity_server.tables import institutions, invitations


class InstitutionState(StrEnum):
    """Where an institution is."""

    INVITED = "invited"
    WAITING = "waiting"
    APPROVED = "approved"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """Whom an invitation is for.

    Attributes:
        expires: its last second, seconds since 1970.
        request: digest of the request that used it.
    """

    institution: InstitutionId
    jurisdiction: str
    expires: int
    request: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An institution as the operator sees it; `party` once it has asked."""

    id: InstitutionId
    jurisdiction: str
    state: InstitutionState
    party: Party | None


class Registry:
    """The institutions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def invite(self, id: str, jurisdiction: str, expires: int) -> bytes:
        """Make a token that lets one institution ask; an unused one of before is void.

        Args:
            jurisdiction: ISO 3166-1 alpha-2.
            expires: seconds since 1970.

        Returns:
            16 secret bytes, of which only a digest is kept.

        Raises:
            Problem: the id or the country is not well formed, or the institution is in already.
        """
        check_id(id)
        check_jurisdiction(jurisdiction)
        token = os.urandom(TOKEN_BYTES)
        with self._store.write() as tx:
            here = tx.execute(select(institutions).where(institutions.c.id == id)).first()
            if here is not None and here.state != InstitutionState.REVOKED:
                raise Problem("COM-MEMBER-003", id=id, state=here.state)
            unused = (invitations.c.institution == id) & (invitations.c.request.is_(None))
            tx.execute(delete(invitations).where(unused))
            tx.execute(
                insert(invitations).values(
                    token=token_digest(token),
                    institution=id,
                    jurisdiction=jurisdiction,
                    expires=expires,
                )
            )
        return token

    def invitation(self, token: bytes, now: float) -> Invited:
        """Look up an invitation.

        Raises:
            Stranger: there is none, or its time is over and nobody has used it.
        """
        query = select(invitations).where(invitations.c.token == token_digest(token))
        with self._store.read() as tx:
            row = tx.execute(query).first()
        if row is None:
            raise Stranger("expected an invitation of this operator that is still good")
        if row.request is None and now > row.expires:
            raise Stranger("expected an invitation that has not expired")
        return Invited(
            institution=InstitutionId(row.institution),
            jurisdiction=row.jurisdiction,
            expires=row.expires,
            request=row.request,
        )

    def enrol(self, token: bytes, signed: Signed, now: float) -> EnrolmentRequest:
        """Take an institution's request; the same bytes again are the same request.

        Raises:
            Stranger: the invitation is not good, was used, or is another's.
            PeerError: the request is malformed or not signed with its own keys.
        """
        invited = self.invitation(token, now)
        request = check_request(signed)
        name = request_digest(signed)
        if invited.request not in (None, name):
            raise Stranger("expected an invitation that nobody has used yet")
        party = request.party
        if (party.id, party.jurisdiction) != (invited.institution, invited.jurisdiction):
            raise Stranger("expected the institution and the country that the invitation is for")
        if request.invitation != token_digest(token):
            raise PeerError("expected a request under this invitation")
        if invited.request is None:
            self._keep(request, name)
        return request

    def certificate(self, token: bytes, request: Digest, now: float) -> bytes | None:
        """Return the certificate of who asked under a token (PEM); None before the approval.

        Raises:
            Stranger: nobody asked so, or the institution was revoked.
        """
        invited = self.invitation(token, now)
        if invited.request != request:
            raise Stranger("expected the request that was made under this invitation")
        row = self._row(invited.institution)
        if row is None or row.state == InstitutionState.REVOKED:
            raise Stranger("expected an institution that the operator has not turned away")
        certificate: bytes | None = row.certificate
        return certificate

    def approve(self, authority: Authority, id: str) -> Certified:
        """Let in an institution that waits; one that is in already stays in.

        Raises:
            Problem: no such institution waits.
        """
        row = self._row(id)
        if row is None or row.state == InstitutionState.REVOKED:
            raise Problem("COM-MEMBER-004", id=id[:64])
        certified = authority.sign_request(row.request.encode())
        with self._store.write() as tx:
            tx.execute(
                update(institutions)
                .where(institutions.c.id == id)
                .values(state=InstitutionState.APPROVED, certificate=certified.certificate)
            )
            if row.state != InstitutionState.APPROVED:
                self._store.ledger.append(tx, _approved(decode(Party, row.party)))
        return certified

    def revoke(self, id: str) -> None:
        """Turn an institution away, for good under these keys; its invitation is void.

        Raises:
            Problem: there is none of that name.
        """
        with self._store.write() as tx:
            here = invitations.c.institution == id
            unused = tx.execute(
                delete(invitations).where(here & invitations.c.request.is_(None))
            ).rowcount
            turned = tx.execute(
                update(institutions)
                .where(institutions.c.id == id)
                .values(state=InstitutionState.REVOKED)
            ).rowcount
            if turned:
                self._store.ledger.append(tx, MemberRevoke(institution=InstitutionId(id)))
        if not unused + turned:
            raise Problem("COM-MEMBER-004", id=id[:64])

    def all(self) -> list[Listed]:
        """List everybody who was invited, by id."""
        with self._store.read() as tx:
            asked = tx.execute(select(invitations)).all()
            here = tx.execute(select(institutions)).all()
        listed = {
            row.institution: Listed(
                id=InstitutionId(row.institution),
                jurisdiction=row.jurisdiction,
                state=InstitutionState.INVITED,
                party=None,
            )
            for row in asked
            if row.request is None
        }
        for row in here:
            party = decode(Party, row.party)
            if row.id in listed and row.state == InstitutionState.REVOKED:
                continue  # it was invited again
            listed[row.id] = Listed(
                id=party.id,
                jurisdiction=party.jurisdiction,
                state=InstitutionState(row.state),
                party=party,
            )
        return [listed[id] for id in sorted(listed)]

    def parties(self) -> Mapping[InstitutionId, Party]:
        """Return what the agreement calls each approved institution."""
        return {
            one.id: one.party
            for one in self.all()
            if one.party is not None and one.state is InstitutionState.APPROVED
        }

    def identify(self, fingerprint: bytes) -> InstitutionId:
        """Tell whose TLS key this is.

        Raises:
            Stranger: nobody's who is approved.
        """
        query = select(institutions.c.id).where(
            institutions.c.tls == fingerprint.hex(),
            institutions.c.state == InstitutionState.APPROVED,
        )
        with self._store.read() as tx:
            found = tx.execute(query).scalar()
        if found is None:
            raise Stranger("expected the certificate of an approved institution")
        return InstitutionId(found)

    def jurisdiction(self, id: InstitutionId) -> str:
        """Return the country of an institution that asked to be let in.

        Raises:
            Stranger: none did.
        """
        row = self._row(id)
        if row is None:
            raise Stranger("expected an institution that asked to be let in")
        return decode(Party, row.party).jurisdiction

    def fingerprints(self) -> Mapping[InstitutionId, bytes]:
        """Return every approved institution's TLS fingerprint."""
        return {id: party.identity.tls for id, party in self.parties().items()}

    def nodes(self) -> Mapping[InstitutionId, int]:
        """Return the Flower nodes of the approved institutions that have one."""
        query = select(institutions.c.id, institutions.c.flower_node).where(
            institutions.c.flower_node.is_not(None),
            institutions.c.state == InstitutionState.APPROVED,
        )
        with self._store.read() as tx:
            rows = tx.execute(query).all()
        return {InstitutionId(row.id): int(row.flower_node) for row in rows}

    def set_node(self, institution: InstitutionId, node: int) -> None:
        """Note Flower's id of an institution's node."""
        with self._store.write() as tx:
            tx.execute(
                update(institutions)
                .where(institutions.c.id == institution)
                .values(flower_node=str(node))
            )

    def forget_nodes(self) -> None:
        """Forget all of Flower's ids: its database begins anew."""
        with self._store.write() as tx:
            tx.execute(update(institutions).values(flower_node=None))

    def register_nodes(self, link: SuperLink) -> None:
        """Give every approved institution that has none yet its Flower node.

        Raises:
            LocalError: the SuperLink is away or refuses a key; the others have theirs.
        """
        query = select(institutions.c.id, institutions.c.flower_key).where(
            institutions.c.flower_node.is_(None),
            institutions.c.flower_key != "",
            institutions.c.state == InstitutionState.APPROVED,
        )
        with self._store.read() as tx:
            waiting = tx.execute(query).all()
        failures = []
        for row in waiting:
            with tempfile.TemporaryDirectory() as directory:
                key = Path(directory) / "node.pub"
                key.write_text(row.flower_key.strip() + "\n")
                try:
                    self.set_node(
                        InstitutionId(row.id), link.register_node(key, self.nodes().values())
                    )
                except LocalError as error:
                    failures.append(f"{row.id}: {error}")
        if failures:
            raise LocalError("; ".join(failures))

    def _keep(self, request: EnrolmentRequest, name: Digest) -> None:
        party = request.party
        row = {
            "state": InstitutionState.WAITING,
            "party": encode(party),
            "request": request.certificate_request,
            "tls": party.identity.tls.hex(),
            "certificate": None,
            "flower_key": request.flower_key,
            "flower_node": None,
        }
        _check_certificate_request(request)
        this = invitations.c.token == request.invitation
        try:
            with self._store.write() as tx:
                tx.execute(delete(institutions).where(institutions.c.id == party.id))
                tx.execute(insert(institutions).values(id=party.id, **row))
                tx.execute(update(invitations).where(this).values(request=name))
        except IntegrityError:
            raise PeerError("expected a TLS key that no other institution has") from None

    def _row(self, id: str) -> Row[Any] | None:
        with self._store.read() as tx:
            return tx.execute(select(institutions).where(institutions.c.id == id)).first()


def _approved(party: Party) -> MemberApprove:
    return MemberApprove(
        institution=party.id,
        jurisdiction=party.jurisdiction,
        party=Digest(digest("party", encode(party)).hex()),
    )


def _check_certificate_request(request: EnrolmentRequest) -> None:
    """Check that the certificate is asked for under the party's own id and TLS key.

    Raises:
        PeerError: it is malformed, or for another id or key.
    """
    id, fingerprint = read_request(request.certificate_request.encode())
    if (id, fingerprint) != (request.party.id, request.party.identity.tls):
        raise PeerError("expected a certificate request for the party's own id and key")
