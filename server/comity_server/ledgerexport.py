"""The operator's ledger as an audit package, for somebody outside.

What goes into it is the ledger up to the newest head that a quorum of institutions has cosigned,
that head with their signatures, and every agreement that an entry names.
"""

from pathlib import Path

from sqlalchemy import Connection, select

from comity_common.canonical import decode, encode
from comity_common.errors import Problem
from comity_common.ids import Digest
from comity_common.ledger.bodies import agreement_of
from comity_common.ledger.newesthead import newest_head
from comity_common.ledger.package import AuditPackage, Signatures
from comity_common.ledger.signed import read
from comity_common.ledger.signers import signers
from comity_common.ledger.witness import Cosignature
from comity_server.home import Home
from comity_server.operator import opened
from comity_server.tables import cosignatures, entries
from comity_server.usualhome import usual_home

__all__ = ["is_home", "package", "usual_home"]  # what `comity audit export` asks for


def is_home(path: Path) -> bool:
    """Tell whether a directory is an operator's."""
    return Home(path).config.exists()


def package(path: Path, name: str = "") -> AuditPackage:
    """Put together what an auditor is given; nothing is written here.

    Args:
        path: the operator's home; its daemon may be running.
        name: of the agreement whose institutions vouch for the head; empty for the one whose head
            is the newest.

    Raises:
        Problem: there is no such agreement, or no quorum of its institutions has cosigned a head.
    """
    with opened(path) as operator:
        every = operator.agreements.records()
        known = [operator.agreements.find(name)] if name else every
        ledger = operator.store.ledger
        with operator.store.read() as tx:
            given = [(one.agreement, _cosignatures(tx, one.agreement.digest)) for one in known]
            tree, _ = ledger.tree(tx)
            found = newest_head(given, tree)
            if found is None:
                raise Problem("COM-AUDIT-010", agreement=name or "any agreement")
            query = select(entries.c.raw).where(entries.c.sequence < found.head.size)
            raw = tuple(tx.execute(query.order_by(entries.c.sequence)).scalars())
    public = ledger.keys.public().entries
    bodies = [read(one, public).body for one in raw]
    named = {agreement_of(body) for body in bodies}
    records = {one.agreement.digest: one for one in every if one.agreement.digest in named}
    agreements = {digest: one.agreement for digest, one in records.items()}
    due = signers(ledger.operator, bodies, agreements)
    return AuditPackage(
        entries=raw,
        head=found.note(ledger.keys.head),
        agreements={digest: encode(agreement) for digest, agreement in agreements.items()},
        signatures={
            digest: Signatures.of(one.signatures, due[digest]) for digest, one in records.items()
        },
    )


def _cosignatures(tx: Connection, agreement: Digest) -> list[Cosignature]:
    query = select(cosignatures.c.body).where(cosignatures.c.agreement == agreement)
    return [decode(Cosignature, body) for body in tx.execute(query).scalars()]
