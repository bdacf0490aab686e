"""The institution's ledger as an audit package, for somebody outside.

What goes into it is the ledger up to the largest head that a quorum of witnesses has cosigned,
that head with their signatures, and every agreement that an entry names. Nothing else of the
vault: no row, no name of a file, no data set's salt.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from comity_client.home import Home
from comity_client.institution import Institution
from comity_common.agreement import Agreement
from comity_common.canonical import decode
from comity_common.crypto.sign import Purpose
from comity_common.errors import Problem
from comity_common.ids import Digest
from comity_common.ledger.bodies import agreement_of
from comity_common.ledger.notes import NoteSignature
from comity_common.ledger.package import AuditPackage, Signatures
from comity_common.ledger.signed import read
from comity_common.ledger.witness import Cosignature, TreeHead, head_note, quorum, witness_lines


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
    witnessing = [inst.agreements.find(name)] if name else inst.agreements.known()
    agreements = [known.agreement for known in witnessing]
    heads = [pair for agreement in agreements for pair in _witnessed(inst, agreement)]
    if not heads:
        raise Problem("COM-AUDIT-010", agreement=name or "any agreement")
    head, cosignatures = max(heads, key=lambda pair: pair[0].size)
    rows = inst.store.reading().execute(
        "select raw from entries where sequence < ? order by sequence", (head.size,)
    )
    entries = tuple(row["raw"] for row in rows)
    raw, signatures = _agreements(inst, entries)
    return AuditPackage(
        entries=entries,
        head=_note(inst, head, cosignatures),
        agreements=raw,
        signatures=signatures,
    )


def _witnessed(
    inst: Institution, agreement: Agreement
) -> Iterator[tuple[TreeHead, list[Cosignature]]]:
    """Go through the heads of this ledger that a quorum under an agreement has cosigned."""
    rows = inst.store.reading().execute(
        "select body from cosignatures where agreement = ? order by witness", (agreement.digest,)
    )
    given: dict[TreeHead, list[Cosignature]] = {}
    for row in rows:
        cosignature = decode(Cosignature, row["body"])
        given.setdefault(cosignature.head, []).append(cosignature)
    tree = inst.ledger.tree()
    for head, all_ in given.items():
        is_own = head.size <= len(tree) and tree.root(head.size) == head.root
        if is_own and len(all_) >= quorum(agreement):
            yield head, all_


def _note(inst: Institution, head: TreeHead, cosignatures: Iterable[Cosignature]) -> bytes:
    """Write a head with the signatures of its log and its witnesses."""
    lines: list[NoteSignature] = []
    for one in cosignatures:
        agreement = inst.agreements.find(one.agreement).agreement
        lines += witness_lines(one, agreement.party(one.witness).identity.ledger)
    return head_note(head, inst.keys.ledger.head, lines)


def _agreements(
    inst: Institution, entries: Iterable[bytes]
) -> tuple[dict[str, bytes], dict[str, Signatures]]:
    """Return the agreements that entries name, as they were signed, and who signed."""
    public = inst.keys.ledger.public().entries
    named = {agreement_of(read(raw, public).body) for raw in entries} - {Digest("")}
    known = {one.agreement.digest: one for one in inst.agreements.known()}
    raw: dict[str, bytes] = {}
    signatures: dict[str, Signatures] = {}
    for digest in sorted(named & known.keys()):
        one = known[digest]
        by_party = inst.agreements.signatures(digest)
        if one.dataset is not None:
            by_party[inst.me] = inst.keys.signing.sign(Purpose.AGREEMENT, one.raw).signature
        raw[digest], signatures[digest] = one.raw, Signatures.of(by_party)
    return raw, signatures
