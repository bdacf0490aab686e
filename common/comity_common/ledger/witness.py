"""Witnesses: other institutions that cosign the head of a ledger only if it extends the last one.

A ledger lies on one institution's disk, and a disk can be put back. What was reserved after the
copy was made would be forgotten, and spent twice. So before noise is drawn and before a masked
vector leaves, a quorum of the other institutions has cosigned a head that holds the entry, and each
of them remembers it. A vault whose disk is older than that, or that runs twice, has another head at
the same size or a smaller one; no honest witness cosigns both, and shows it instead what it signed
itself.

With n institutions of whom c stand with a malicious operator, ⌈(n + c) / 2⌉ witnesses are one less
than the shares that unmask (`secagg.thresholds`): any two quorums of the others then have an honest
one in common. With fewer an operator that may count on c could show two copies of one vault to
different witnesses. Where the agreement lets rounds go on with fewer institutions than that, the
quorum is all others of the smallest round, and never below c + 1.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from comity_common.agreement import Agreement
from comity_common.errors import LocalError, PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger import checkpoints
from comity_common.ledger.checkpoints import Checkpoint
from comity_common.ledger.keys import LedgerKeys, PublicLedgerKeys
from comity_common.ledger.notes import NoteSignature, SignedNote
from comity_common.ledger.tree import HASH_BYTES, Tree, check_consistency

GENERATION_BYTES = 16
MAX_GROWTHS = 255  # sizes of which one request shows that it extends them
TIMED_BYTES = (8 + 64, 8 + 2420)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeHead:
    """A ledger as it is now.

    Attributes:
        institution: whose it is.
        generation: 16 random bytes of its genesis, or of the entry with which a person declared
            that it goes on from a backup.
        size: number of entries, at least 1.
        root: of the Merkle tree over them, 32 bytes.
    """

    institution: InstitutionId
    generation: bytes
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if len(self.generation) != GENERATION_BYTES or len(self.root) != HASH_BYTES:
            raise LocalError("expected a generation of 16 bytes and a root of 32")
        if self.size < 1:
            raise LocalError("expected a ledger with a genesis")

    @property
    def checkpoint(self) -> Checkpoint:
        """The head as the open formats have it; each generation is a log of its own."""
        return Checkpoint(
            origin=log_origin(self.institution, self.generation), size=self.size, root=self.root
        )


def log_origin(institution: InstitutionId, generation: bytes) -> str:
    """Name a log in its checkpoints: whose ledger, and which generation of it."""
    return f"ledger.comity/{institution}/{generation.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A consistency proof from an older size to the head's."""

    size: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRequest:
    """Institution → witnesses: cosign this head.

    Attributes:
        agreement: under which they know each other.
        log: the institution's own signature under the head's checkpoint, 64 bytes.
        growths: from the sizes that witnesses are known to have cosigned.
    """

    agreement: Digest
    head: TreeHead
    log: bytes
    growths: tuple[Growth, ...]

    def __post_init__(self) -> None:
        if len(self.growths) > MAX_GROWTHS:
            raise LocalError(f"expected at most {MAX_GROWTHS} older sizes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosignature:
    """Witness → institution: this head extends every head of this ledger that I cosigned.

    Attributes:
        timed: timestamped signatures under the head's checkpoint (C2SP tlog-cosignature) by
            Ed25519 and by ML-DSA-44, 72 and 2428 bytes.
    """

    agreement: Digest
    witness: InstitutionId
    head: TreeHead
    timed: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if tuple(map(len, self.timed)) != TIMED_BYTES:
            raise LocalError("expected two timestamped signatures, of 72 and 2428 bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Witness → institution: this is the last head that you asked me to cosign, and I did.

    It proves itself: what it shows has the institution's own signature.

    Attributes:
        institution: to whom it goes.
        body, signature: the `HeadRequest` that the institution signed.
    """

    agreement: Digest
    witness: InstitutionId
    institution: InstitutionId
    body: bytes
    signature: bytes


def quorum(agreement: Agreement) -> int:
    """Return how many other institutions must have cosigned: at least c + 1."""
    n, c = len(agreement.institutions), agreement.aggregation.collusion
    others = agreement.aggregation.min_participants - 1
    return max(c + 1, min(-(-(n + c) // 2), others))


def request_head(
    agreement: Digest,
    institution: InstitutionId,
    generation: bytes,
    tree: Tree,
    known: Collection[int],
    key: Ed25519PrivateKey,
) -> HeadRequest:
    """Ask for the head of a ledger as it is now.

    Args:
        key: with which its owner signs heads.
        known: sizes that witnesses have cosigned, as far as the institution knows.
    """
    size = len(tree)
    head = TreeHead(institution=institution, generation=generation, size=size, root=tree.root(size))
    older = sorted({old for old in known if 0 < old < size})[-MAX_GROWTHS:]
    growths = tuple(Growth(size=old, path=tree.consistency(old, size)) for old in older)
    log = checkpoints.sign(head.checkpoint, head.checkpoint.origin, key).signature
    return HeadRequest(agreement=agreement, head=head, log=log, growths=growths)


def log_line(request: HeadRequest, owner: PublicLedgerKeys) -> NoteSignature:
    """Return the owner's line under the head that a request asks for.

    Raises:
        PeerError: the owner did not sign it.
    """
    checkpoint = request.head.checkpoint
    key = owner.log(checkpoint.origin)
    line = NoteSignature(name=key.name, key_id=key.id, signature=request.log or b"\0")
    checkpoints.verify(checkpoint, key, line)
    return line


def head_note(head: TreeHead, key: Ed25519PrivateKey, lines: Iterable[NoteSignature] = ()) -> bytes:
    """Write a head as a file: signed by its log, and by those who cosigned it.

    Args:
        key: with which its owner signs heads.
        lines: of witnesses.
    """
    checkpoint = head.checkpoint
    own = checkpoints.sign(checkpoint, checkpoint.origin, key)
    return SignedNote(text=checkpoint.text, signatures=(own, *lines)).to_bytes()


def cosign(
    request: HeadRequest, witness: InstitutionId, keys: LedgerKeys, time: int
) -> Cosignature:
    """Cosign a head; that it extends the last one has been checked, and is on disk.

    Args:
        time: now, POSIX seconds.
    """
    timed = tuple(
        checkpoints.cosign(request.head.checkpoint, witness, key, time).signature
        for key in (keys.witness, keys.lasting)
    )
    return Cosignature(agreement=request.agreement, witness=witness, head=request.head, timed=timed)


def witness_lines(cosignature: Cosignature, witness: PublicLedgerKeys) -> tuple[NoteSignature, ...]:
    """Return a witness's two lines under a head.

    Raises:
        PeerError: it did not sign both.
    """
    lines = []
    for key, timed in zip(witness.witnesses(cosignature.witness), cosignature.timed, strict=True):
        lines.append(NoteSignature(name=key.name, key_id=key.id, signature=timed))
        checkpoints.verify(cosignature.head.checkpoint, key, lines[-1])
    return tuple(lines)


def extends(request: HeadRequest, last: TreeHead | None, generations: Collection[bytes]) -> bool:
    """Tell whether a witness may cosign a head: it takes back nothing that it cosigned before.

    Args:
        last: the head of this institution that the witness cosigned last; None for the first.
        generations: all that the witness has ever seen of this institution.
    """
    head = request.head
    if last is None:
        return True
    if head.generation != last.generation:  # a person declared a restore; never back to an old one
        return head.generation not in generations
    if head.size == last.size:
        return head.root == last.root
    for growth in request.growths:
        if growth.size == last.size:
            try:
                check_consistency(last.size, last.root, head.size, head.root, growth.path)
            except PeerError:
                return False
            return True
    return False


def is_past_of(tree: Tree, generations: Collection[bytes], head: TreeHead) -> bool:
    """Tell whether a head that this ledger's owner signed is in this ledger's own past.

    If it is not, this ledger was put back, or it runs twice.

    Args:
        generations: of this ledger, the present one last.
    """
    if head.generation not in generations:
        return False
    if head.generation != list(generations)[-1]:  # before a restore that a person declared
        return True
    return head.size <= len(tree) and tree.root(head.size) == head.root
