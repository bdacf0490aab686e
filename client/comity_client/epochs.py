"""The vault's part in setting up a key epoch, step by step in its store.

Each parcel of the operator moves one epoch forward and gives one signed answer. The sealing key
and the halves in the clear live only until the pair chains exist; a new epoch erases an old one.
"""

import json
import sqlite3
from collections.abc import Sequence

from comity_client.store import Store
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.seal import SealingKey
from comity_common.crypto.sign import Purpose, Signed, SigningKeys, verify
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.keyepoch import (
    PairChain,
    check_open,
    check_views,
    make_halves,
    pair_chains,
    read_halves,
    read_keys,
    view_digest,
)
from comity_common.secagg.messages import EpochKey, EpochOpen, EpochView

GIVEN_UP = 2  # neither in use (1) nor being set up (0)


class KeyEpochs:
    """The key epochs of one institution."""

    def __init__(self, store: Store, keys: SigningKeys, me: InstitutionId) -> None:
        self._store = store
        self._keys = keys
        self._me = me

    def open(
        self,
        tx: sqlite3.Connection,
        agreement: Agreement,
        signed: Signed,
        gone: frozenset[InstitutionId] = frozenset(),
    ) -> Signed:
        """Answer an invitation with a fresh public key.

        Args:
            gone: who has left the agreement, and must not be a member.
        """
        operator = agreement.operator.identity
        raw = verify(operator.ed25519, operator.mldsa44, Purpose.EPOCH_OPEN, signed)
        opened = decode(EpochOpen, raw)
        if gone & set(opened.members):
            raise PeerError("expected members that have not left the agreement")
        check_open(agreement, opened, self._me, self._newest(tx, agreement.digest))
        tx.execute("delete from epochs where agreement = ?", (agreement.digest,))
        tx.execute("delete from chains where agreement = ?", (agreement.digest,))
        sealing = SealingKey.generate()
        tx.execute(
            "insert into epochs (agreement, epoch, opened, sealing) values (?, ?, ?, ?)",
            (agreement.digest, opened.epoch, raw, sealing.to_bytes()),
        )
        message = EpochKey(
            agreement=agreement.digest,
            epoch=opened.epoch,
            institution=self._me,
            key=sealing.public(),
        )
        return self._keys.sign(Purpose.EPOCH_KEY, encode(message))

    def take_keys(
        self, tx: sqlite3.Connection, agreement: Agreement, signed: Sequence[Signed]
    ) -> Signed:
        """Answer everyone's keys with a sealed half for everyone."""
        row, opened = self._step(tx, agreement, "keys is null")
        keys = read_keys(agreement, opened, signed)
        if keys[self._me].key != SealingKey.from_bytes(row["sealing"]).public():
            raise PeerError("expected my own key among the keys")
        message, halves = make_halves(agreement, opened, self._me, keys)
        tx.execute(
            "update epochs set keys = ?, halves = ? where agreement = ?",
            (_pack(signed), _pack_halves(halves), agreement.digest),
        )
        return self._keys.sign(Purpose.EPOCH_HALVES, encode(message))

    def take_halves(
        self, tx: sqlite3.Connection, agreement: Agreement, signed: Sequence[Signed]
    ) -> Signed:
        """Derive the pair chains, erase what they came from, answer with what was seen."""
        row, opened = self._step(tx, agreement, "keys is not null and view is null")
        keys = read_keys(agreement, opened, _unpack(row["keys"]))
        halves = read_halves(agreement, opened, signed)
        sealing = SealingKey.from_bytes(row["sealing"])
        own = _unpack_halves(row["halves"])
        chains = pair_chains(opened, self._me, sealing, own, keys, halves)
        view = view_digest(opened, keys, halves)
        tx.execute(
            "update epochs set sealing = null, halves = null, view = ? where agreement = ?",
            (view, agreement.digest),
        )
        for peer, chain in chains.items():
            tx.execute(
                "insert into chains values (?, ?, ?, ?, ?)",
                (agreement.digest, opened.epoch, peer, chain.key, chain.round),
            )
        message = EpochView(
            agreement=agreement.digest, epoch=opened.epoch, institution=self._me, view=view
        )
        return self._keys.sign(Purpose.EPOCH_VIEW, encode(message))

    def take_views(
        self, tx: sqlite3.Connection, agreement: Agreement, signed: Sequence[Signed]
    ) -> None:
        """Finish: the epoch may be used if all saw the same."""
        row, opened = self._step(tx, agreement, "view is not null")
        check_views(agreement, opened, signed, Digest(row["view"]))
        tx.execute("update epochs set ready = 1 where agreement = ?", (agreement.digest,))

    def current(self, agreement: Digest) -> tuple[int, tuple[InstitutionId, ...]]:
        """Return number and members of the epoch in use; 0 and nobody if there is none."""
        row = (
            self._store.reading()
            .execute("select opened from epochs where agreement = ? and ready = 1", (agreement,))
            .fetchone()
        )
        if row is None:
            return 0, ()
        opened = decode(EpochOpen, row["opened"])
        return opened.epoch, opened.members

    def forget(self, tx: sqlite3.Connection, agreement: Digest) -> None:
        """Give up the epoch in use with all its keys; its number is not used again."""
        tx.execute("update epochs set ready = ? where agreement = ?", (GIVEN_UP, agreement))
        tx.execute("delete from chains where agreement = ?", (agreement,))

    def use(
        self, tx: sqlite3.Connection, agreement: Digest, epoch: int, round: int, plan: bytes
    ) -> dict[InstitutionId, bytes]:
        """Return the keys of one round with every peer, and erase them from the chains.

        After the transaction the keys exist in memory alone: whoever takes the disk, or restarts
        this vault, cannot mask this round again.
        """
        rows = tx.execute(
            "select peer, key, round from chains where agreement = ? and epoch = ?",
            (agreement, epoch),
        ).fetchall()
        keys = {}
        for row in rows:
            chain = PairChain(row["key"], row["round"]).turn_to(round)
            keys[InstitutionId(row["peer"])] = chain.round_key(plan)
            after = chain.turn_to(round + 1)
            tx.execute(
                "update chains set key = ?, round = ? "
                "where agreement = ? and epoch = ? and peer = ?",
                (after.key, after.round, agreement, epoch, row["peer"]),
            )
        return keys

    def _newest(self, tx: sqlite3.Connection, agreement: Digest) -> int:
        row = tx.execute("select max(epoch) from epochs where agreement = ?", (agreement,))
        return int(row.fetchone()[0] or 0)

    def _step(
        self, tx: sqlite3.Connection, agreement: Agreement, where: str
    ) -> tuple[sqlite3.Row, EpochOpen]:
        row = tx.execute(
            f"select * from epochs where agreement = ? and ready = 0 and {where}",  # noqa: S608
            (agreement.digest,),
        ).fetchone()
        if row is None:
            raise PeerError("expected the next step of an open key epoch")
        return row, decode(EpochOpen, row["opened"])


def _pack(signed: Sequence[Signed]) -> bytes:
    return json.dumps([[item.body.hex(), item.signature.hex()] for item in signed]).encode()


def _unpack(raw: bytes) -> list[Signed]:
    return [
        Signed(body=bytes.fromhex(body), signature=bytes.fromhex(signature))
        for body, signature in json.loads(raw)
    ]


def _pack_halves(halves: dict[InstitutionId, bytes]) -> bytes:
    return json.dumps({peer: half.hex() for peer, half in halves.items()}).encode()


def _unpack_halves(raw: bytes) -> dict[InstitutionId, bytes]:
    return {InstitutionId(peer): bytes.fromhex(half) for peer, half in json.loads(raw).items()}
