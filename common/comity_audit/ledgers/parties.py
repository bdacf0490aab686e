"""Whose ledger a package is and who signed what: the keys with which all else is read.

A package carries the agreements that its entries name, and those carry keys. They are believed for
one reason alone: somebody outside named an agreement's digest, and an agreement with that digest
names them. Another agreement in the package counts as what its owner signed; its other parties
are nobody's word, and witness nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from comity_audit.anchor import is_anchored
from comity_audit.steps import about
from comity_common.agreement import Agreement, Party
from comity_common.canonical import decode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import LocalError, PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.checkpoints import Checkpoint, read_checkpoint
from comity_common.ledger.notes import SignedNote, read_note
from comity_common.ledger.package import AuditPackage


class Side(StrEnum):
    """A side of a border: who trains, and who adds up."""

    INSTITUTION = "institution"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """The agreements of a package.

    Attributes:
        owner: whose ledger it is, with its keys.
        agreements: all, by digest; each names the owner with these keys.
        signers: who has signed each.
        vouched: which of them somebody outside vouches for.
    """

    owner: Party
    agreements: Mapping[Digest, Agreement]
    signers: Mapping[Digest, frozenset[InstitutionId]]
    vouched: frozenset[Digest]

    @property
    def signed(self) -> frozenset[Digest]:
        """The agreements that the owner has signed."""
        return frozenset(one for one, who in self.signers.items() if self.owner.id in who)

    @property
    def sides(self) -> frozenset["Side"]:
        """On which side of its agreements the owner stands; one may stand on both."""
        return frozenset(_side(one, self.owner.id) for one in self.agreements.values())

    @property
    def witnessing(self) -> list[Agreement]:
        """The agreements whose parties are known: those vouched for or, without any, all."""
        trusted = self.vouched or self.agreements.keys()
        return [self.agreements[digest] for digest in sorted(trusted)]


def owner_of(note: SignedNote) -> tuple[Checkpoint, InstitutionId]:
    """Read a head, and whose log it says it is.

    Raises:
        PeerError: it is no head of an institution's or operator's ledger.
    """
    checkpoint = read_checkpoint(note.text)
    place, _, rest = checkpoint.origin.partition("/")
    owner, _, generation = rest.partition("/")
    if place != "ledger.comity" or not owner or not generation:
        raise PeerError("expected the head of a ledger: ledger.comity/OWNER/GENERATION")
    return checkpoint, InstitutionId(owner)


def sides_said(package: AuditPackage) -> tuple[InstitutionId, frozenset[Side]]:
    """Read whose ledger a package says it is, and on which sides; nothing of it is checked.

    Raises:
        PeerError: its head or an agreement is none.
    """
    _, owner = owner_of(read_note(package.head))
    agreements = [decode(Agreement, raw) for raw in package.agreements.values()]
    return owner, frozenset(_side(one, owner) for one in agreements)


def read_parties(package: AuditPackage, owner: InstitutionId, anchors: Collection[str]) -> Parties:
    """Read a package's agreements and every signature under them.

    Args:
        anchors: digests or words of agreements that somebody outside vouches for.

    Raises:
        PeerError: one is not what its name says, a signature is wrong, none names the owner, two
            name it with different keys, or it is left open who signed one.
    """
    agreements: dict[Digest, Agreement] = {}
    signers: dict[Digest, frozenset[InstitutionId]] = {}
    for name, raw in sorted(package.agreements.items()):
        with about(f"agreements/{name}.json"):
            agreement = decode(Agreement, raw)
            if agreement.digest != name:
                raise PeerError("expected the agreement of this digest")
            party_of(agreement, owner)
        agreements[agreement.digest] = agreement
    if package.signatures.keys() != package.agreements.keys():
        raise PeerError("expected a file in signatures/ for each one in agreements/, and no other")
    for name, given in sorted(package.signatures.items()):
        agreement, by_party = agreements[Digest(name)], given.by_party
        with about(f"signatures/{name}.json"):
            _check_signatures(agreement, package.agreements[name], by_party)
        signers[agreement.digest] = frozenset(by_party)
    if not agreements:
        raise PeerError("expected an agreement; without one nobody knows whose keys these are")
    parties = {party_of(one, owner) for one in agreements.values()}
    if len(parties) > 1:
        raise PeerError(f"expected the same keys of {owner} in all agreements")
    vouched = {
        digest for digest in agreements if any(is_anchored(digest, anchor) for anchor in anchors)
    }
    return Parties(
        owner=parties.pop(),
        agreements=agreements,
        signers=signers,
        vouched=frozenset(vouched),
    )


def party_of(agreement: Agreement, owner: InstitutionId) -> Party:
    """Return the operator or an institution of an agreement.

    Raises:
        PeerError: it does not name them.
    """
    try:
        return agreement.any_party(owner)
    except LocalError:
        raise PeerError(f"expected an agreement that names {owner}") from None


def _side(agreement: Agreement, owner: InstitutionId) -> Side:
    return Side.OPERATOR if agreement.operator.id == owner else Side.INSTITUTION


def _check_signatures(
    agreement: Agreement, raw: bytes, by_party: Mapping[InstitutionId, bytes]
) -> None:
    for id, signature in by_party.items():
        identity = party_of(agreement, id).identity
        signed = Signed(body=raw, signature=signature)
        verify(identity.ed25519, identity.mldsa44, Purpose.AGREEMENT, signed)
