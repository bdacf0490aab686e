"""What a dishonest owner can do, who has all keys of its own and writes its ledger anew.

Afterwards nobody cosigns it: witnesses have cosigned what was there before. If they could be made
to forget that, only a head that somebody kept tells the two ledgers apart.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from comity_common.ledger.bodies import AgreementSign, Body, BudgetReserve, Egress, Note
from comity_common.ledger.checkpoints import Checkpoint, cosign, sign
from comity_common.ledger.entries import Entry
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.notes import NoteSignature, SignedNote, read_note
from comity_common.ledger.package import AuditPackage
from comity_common.ledger.tree import Tree
from comity_common.ledger.witness import TreeHead
from tests.audit.federation import WITNESSED
from tests.audit.meaning import Tampered
from tests.audit.subject import Subject
from tests.audit.tamperings import edited

Chance = random.Random


def rewrite(of: Subject, chance: Chance) -> Tampered:
    """Change entries and sign them and the head again, with all keys of the owner."""
    if chance.random() < 0.5:
        raw = list(of.book.raw)
        at = chance.randrange(len(raw))
        raw[at] = edited(raw[at], of.keys, chance)
        last, how = of.book.entries[-1], "a field"
    else:
        at = chance.randrange(1, len(of.book.raw) - 1)
        book = of.written(_otherwise(of.book.bodies, at, chance))
        raw, last, how = book.raw, book.entries[-1], "the history"
    return Tampered(raw=_signed_again(of, raw, last, chance).to_bytes(), how=how)


def truncate(of: Subject, chance: Chance) -> Tampered:
    """Hand out the ledger as it was before; the auditor kept a head that is newer."""
    size = chance.randrange(_least(of), of.kept_size)
    return Tampered(raw=of.at(size).to_bytes(), kept=of.kept, how="truncated")


def fork(of: Subject, chance: Chance) -> Tampered:
    """Go on otherwise from some entry, with a head that all others cosign, as they forgot."""
    at = chance.randrange(1, of.kept_size - 1)
    book = of.written(_otherwise(of.book.bodies, at, chance))
    return Tampered(raw=of.packed(book.entries, book.raw).to_bytes(), kept=of.kept, how="forked")


def replay(of: Subject, chance: Chance) -> Tampered:
    """Hand out a ledger whose beginning, or whose every entry, was written a second time."""
    if chance.random() < 0.5:
        genesis = replace(of.book.bodies[0], nonce=chance.randbytes(16))  # type: ignore[type-var]
        book = of.written([genesis, *of.book.bodies[1:]])
    else:
        begun = of.book.bodies[: chance.randrange(_least(of), of.kept_size)]
        book = of.written([*begun, *begun[1:]])
    return Tampered(raw=of.packed(book.entries, book.raw).to_bytes(), kept=of.kept, how="replayed")


def _least(of: Subject) -> int:
    """Return after how many entries an agreement was signed: nobody cosigns a head before."""
    signed = (entry.sequence for entry in of.book.entries if isinstance(entry.body, AgreementSign))
    return next(signed) + 1


def _otherwise(bodies: list[Body], at: int, chance: Chance) -> list[Body]:
    """Return a history that did not happen: from a place on something is left out, moved, doubled
    or changed. The genesis stays first.
    """
    match chance.randrange(5):
        case 0:
            del bodies[at]
        case 1:
            bodies.insert(at, bodies[at])
        case 2:
            bodies.insert(at, bodies.pop(chance.randrange(at + 1, len(bodies))))
        case 3:
            bodies.insert(at, Note(text="nothing happened", about=None))
        case _:
            bodies[at] = _changed(bodies[at], chance)
    return bodies


def _changed(body: Body, chance: Chance) -> Body:
    """Change one field of a body to what it may be as well."""
    match body:
        case Egress():
            return replace(body, size_bytes=body.size_bytes + 1)
        case BudgetReserve():
            return replace(body, event=replace(body.event, steps=body.event.steps + 1))
        case _:
            return Note(text=f"something else {chance.random()}", about=None)


def _signed_again(of: Subject, raw: Sequence[bytes], last: Entry, chance: Chance) -> AuditPackage:
    """Sign a head over other entries, with what an owner can get in the way of cosignatures."""
    generation = last.generation
    head = TreeHead(
        institution=of.owner, generation=generation, size=len(raw), root=Tree(raw).root()
    )
    checkpoint = head.checkpoint
    lines = [sign(checkpoint, checkpoint.origin, of.keys.head)]
    match chance.randrange(4):
        case 0:  # those of before
            lines += read_note(of.package.head).signatures[1:]
        case 1:  # none
            pass
        case 2:  # as many as collude
            collusion = of.federation.first.aggregation.collusion
            for id in chance.sample(of.others, collusion):
                lines += _cosigned(of.federation.ledger_keys(id), id, checkpoint)
        case _:  # by the owner's own keys, under others' names
            for id in of.others:
                lines += _cosigned(of.keys, id, checkpoint)
    note = SignedNote(text=checkpoint.text, signatures=tuple(lines))
    return replace(of.package, entries=tuple(raw), head=note.to_bytes())


def _cosigned(keys: LedgerKeys, name: str, checkpoint: Checkpoint) -> list[NoteSignature]:
    return [cosign(checkpoint, name, key, WITNESSED) for key in (keys.witness, keys.lasting)]
