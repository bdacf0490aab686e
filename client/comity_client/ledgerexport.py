"""The institution's ledger as an audit package, for somebody outside.

What goes into it is the ledger up to the newest head that a quorum of witnesses has cosigned, that
head with their signatures, and every agreement that an entry names. Nothing else of the vault: no
row, no name of a file, no data set's salt.
"""

from collections.abc import Iterable
from pathlib import Path

from comity_client.home import Home
from comity_client.institution import Institution
from comity_client.usualhome import usual_home
from comity_common.canonical import decode
from comity_common.crypto.sign import Purpose
from comity_common.errors import Problem
from comity_common.ids import Digest
from comity_common.ledger.bodies import agreement_of
from comity_common.ledger.newesthead import newest_head
from comity_common.ledger.package import AuditPackage, Signatures
from comity_common.ledger.signed import read
from comity_common.ledger.signers import signers
from comity_common.ledger.tree import Tree
from comity_common.ledger.witness import Cosignature

__all__ = ["is_home", "package", "usual_home"]  # what `comity audit export` asks for


def is_home(path: Path) -> bool:
    """Tell whether a directory is an institution's."""
    return Home(path).config.exists()


def package(path: Path, name: str = "") -> AuditPackage:
    """Put together what an auditor is given; nothing is written here.

    Args:
        path: the institution's home; its vault may be running.
        name: of the agreement whose institutions vouch for the head: its digest, the beginning of
            it, or its federation; empty for the one whose head is the newest.

    Raises:
        Problem: there is no such agreement, or no quorum of its institutions has cosigned a head.
    """
    inst = Institution(path)
    known = [inst.agreements.find(name)] if name else inst.agreements.known()
    given = [(one.agreement, _cosignatures(inst, one.agreement.digest)) for one in known]
    rows = inst.store.reading().execute("select raw from entries order by sequence")
    written = [row["raw"] for row in rows]  # verified a moment ago, when the ledger was opened
    found = newest_head(given, Tree(written))
    if found is None:
        raise Problem("COM-AUDIT-010", agreement=name or "any agreement")
    entries = tuple(written[: found.head.size])
    raw, signatures = _agreements(inst, entries)
    return AuditPackage(
        entries=entries,
        head=found.note(inst.keys.ledger.head),
        agreements=raw,
        signatures=signatures,
    )


def _cosignatures(inst: Institution, agreement: Digest) -> list[Cosignature]:
    rows = inst.store.reading().execute(
        "select body from cosignatures where agreement = ?", (agreement,)
    )
    return [decode(Cosignature, row["body"]) for row in rows]


def _agreements(
    inst: Institution, entries: Iterable[bytes]
) -> tuple[dict[str, bytes], dict[str, Signatures]]:
    """Return the agreements that entries name, as they were signed, and who signed."""
    public = inst.keys.ledger.public().entries
    bodies = [read(raw, public).body for raw in entries]
    named = {agreement_of(body) for body in bodies}
    known = [one for one in inst.agreements.known() if one.agreement.digest in named]
    due = signers(inst.me, bodies, {one.agreement.digest: one.agreement for one in known})
    raw: dict[str, bytes] = {}
    signatures: dict[str, Signatures] = {}
    for one in known:
        digest = one.agreement.digest
        by_party = inst.agreements.signatures(digest)
        if inst.me in due[digest] and inst.me not in by_party:
            by_party[inst.me] = inst.keys.signing.sign(Purpose.AGREEMENT, one.raw).signature
        raw[digest], signatures[digest] = one.raw, Signatures.of(by_party, due[digest])
    return raw, signatures
