"""A key epoch: pair keys for one roster, made once, then turned forward at every round.

1. each member makes a fresh hybrid KEM key and signs it;
2. each member seals a random half to every other member's key and signs the whole message;
3. the pair key of i < j comes from both halves and both members' key messages;
4. each signs the digest of all it saw; the first round starts only if all saw the same.

The KEM key and the halves are deleted after step 3: a recording of the traffic opens nothing later.
Every round uses the next link of a one-way chain, and used links are erased (forward secrecy).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.derive import digest, expand, extract, number
from comity_common.crypto.seal import SealingKey, seal
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.messages import EpochHalves, EpochKey, EpochOpen, EpochView

Message = TypeVar("Message", EpochKey, EpochHalves, EpochView)

HALF_BYTES = 32
MAX_LEAP = 1000  # rounds that a plan may move a chain forward


@dataclass(frozen=True, slots=True)
class PairChain:
    """The chain of keys that two members share.

    Attributes:
        key: the link of the next unused round, 32 bytes.
        round: that round's number.
    """

    key: bytes
    round: int

    def __repr__(self) -> str:
        return f"PairChain(round={self.round})"

    def turn_to(self, round: int) -> "PairChain":
        """Move forward to a round, one-way.

        Raises:
            PeerError: the round is behind, or too far ahead.
        """
        if not 0 <= round - self.round <= MAX_LEAP:
            raise PeerError(f"expected a round from {self.round} on, got {round}")
        key = self.key
        for _ in range(round - self.round):
            key = expand(key, "ratchet")
        return PairChain(key, round)

    def round_key(self, plan: bytes) -> bytes:
        """Derive p, the key of this round under this plan's digest (32 bytes)."""
        return expand(self.key, "round", plan)


def check_open(agreement: Agreement, opened: EpochOpen, me: InstitutionId, newest: int) -> None:
    """Check an invitation to a key epoch.

    Raises:
        PeerError: wrong agreement, an old epoch, or members that the agreement does not allow.
    """
    if opened.agreement != agreement.digest:
        raise PeerError("expected a key epoch of this agreement")
    if opened.epoch <= newest:
        raise PeerError(f"expected a key epoch after {newest}, got {opened.epoch}")
    members = opened.members
    if list(members) != sorted(set(members)) or not set(members) <= set(agreement.roster):
        raise PeerError("expected members of the roster, in order, each once")
    if me not in members or len(members) < agreement.aggregation.min_participants:
        raise PeerError("expected myself among at least the minimum number of members")


def make_halves(
    agreement: Agreement,
    opened: EpochOpen,
    me: InstitutionId,
    keys: Mapping[InstitutionId, EpochKey],
) -> tuple[EpochHalves, dict[InstitutionId, bytes]]:
    """Draw a half for every other member and seal it to that member's key.

    Returns:
        the message, and the halves in the clear (32 bytes each), which are secret.
    """
    halves = {peer: os.urandom(HALF_BYTES) for peer in opened.members if peer != me}
    sealed = tuple(
        b"" if peer == me else seal(keys[peer].key, halves[peer], _info(opened, me, peer))
        for peer in opened.members
    )
    message = EpochHalves(
        agreement=agreement.digest, epoch=opened.epoch, institution=me, sealed=sealed
    )
    return message, halves


def pair_chains(
    opened: EpochOpen,
    me: InstitutionId,
    sealing: SealingKey,
    own: Mapping[InstitutionId, bytes],
    keys: Mapping[InstitutionId, EpochKey],
    halves: Mapping[InstitutionId, EpochHalves],
) -> dict[InstitutionId, PairChain]:
    """Open the peers' halves and derive the first link of every pair's chain.

    Raises:
        PeerError: a half was not sealed to this member in this epoch.
    """
    chains = {}
    position = opened.members.index(me)
    for peer in opened.members:
        if peer == me:
            continue
        theirs = sealing.open(halves[peer].sealed[position], _info(opened, peer, me))
        if len(theirs) != HALF_BYTES:
            raise PeerError(f"expected a half of {HALF_BYTES} bytes from {peer}")
        low, high = sorted((me, peer))
        ordered = own[peer] + theirs if me == low else theirs + own[peer]
        salt = digest(
            "pair-salt",
            opened.agreement.encode(),
            number(opened.epoch),
            encode(keys[low]),
            encode(keys[high]),
            low.encode(),
            high.encode(),
        )
        chains[peer] = PairChain(extract(salt, ordered, "pair"), 0)
    return chains


def view_digest(
    opened: EpochOpen,
    keys: Mapping[InstitutionId, EpochKey],
    halves: Mapping[InstitutionId, EpochHalves],
) -> Digest:
    """Hash all messages of an epoch's set-up, in the order of the members."""
    seen = [encode(message[member]) for message in (keys, halves) for member in opened.members]
    return Digest(digest("epoch-view", encode(opened), *seen).hex())


def read_keys(
    agreement: Agreement, opened: EpochOpen, signed: Sequence[Signed]
) -> dict[InstitutionId, EpochKey]:
    """Verify every member's key message.

    Raises:
        PeerError: one is missing, doubled, unsigned or of another epoch.
    """
    messages = [(decode(EpochKey, item.body), item, Purpose.EPOCH_KEY) for item in signed]
    return _verified(agreement, opened, messages)


def read_halves(
    agreement: Agreement, opened: EpochOpen, signed: Sequence[Signed]
) -> dict[InstitutionId, EpochHalves]:
    """Verify every member's halves message.

    Raises:
        PeerError: one is missing, doubled, unsigned, too short or of another epoch.
    """
    messages = [(decode(EpochHalves, item.body), item, Purpose.EPOCH_HALVES) for item in signed]
    halves = _verified(agreement, opened, messages)
    if any(len(message.sealed) != len(opened.members) for message in halves.values()):
        raise PeerError("expected one sealed half per member")
    return halves


def check_views(
    agreement: Agreement, opened: EpochOpen, signed: Sequence[Signed], mine: Digest
) -> None:
    """Check that every member saw the same set-up.

    Raises:
        PeerError: a view is missing or differs: the operator showed different keys to different
            members, and this epoch must never be used.
    """
    messages = [(decode(EpochView, item.body), item, Purpose.EPOCH_VIEW) for item in signed]
    for member, message in _verified(agreement, opened, messages).items():
        if message.view != mine:
            raise PeerError(f"expected the same view of the key epoch from {member}")


def _verified(
    agreement: Agreement,
    opened: EpochOpen,
    messages: Sequence[tuple[Message, Signed, Purpose]],
) -> dict[InstitutionId, Message]:
    verified: dict[InstitutionId, Message] = {}
    for message, signed, purpose in messages:
        if (message.agreement, message.epoch) != (opened.agreement, opened.epoch):
            raise PeerError("expected a message of this key epoch")
        if message.institution not in opened.members or message.institution in verified:
            raise PeerError("expected one message from every member")
        identity = agreement.party(message.institution).identity
        verify(identity.ed25519, identity.mldsa44, purpose, signed)
        verified[message.institution] = message
    if len(verified) != len(opened.members):
        raise PeerError("expected a message from every member")
    return verified


def _info(opened: EpochOpen, sender: InstitutionId, receiver: InstitutionId) -> bytes:
    return digest(
        "half", opened.agreement.encode(), number(opened.epoch), sender.encode(), receiver.encode()
    )
