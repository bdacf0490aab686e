"""The newest head of a ledger that a quorum cosigned: up to there, it can be shown to others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from comity_common.agreement import Agreement
from comity_common.ledger.notes import NoteSignature
from comity_common.ledger.tree import Tree
from comity_common.ledger.witness import Cosignature, TreeHead, head_note, quorum, witness_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessedHead:
    """A head, and who cosigned it under one agreement."""

    agreement: Agreement
    head: TreeHead
    cosignatures: tuple[Cosignature, ...]

    def note(self, key: Ed25519PrivateKey) -> bytes:
        """Write it with the signatures of its log and its witnesses.

        Args:
            key: with which its owner signs heads.
        """
        lines: list[NoteSignature] = []
        for one in sorted(self.cosignatures, key=lambda given: given.witness):
            lines += witness_lines(one, self.agreement.any_party(one.witness).identity.ledger)
        return head_note(self.head, key, lines)


def newest_head(
    given: Iterable[tuple[Agreement, Sequence[Cosignature]]], tree: Tree
) -> WitnessedHead | None:
    """Find the newest head of a ledger that a quorum of institutions has cosigned.

    Args:
        given: per agreement, all cosignatures under heads of this ledger.
        tree: of the ledger as it is now.
    """
    heads = [found for agreement, all_ in given for found in _heads(agreement, all_, tree)]
    return max(heads, key=lambda found: found.head.size, default=None)


def _heads(
    agreement: Agreement, given: Iterable[Cosignature], tree: Tree
) -> Iterable[WitnessedHead]:
    by_head: dict[TreeHead, list[Cosignature]] = {}
    for cosignature in given:
        by_head.setdefault(cosignature.head, []).append(cosignature)
    for head, all_ in by_head.items():
        is_own = head.size <= len(tree) and tree.root(head.size) == head.root
        institutions = {one.witness for one in all_} - {agreement.operator.id}
        if is_own and len(institutions) >= quorum(agreement):
            yield WitnessedHead(agreement=agreement, head=head, cosignatures=tuple(all_))
