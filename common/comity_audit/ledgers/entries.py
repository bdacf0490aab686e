"""The entries of a package, each verified, and their tree."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from comity_audit.ledgers.bounds import check_bounds
from comity_audit.ledgers.parties import Parties
from comity_audit.steps import about
from comity_common.errors import PeerError
from comity_common.ledger.bodies import BudgetCharge, Outcome
from comity_common.ledger.checkpoints import Checkpoint
from comity_common.ledger.entries import Entry, check_order
from comity_common.ledger.signed import read
from comity_common.ledger.tree import Tree
from comity_common.ledger.witness import log_origin


@dataclass(frozen=True, kw_only=True)
class AuditedLedger:
    """A ledger whose every entry was signed by its owner, in order from the genesis.

    Attributes:
        entries: all.
        parties: whose it is, and the agreements that it names.
    """

    entries: tuple[Entry, ...]
    parties: Parties

    @cached_property
    def forfeited(self) -> frozenset[bytes]:
        """Nonces of the reserves that were counted as spent without anything having left."""
        bodies = (entry.body for entry in self.entries)
        return frozenset(
            body.nonce
            for body in bodies
            if isinstance(body, BudgetCharge) and body.outcome is Outcome.FORFEITED
        )


def read_entries(raw: Sequence[bytes], parties: Parties) -> tuple[Entry, ...]:
    """Verify entries and their order.

    Raises:
        PeerError: one is not signed by the owner, not canonical, of no known kind, or out of order,
            or they name more than can be checked.
    """
    public = parties.owner.identity.ledger.entries
    entries = []
    for number, one in enumerate(raw):
        with about(f"entry {number}"):
            entries.append(read(one, public))
    check_order(entries)
    if entries[0].institution != parties.owner.id:
        raise PeerError(f"expected entries of {parties.owner.id}, got {entries[0].institution}")
    check_bounds(entries)
    return tuple(entries)


def check_head(tree: Tree, entries: Sequence[Entry], checkpoint: Checkpoint) -> None:
    """Check that a head is that of these entries, no fewer and no more.

    Raises:
        PeerError: another size, root or generation.
    """
    if checkpoint.size != len(entries):
        raise PeerError(f"expected {checkpoint.size} entries, as the head says, got {len(entries)}")
    if checkpoint.root != tree.root():
        raise PeerError("expected the entries over which the head was signed, got others")
    last = entries[-1]
    if checkpoint.origin != log_origin(last.institution, last.generation):
        raise PeerError("expected a head of the generation in which the ledger ends")


def check_past(tree: Tree, entries: Sequence[Entry], older: Checkpoint) -> None:
    """Check that these entries begin with those of a head that somebody kept.

    Raises:
        PeerError: they are fewer, or others: entries were taken back.
    """
    if older.size > len(entries):
        raise PeerError(
            f"expected at least the {older.size} entries of the head that was kept, got "
            f"{len(entries)}: {older.size - len(entries)} are missing at the end"
        )
    if older.size == 0 or tree.root(older.size) != older.root:
        raise PeerError(
            f"expected the {older.size} entries that the kept head was signed over, got others: "
            "there are two ledgers, or one was rewritten"
        )
    last = entries[older.size - 1]
    if older.origin != log_origin(last.institution, last.generation):
        raise PeerError("expected the kept head to be of the same ledger and generation")
