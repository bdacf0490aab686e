"""What somebody without the owner's keys can do to a package on its way to an auditor.

Each function takes an honest subject and chance, and returns the package as it arrives. What comes
out of the zip again is changed here, and put into a zip that is whole.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, SigningKeys
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Note
from comity_common.ledger.checkpoints import Checkpoint, cosign, read_checkpoint, sign
from comity_common.ledger.entries import append
from comity_common.ledger.envelopes import Envelope, seal
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.notes import NoteSignature, SignedNote, read_note
from comity_common.ledger.package import AuditPackage, PartySignature, Signatures
from comity_common.ledger.signed import write
from comity_common.ledger.tree import Tree
from tests.audit.federation import WITNESSED, Federation
from tests.audit.meaning import Tampered
from tests.audit.subject import OWNERS, Subject, subject
from tests.fuzz.mutations import altered

STRANGERS = range(1, 5)  # seeds of other federations, whose parties have the same names

Chance = random.Random
Way = Callable[[Subject, Chance], AuditPackage]


def flip_file(of: Subject, chance: Chance) -> Tampered:
    """Flip bits of the file itself."""
    return Tampered(raw=_flipped(of.raw, chance), how="file")


def flip(of: Subject, chance: Chance) -> Tampered:
    """Flip bits of an entry, of the head, of an agreement or of a signature, in a whole zip."""
    return _one_of((_flip_entry, _flip_head, _flip_agreement, _flip_signatures), of, chance)


def delete(of: Subject, chance: Chance) -> Tampered:
    """Leave something out."""
    return _one_of(
        (
            _delete_entries,
            _delete_last,
            _delete_agreement,
            _delete_agreement_alone,
            _delete_signatures,
            _delete_signature,
            _delete_line,
            _delete_witnesses,
        ),
        of,
        chance,
    )


def swap(of: Subject, chance: Chance) -> Tampered:
    """Let two things change places."""
    return _one_of((_swap_entries, _swap_agreements, _swap_signatures, _swap_lines), of, chance)


def insert(of: Subject, chance: Chance) -> Tampered:
    """Put something in."""
    return _one_of(
        (
            _insert_again,
            _insert_foreign,
            _insert_made_up,
            _insert_agreement,
            _insert_signature,
            _insert_line,
        ),
        of,
        chance,
    )


def foreign(of: Subject, chance: Chance) -> Tampered:
    """Put something of another ledger in the place of what was there."""
    return _one_of(
        (_foreign_entry, _foreign_head, _foreign_agreement, _foreign_signatures), of, chance
    )


def other_keys(of: Subject, chance: Chance) -> Tampered:
    """Change something and sign it again with keys that are not the right ones."""
    return _one_of(
        (_edit_entry, _sign_all_again, _sign_head_again, _edit_agreement, _cosign_again), of, chance
    )


def own_federation(of: Subject, chance: Chance) -> Tampered:
    """Make everything up, with parties of the same names; the auditor may know an agreement."""
    federation = _strangers(chance.choice(STRANGERS))
    another = subject(federation, of.owner, seed=chance.randrange(2**32))
    anchored = chance.random() < 0.7
    return Tampered(raw=another.raw, anchored=anchored, how="anchored" if anchored else "alone")


def _one_of(ways: Sequence[Way], of: Subject, chance: Chance) -> Tampered:
    way = chance.choice(ways)
    return Tampered(raw=way(of, chance).to_bytes(), how=way.__name__.strip("_").replace("_", " "))


def _flipped(raw: bytes, chance: Chance) -> bytes:
    changed = bytearray(raw)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _with_entries(package: AuditPackage, entries: Sequence[bytes]) -> AuditPackage:
    return replace(package, entries=tuple(entries))


def _place(of: Subject, chance: Chance) -> int:
    return chance.randrange(len(of.package.entries))


def _agreement(of: Subject, chance: Chance) -> str:
    return chance.choice(sorted(of.package.agreements))


def _flip_entry(of: Subject, chance: Chance) -> AuditPackage:
    entries = list(of.package.entries)
    at = _place(of, chance)
    entries[at] = _flipped(entries[at], chance).replace(b"\n", b" ")
    return _with_entries(of.package, entries)


def _flip_head(of: Subject, chance: Chance) -> AuditPackage:
    return replace(of.package, head=_flipped(of.package.head, chance))


def _flip_agreement(of: Subject, chance: Chance) -> AuditPackage:
    name = _agreement(of, chance)
    changed = _flipped(of.package.agreements[name], chance)
    return replace(of.package, agreements=of.package.agreements | {name: changed})


def _flip_signatures(of: Subject, chance: Chance) -> AuditPackage:
    name = chance.choice([name for name, one in of.package.signatures.items() if one.given])
    given = list(of.package.signatures[name].given)
    at = chance.randrange(len(given))
    given[at] = replace(given[at], signature=_flipped(given[at].signature, chance))
    return _with_signatures(of.package, name, given)


def _with_signatures(
    package: AuditPackage, name: str, given: Sequence[PartySignature]
) -> AuditPackage:
    changed = Signatures(given=tuple(given))
    return replace(package, signatures=package.signatures | {name: changed})


def _delete_entries(of: Subject, chance: Chance) -> AuditPackage:
    at = _place(of, chance)
    entries = of.package.entries
    return _with_entries(of.package, entries[:at] + entries[at + chance.choice((1, 1, 2, 9)) :])


def _delete_last(of: Subject, chance: Chance) -> AuditPackage:
    return _with_entries(of.package, of.package.entries[: max(1, _place(of, chance))])


def _without(of: AuditPackage, name: str, *, agreement: bool, signatures: bool) -> AuditPackage:
    def rest(all_: dict[str, Any], takes: bool) -> dict[str, Any]:
        return {key: value for key, value in all_.items() if not takes or key != name}

    return replace(
        of,
        agreements=rest(of.agreements, agreement),
        signatures=rest(of.signatures, signatures),
    )


def _delete_agreement(of: Subject, chance: Chance) -> AuditPackage:
    return _without(of.package, _agreement(of, chance), agreement=True, signatures=True)


def _delete_agreement_alone(of: Subject, chance: Chance) -> AuditPackage:
    return _without(of.package, _agreement(of, chance), agreement=True, signatures=False)


def _delete_signatures(of: Subject, chance: Chance) -> AuditPackage:
    return _without(of.package, _agreement(of, chance), agreement=False, signatures=True)


def _delete_signature(of: Subject, chance: Chance) -> AuditPackage:
    name = chance.choice([name for name, one in of.package.signatures.items() if one.given])
    given = list(of.package.signatures[name].given)
    del given[chance.randrange(len(given))]
    return _with_signatures(of.package, name, given)


def _with_lines(of: Subject, lines: Sequence[NoteSignature]) -> AuditPackage:
    note = read_note(of.package.head)
    return replace(of.package, head=replace(note, signatures=tuple(lines)).to_bytes())


def _lines(of: Subject) -> list[NoteSignature]:
    return list(read_note(of.package.head).signatures)


def _delete_line(of: Subject, chance: Chance) -> AuditPackage:
    lines = _lines(of)
    del lines[chance.randrange(len(lines))]
    return _with_lines(of, lines)


def _delete_witnesses(of: Subject, chance: Chance) -> AuditPackage:
    gone = set(chance.sample(of.others, chance.randint(1, len(of.others))))
    return _with_lines(of, [line for line in _lines(of) if line.name not in gone])


def _swapped(items: Sequence[Any], chance: Chance) -> list[Any]:
    """Let two items change places, often neighbours."""
    one = chance.randrange(len(items) - 1)
    other = one + 1 if chance.random() < 0.5 else chance.randrange(len(items))
    changed = list(items)
    changed[one], changed[other] = changed[other], changed[one]
    return changed


def _swap_entries(of: Subject, chance: Chance) -> AuditPackage:
    return _with_entries(of.package, _swapped(of.package.entries, chance))


def _swap_agreements(of: Subject, chance: Chance) -> AuditPackage:
    one, other = chance.sample(sorted(of.package.agreements), 2)
    agreements, signatures = dict(of.package.agreements), dict(of.package.signatures)
    if chance.random() < 0.5:
        agreements[one], agreements[other] = agreements[other], agreements[one]
    if chance.random() < 0.7:
        signatures[one], signatures[other] = signatures[other], signatures[one]
    return replace(of.package, agreements=agreements, signatures=signatures)


def _swap_signatures(of: Subject, chance: Chance) -> AuditPackage:
    name = chance.choice([name for name, one in of.package.signatures.items() if one.given[1:]])
    given = of.package.signatures[name].given
    moved = _swapped([one.signature for one in given], chance)
    changed = [replace(one, signature=raw) for one, raw in zip(given, moved, strict=True)]
    return _with_signatures(of.package, name, changed)


def _swap_lines(of: Subject, chance: Chance) -> AuditPackage:
    lines = _lines(of)
    moved = _swapped([line.signature for line in lines], chance)
    return _with_lines(
        of, [replace(line, signature=raw) for line, raw in zip(lines, moved, strict=True)]
    )


def _inserted(of: Subject, chance: Chance, raw: bytes) -> AuditPackage:
    entries = list(of.package.entries)
    entries.insert(chance.choice((len(entries), _place(of, chance))), raw)
    return _with_entries(of.package, entries)


def _insert_again(of: Subject, chance: Chance) -> AuditPackage:
    return _inserted(of, chance, chance.choice(of.package.entries))


def _insert_foreign(of: Subject, chance: Chance) -> AuditPackage:
    return _inserted(of, chance, chance.choice(_another(of, chance).package.entries))


def _insert_made_up(of: Subject, chance: Chance) -> AuditPackage:
    last = chance.choice(of.book.entries)
    entry = append(last, Note(text="nothing happened", about=None), of.owner, last.time)
    return _inserted(of, chance, write(entry, _a_key(of, chance).entries))


def _insert_agreement(of: Subject, chance: Chance) -> AuditPackage:
    """Add one that no entry names, true or from another federation."""
    if chance.random() < 0.5:
        agreement = replace(of.federation.first, nonce=chance.randbytes(16))
        given = chance.choice((Signatures(given=()), of.federation.signed_by_all(agreement)))
    else:
        other = _strangers(STRANGERS[0])
        agreement, given = other.first, other.signatures[other.first.digest]
    return replace(
        of.package,
        agreements=of.package.agreements | {agreement.digest: encode(agreement)},
        signatures=of.package.signatures | {agreement.digest: given},
    )


def _insert_signature(of: Subject, chance: Chance) -> AuditPackage:
    """Add one of somebody who has not signed, or is no party."""
    name = _agreement(of, chance)
    by_party = of.package.signatures[name].by_party
    absent = [id for id in of.federation.keys if id not in by_party]
    who = chance.choice([*absent, InstitutionId("stranger")])
    others = [keys for id, keys in of.federation.keys.items() if id != who]
    key = chance.choice((SigningKeys.generate(), *others))
    signature = key.sign(Purpose.AGREEMENT, of.package.agreements[name])
    changed = Signatures.of(by_party | {who: signature.signature})
    return _with_signatures(of.package, name, changed.given)


def _insert_line(of: Subject, chance: Chance) -> AuditPackage:
    """Add a line: by a stranger, by a known name with another key, or one more by a known key."""
    lines, checkpoint = _lines(of), _checkpoint(of)
    keys, name = _a_key(of, chance), chance.choice((*of.others, "stranger", checkpoint.origin))
    new = chance.choice(
        (
            cosign(checkpoint, name, keys.witness, WITNESSED),
            cosign(checkpoint, name, keys.lasting, WITNESSED),
            sign(checkpoint, checkpoint.origin, keys.head),
            chance.choice(lines),
        )
    )
    lines.insert(chance.randint(0, len(lines)), new)
    return _with_lines(of, lines)


def _checkpoint(of: Subject) -> Checkpoint:
    return read_checkpoint(read_note(of.package.head).text)


def _another(of: Subject, chance: Chance) -> Subject:
    """Return another institution's ledger, of the same federation or of another."""
    federation = of.federation if chance.random() < 0.7 else _strangers(STRANGERS[0])
    return _lived(federation, chance.choice([id for id in OWNERS if id != of.owner]))


@cache
def _lived(federation: Federation, owner: InstitutionId) -> Subject:
    return subject(federation, owner, seed=1)


@cache
def _strangers(seed: int) -> Federation:
    return Federation(seed=seed)


def _foreign_entry(of: Subject, chance: Chance) -> AuditPackage:
    entries, others = list(of.package.entries), _another(of, chance).package.entries
    at = chance.randrange(min(len(entries), len(others)))
    entries[at] = others[at] if chance.random() < 0.7 else chance.choice(others)
    return _with_entries(of.package, entries)


def _foreign_head(of: Subject, chance: Chance) -> AuditPackage:
    """Put in another ledger's head, or an older one of the same."""
    another = of.kept if chance.random() < 0.3 else _another(of, chance).package.head
    return replace(of.package, head=another)


def _foreign_agreement(of: Subject, chance: Chance) -> AuditPackage:
    name, other = _agreement(of, chance), _another(of, chance).package
    raw = chance.choice(list(other.agreements.values()))
    return replace(of.package, agreements=of.package.agreements | {name: raw})


def _foreign_signatures(of: Subject, chance: Chance) -> AuditPackage:
    name, other = _agreement(of, chance), _another(of, chance).package
    given = chance.choice(list(other.signatures.values()))
    return replace(of.package, signatures=of.package.signatures | {name: given})


def _a_key(of: Subject, chance: Chance) -> LedgerKeys:
    """Return keys that are not the owner's: another institution's, or new ones."""
    if chance.random() < 0.5:
        return LedgerKeys.derive(chance.randbytes(64))
    return of.federation.ledger_keys(chance.choice(of.others))


def _edit_entry(of: Subject, chance: Chance) -> AuditPackage:
    """Change a field of an entry's statement and sign it again."""
    entries = list(of.package.entries)
    at = _place(of, chance)
    entries[at] = edited(entries[at], _a_key(of, chance), chance)
    return _with_entries(of.package, entries)


def edited(raw: bytes, keys: LedgerKeys, chance: Chance) -> bytes:
    """Change a statement's fields and put it into an envelope again."""
    payload = altered(decode(Envelope, raw).payload, chance)
    return seal(payload, keys.entries)


def _sign_all_again(of: Subject, chance: Chance) -> AuditPackage:
    """Write the whole ledger with other keys, head and all, and cosignatures of other keys."""
    keys = _a_key(of, chance)
    raw = [write(entry, keys.entries) for entry in of.book.entries]
    checkpoint = replace(_checkpoint(of), root=Tree(raw).root())
    return replace(of.package, entries=tuple(raw), head=_head(of, checkpoint, keys, chance))


def _sign_head_again(of: Subject, chance: Chance) -> AuditPackage:
    """Change the head's text, and sign it with another key."""
    known = _checkpoint(of)
    changed = chance.choice(
        (
            replace(known, size=known.size + chance.choice((-1, 1))),
            replace(known, root=chance.randbytes(32)),
            replace(known, origin=known.origin[:-1] + chance.choice("0123456789abcdef")),
            replace(known, origin=f"ledger.comity/{chance.choice(of.others)}/00"),
        )
    )
    return replace(of.package, head=_head(of, changed, _a_key(of, chance), chance))


def _head(of: Subject, checkpoint: Checkpoint, keys: LedgerKeys, chance: Chance) -> bytes:
    """Write a head with the old cosignatures, or with such by other keys."""
    old = [line for line in _lines(of) if line.name in of.others]
    lines = [sign(checkpoint, checkpoint.origin, keys.head)]
    for id in of.others:
        own = LedgerKeys.derive(chance.randbytes(64))
        for key in (own.witness, own.lasting):
            lines.append(cosign(checkpoint, id, key, WITNESSED))
    signatures = [lines[0], *old] if chance.random() < 0.5 else lines
    return SignedNote(text=checkpoint.text, signatures=tuple(signatures)).to_bytes()


def _edit_agreement(of: Subject, chance: Chance) -> AuditPackage:
    """Change a field of an agreement, under its old name or its new, and sign it again."""
    name = _agreement(of, chance)
    raw, new = altered(of.package.agreements[name], chance), name
    if chance.random() < 0.5:
        try:
            new = decode(Agreement, raw).digest
        except PeerError:
            new = Digest(chance.randbytes(32).hex())
    stranger = SigningKeys.generate()
    by_party = {
        id: (stranger if chance.random() < 0.5 else keys).sign(Purpose.AGREEMENT, raw).signature
        for id, keys in of.federation.keys.items()
    }
    rest = _without(of.package, name, agreement=True, signatures=True)
    return replace(
        rest,
        agreements=rest.agreements | {new: raw},
        signatures=rest.signatures | {new: Signatures.of(by_party)},
    )


def _cosign_again(of: Subject, chance: Chance) -> AuditPackage:
    """Put one line of a witness in the place of another: other keys, another time, another name."""
    lines, checkpoint = _lines(of), _checkpoint(of)
    at = chance.randrange(1, len(lines))
    old = lines[at]
    strangers = [LedgerKeys.derive(chance.randbytes(64))]
    strangers += [of.federation.ledger_keys(id) for id in of.others if id != old.name]
    keys = chance.choice(strangers)  # never the witness's own: that would be its true word
    key = chance.choice((keys.witness, keys.lasting))
    made = cosign(checkpoint, old.name, key, WITNESSED)
    lines[at] = chance.choice(
        (
            made,
            replace(old, signature=made.signature),
            replace(old, signature=chance.randbytes(8) + old.signature[8:]),
            replace(old, name=chance.choice(("stranger", *of.others))),
        )
    )
    return _with_lines(of, lines)
