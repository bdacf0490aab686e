"""Which institutions the operator lets in, and how each is recognised.

An institution is approved once, by the operator's own hand: its TLS key gets a certificate and its
Flower key a place. Who it is, is decided by the TLS key's fingerprint alone.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from comity_common.errors import LocalError
from comity_common.ids import InstitutionId
from comity_server.authority import Authority, Certified
from comity_server.errors import Stranger
from comity_server.flower.superlink import SuperLink
from comity_server.store import Store, institutions


class Registry:
    """The approved institutions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def approve(self, authority: Authority, request: bytes, flower_key: str) -> Certified:
        """Approve an institution.

        Args:
            request: PKCS #10 in PEM for its TLS key, with its id as common name.
            flower_key: OpenSSH public key of its SuperNode, one line; empty without Flower.

        Raises:
            PeerError: the request is malformed.
            LocalError: the id or the key is taken.
        """
        certified = authority.sign_request(request)
        try:
            with self._store.write() as tx:
                tx.execute(
                    insert(institutions).values(
                        id=certified.id,
                        tls=certified.fingerprint.hex(),
                        certificate=certified.certificate,
                        flower_key=flower_key,
                    )
                )
        except IntegrityError:
            raise LocalError(f"expected a new id and a new key, got {certified.id}") from None
        return certified

    def identify(self, fingerprint: bytes) -> InstitutionId:
        """Tell whose TLS key this is.

        Raises:
            Stranger: nobody's.
        """
        query = select(institutions.c.id).where(institutions.c.tls == fingerprint.hex())
        with self._store.read() as tx:
            found = tx.execute(query).scalar()
        if found is None:
            raise Stranger("expected the certificate of an approved institution")
        return InstitutionId(found)

    def fingerprints(self) -> Mapping[InstitutionId, bytes]:
        """Return every institution's TLS fingerprint."""
        with self._store.read() as tx:
            rows = tx.execute(select(institutions.c.id, institutions.c.tls)).all()
        return {InstitutionId(row.id): bytes.fromhex(row.tls) for row in rows}

    def nodes(self) -> Mapping[InstitutionId, int]:
        """Return the Flower nodes of the institutions that have one."""
        query = select(institutions.c.id, institutions.c.flower_node)
        with self._store.read() as tx:
            rows = tx.execute(query.where(institutions.c.flower_node.is_not(None))).all()
        return {InstitutionId(row.id): int(row.flower_node) for row in rows}

    def set_node(self, institution: InstitutionId, node: int) -> None:
        """Note Flower's id of an institution's node."""
        with self._store.write() as tx:
            tx.execute(
                update(institutions)
                .where(institutions.c.id == institution)
                .values(flower_node=str(node))
            )

    def register_nodes(self, link: SuperLink) -> None:
        """Give every approved institution that has none yet its Flower node.

        Raises:
            LocalError: the SuperLink is away or refuses a key; the others have theirs.
        """
        query = select(institutions.c.id, institutions.c.flower_key).where(
            institutions.c.flower_node.is_(None), institutions.c.flower_key != ""
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
