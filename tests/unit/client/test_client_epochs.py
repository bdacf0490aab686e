"""Key epochs in a vault's store: every step once and in order, and nothing is left that opens it.

Three institutions with real stores run the four messages; a test forges one of them.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.federation import make_agreement
from tests.simulation.test_vaults import Federation

from comity_client.epochs import KeyEpochs
from comity_client.store import Store
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.seal import SealingKey
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.messages import EpochHalves, EpochKey, EpochOpen, EpochView

IDS = [InstitutionId(f"inst-0{k}") for k in range(3)]
ME = IDS[1]
PLAN = bytes(32)


class Roster:
    """Three vaults' key epochs, and the messages that they have given so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = {id: SigningKeys.generate() for id in IDS}
        self.operator = SigningKeys.generate()
        self.agreement: Agreement = make_agreement(self.keys, self.operator)
        self.stores = {id: Store(path / f"{id}.db") for id in IDS}
        self.epochs = {id: KeyEpochs(self.stores[id], self.keys[id], id) for id in IDS}
        self.given: dict[str, list[Signed]] = {}

    def invitation(self, epoch: int = 1, **changes: Any) -> Signed:
        opened = EpochOpen(agreement=self.agreement.digest, epoch=epoch, members=tuple(IDS))
        return self.operator.sign(Purpose.EPOCH_OPEN, encode(replace(opened, **changes)))

    def call(self, id: InstitutionId, step: str, messages: Any) -> Any:
        with self.stores[id].transaction() as tx:
            return getattr(self.epochs[id], step)(tx, self.agreement, messages)

    def all_open(self, epoch: int = 1) -> None:
        invitation = self.invitation(epoch)
        self.given["take_keys"] = [self.call(id, "open", invitation) for id in IDS]

    def all_take(self, step: str, following: str) -> None:
        self.given[following] = [self.call(id, step, self.given[step]) for id in IDS]

    def bring_to(self, step: str) -> None:
        """Take all up to, not including, a step."""
        if step != "open":
            self.all_open()
        for now, following in (("take_keys", "take_halves"), ("take_halves", "take_views")):
            if list(self.given)[-1:] == [now] and step != now:
                self.all_take(now, following)

    def set_up(self, epoch: int = 1) -> None:
        self.all_open(epoch)
        self.all_take("take_keys", "take_halves")
        self.all_take("take_halves", "take_views")
        for id in IDS:
            self.call(id, "take_views", self.given["take_views"])

    def row(self, id: InstitutionId = ME) -> tuple[Any, ...] | None:
        found = self.stores[id].reading().execute("select * from epochs").fetchone()
        return None if found is None else tuple(found)

    def chains(self, id: InstitutionId = ME) -> dict[str, tuple[bytes, int]]:
        rows = self.stores[id].reading().execute("select * from chains").fetchall()
        return {row["peer"]: (row["key"], row["round"]) for row in rows}

    def use(self, id: InstitutionId, round: int, epoch: int = 1) -> dict[InstitutionId, bytes]:
        with self.stores[id].transaction() as tx:
            return self.epochs[id].use(tx, self.agreement.digest, epoch, round, PLAN)

    def on_disk(self, id: InstitutionId = ME) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.path.glob(f"{id}.db*")))

    def checkpoint(self, id: InstitutionId = ME) -> None:
        connection = self.stores[id].reading()
        assert connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0


@pytest.fixture
def roster(tmp_path: Path) -> Roster:
    return Roster(tmp_path)


def test_four_messages_give_every_pair_the_same_keys(roster: Roster) -> None:
    assert roster.epochs[ME].current(roster.agreement.digest) == (0, ())
    roster.set_up()
    for id in IDS:
        assert roster.epochs[id].current(roster.agreement.digest) == (1, tuple(IDS))
    keys = {id: roster.use(id, 1) for id in IDS}
    for one in IDS:
        assert keys[one].keys() == set(IDS) - {one}
        for other in set(IDS) - {one}:
            assert keys[one][other] == keys[other][one]
    assert len({key for mine in keys.values() for key in mine.values()}) == 3


def test_an_epoch_is_not_in_use_before_all_saw_the_same(roster: Roster) -> None:
    roster.bring_to("take_views")
    assert roster.epochs[ME].current(roster.agreement.digest) == (0, ())


STEPS = ("take_keys", "take_halves", "take_views")


@pytest.mark.parametrize(
    ("at", "step"),
    [(at, step) for at in ("open", *STEPS) for step in STEPS if at != step],
)
def test_a_step_out_of_order_raises_and_changes_nothing(
    roster: Roster, tmp_path: Path, at: str, step: str
) -> None:
    (tmp_path / "other").mkdir()
    other = Roster(tmp_path / "other")  # its messages have the right form
    other.set_up()
    roster.bring_to(at)
    before = roster.row(), roster.chains()
    messages = roster.given.get(step, other.given[step])
    with pytest.raises(PeerError, match="next step"):
        roster.call(ME, step, messages)
    assert (roster.row(), roster.chains()) == before


def test_a_step_that_was_taken_is_not_taken_again(roster: Roster) -> None:
    roster.set_up()
    before = roster.row(), roster.chains()
    for step in STEPS:
        with pytest.raises(PeerError, match="next step"):
            roster.call(ME, step, roster.given[step])
    assert (roster.row(), roster.chains()) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"agreement": Digest("0" * 64)},
        {"epoch": 0},
        {"epoch": -1},
        {"members": tuple(IDS[:2])},
        {"members": (IDS[0], IDS[2])},
        {"members": (*IDS, InstitutionId("stranger"))},
        {"members": tuple(reversed(IDS))},
        {"members": (*IDS, IDS[2])},
        {"members": ()},
    ],
    ids=str,
)
def test_an_invitation_that_the_agreement_does_not_allow_is_refused(
    roster: Roster, changes: dict[str, Any]
) -> None:
    with pytest.raises(PeerError):
        roster.call(ME, "open", roster.invitation(**changes))
    assert roster.row() is None


def test_an_invitation_of_anybody_else_is_refused(roster: Roster) -> None:
    body = roster.invitation().body
    for signed in (
        roster.keys[ME].sign(Purpose.EPOCH_OPEN, body),
        roster.operator.sign(Purpose.PLAN, body),
        Signed(body=body, signature=b""),
        Signed(body=body + b" ", signature=roster.invitation().signature),
    ):
        with pytest.raises(PeerError):
            roster.call(ME, "open", signed)
    assert roster.row() is None


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_invitation_to_an_old_epoch_keeps_the_one_in_use(roster: Roster, epoch: int) -> None:
    roster.set_up(epoch=2)
    before = roster.row(), roster.chains()
    with pytest.raises(PeerError, match="after 2"):
        roster.call(ME, "open", roster.invitation(epoch))
    assert (roster.row(), roster.chains()) == before


Forge = Callable[[Roster, list[Signed]], list[Signed]]


def resigned(roster: Roster, signed: Signed, id: InstitutionId, **changes: Any) -> Signed:
    """Change fields of a member's message and sign it as that member."""
    for kind, purpose in (
        (EpochKey, Purpose.EPOCH_KEY),
        (EpochHalves, Purpose.EPOCH_HALVES),
        (EpochView, Purpose.EPOCH_VIEW),
    ):
        try:
            message = decode(kind, signed.body)
        except PeerError:
            continue
        return roster.keys[id].sign(purpose, encode(replace(message, **changes)))
    raise AssertionError("expected a message of a key epoch")


FORGED: dict[str, Forge] = {
    "one is missing": lambda r, all: all[:2],
    "one comes twice": lambda r, all: [*all[:2], all[1]],
    "one too many": lambda r, all: [*all, all[0]],
    "none": lambda r, all: [],
    "signature cut": lambda r, all: [
        *all[:2], Signed(body=all[2].body, signature=all[2].signature[:64])
    ],
    "signed by another": lambda r, all: [
        *all[:2], Signed(body=all[2].body, signature=all[1].signature)
    ],
    "a byte changed": lambda r, all: [
        *all[:2],
        Signed(body=all[2].body.replace(b"inst-02", b"inst-03"), signature=all[2].signature),
    ],
    "of another epoch": lambda r, all: [*all[:2], resigned(r, all[2], IDS[2], epoch=2)],
    "of another agreement": lambda r, all: [
        *all[:2], resigned(r, all[2], IDS[2], agreement=Digest("0" * 64))
    ],
    "in another's name": lambda r, all: [*all[:2], resigned(r, all[2], IDS[2], institution=IDS[0])],
    "of a stranger": lambda r, all: [
        *all[:2], resigned(r, all[2], IDS[2], institution=InstitutionId("stranger"))
    ],
    "no canonical bytes": lambda r, all: [
        *all[:2], r.keys[IDS[2]].sign(Purpose.EPOCH_KEY, all[2].body + b" ")
    ],
    "nothing inside": lambda r, all: [*all[:2], Signed(body=b"{}", signature=b"")],
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_a_forged_parcel_changes_nothing_and_the_true_one_is_still_taken(
    roster: Roster, step: str
) -> None:
    roster.bring_to(step)
    before = roster.row(), roster.chains()
    for name, forge in FORGED.items():
        with pytest.raises(PeerError):
            roster.call(ME, step, forge(roster, roster.given[step]))
        assert (roster.row(), roster.chains()) == before, name
    roster.call(ME, step, roster.given[step])
    assert roster.row() != before[0]


def test_a_key_in_my_name_that_is_not_mine_is_noticed(roster: Roster) -> None:
    """A clone that shares my signing key, or a restored disk, answered the same invitation."""
    roster.bring_to("take_keys")
    keys = list(roster.given["take_keys"])
    keys[1] = resigned(roster, keys[1], ME, key=SealingKey.generate().public())
    with pytest.raises(PeerError, match="my own key"):
        roster.call(ME, "take_keys", keys)


@pytest.mark.parametrize("key", [b"", bytes(1215), bytes(1216), b"\xff" * 1216, bytes(1217)])
def test_a_malformed_key_of_a_member_is_refused(roster: Roster, key: bytes) -> None:
    roster.bring_to("take_keys")
    before = roster.row()
    keys = [*roster.given["take_keys"][:2], resigned(roster, roster.given["take_keys"][2], IDS[2],
                                                     key=key)]  # fmt: skip
    with pytest.raises(PeerError):
        roster.call(ME, "take_keys", keys)
    assert roster.row() == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sealed: (sealed[0], b"", sealed[2]),
        lambda sealed: (sealed[0], sealed[0], sealed[2]),
        lambda sealed: (sealed[0], sealed[1][:-1] + b"\0", sealed[2]),
        lambda sealed: sealed[:2],
        lambda sealed: (*sealed, b""),
    ],
    ids=["empty", "another's", "changed", "too few", "too many"],
)
def test_halves_that_do_not_open_leave_no_chain(
    roster: Roster, spoil: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]
) -> None:
    roster.bring_to("take_halves")
    before = roster.row()
    halves = list(roster.given["take_halves"])
    sealed = decode(EpochHalves, halves[2].body).sealed
    halves[2] = resigned(roster, halves[2], IDS[2], sealed=spoil(sealed))
    with pytest.raises(PeerError):
        roster.call(ME, "take_halves", halves)
    assert (roster.row(), roster.chains()) == (before, {})


def test_members_who_were_shown_different_keys_never_use_the_epoch(roster: Roster) -> None:
    roster.bring_to("take_views")
    views = list(roster.given["take_views"])
    views[0] = resigned(roster, views[0], IDS[0], view=Digest("0" * 64))
    with pytest.raises(PeerError, match="same view of the key epoch from inst-00"):
        roster.call(ME, "take_views", views)
    assert roster.epochs[ME].current(roster.agreement.digest) == (0, ())


def test_sealing_key_and_halves_are_gone_once_the_view_is_given(roster: Roster) -> None:
    roster.bring_to("take_halves")
    row = roster.stores[ME].reading().execute("select * from epochs").fetchone()
    sealing, halves = row["sealing"], row["halves"]
    roster.checkpoint()
    assert sealing in roster.on_disk()  # they would be found
    assert halves in roster.on_disk()
    roster.all_take("take_halves", "take_views")
    row = roster.stores[ME].reading().execute("select * from epochs").fetchone()
    assert (row["sealing"], row["halves"]) == (None, None)
    roster.checkpoint()
    left = roster.on_disk()
    assert sealing not in left
    assert sealing[:32] not in left
    assert halves not in left


def test_a_round_key_is_handed_out_once_and_its_chain_moves_on(roster: Roster) -> None:
    roster.set_up()
    before = roster.chains()
    first = roster.use(ME, 3)
    after = roster.chains()
    assert {round for _, round in before.values()} == {0}
    assert {round for _, round in after.values()} == {4}
    assert not {key for key, _ in before.values()} & {key for key, _ in after.values()}
    for round in (1, 3):
        with pytest.raises(PeerError, match="a round from 4 on"):
            roster.use(ME, round)
    assert roster.chains() == after
    assert not set(first.values()) & set(roster.use(ME, 4).values())
    for key in first.values():
        assert key not in roster.on_disk()


def test_a_round_that_was_not_joined_leaves_the_chains_as_they_were(roster: Roster) -> None:
    roster.set_up()
    before = roster.chains()

    def join_and_fail() -> None:
        with roster.stores[ME].transaction() as tx:
            assert roster.epochs[ME].use(tx, roster.agreement.digest, 1, 1, PLAN)
            raise KeyError

    with pytest.raises(KeyError):
        join_and_fail()
    assert roster.chains() == before


def test_links_that_were_used_are_in_no_file_after_a_checkpoint(roster: Roster) -> None:
    roster.set_up()
    links = [key for key, _ in roster.chains().values()]
    roster.checkpoint()
    assert all(link in roster.on_disk() for link in links)
    roster.use(ME, 1)
    roster.checkpoint()
    assert not any(link in roster.on_disk() for link in links)


def test_a_new_epoch_erases_the_old_one(roster: Roster) -> None:
    roster.set_up(epoch=1)
    old = [key for key, _ in roster.chains().values()]
    roster.call(ME, "open", roster.invitation(epoch=2))
    assert roster.chains() == {}
    assert roster.epochs[ME].current(roster.agreement.digest) == (0, ())
    assert roster.use(ME, 1) == {}
    roster.checkpoint()
    assert not any(link in roster.on_disk() for link in old)


def test_two_epochs_of_one_roster_share_no_key(roster: Roster) -> None:
    roster.set_up(epoch=1)
    old = roster.use(ME, 1)
    roster.set_up(epoch=2)
    new = roster.use(ME, 1, epoch=2)
    assert not set(old.values()) & set(new.values())


# In a whole vault nobody calls a checkpoint; what is erased must be off the disk all the same.


def home_on_disk(federation: Federation, id: InstitutionId) -> bytes:
    home = federation.seats[id].path
    return b"".join(path.read_bytes() for path in sorted(home.rglob("vault.db*")))


def test_a_vault_that_joined_a_round_has_its_used_links_off_the_disk(tmp_path: Path) -> None:
    federation = Federation(tmp_path, n=3)
    federation.set_up_keys()
    seat = federation.seats[IDS[0]]
    query = "select key from chains"
    links = [row["key"] for row in seat.inst.store.reading().execute(query)]
    assert len(links) == 2
    plan = federation.operator.begin_round(IDS)
    assert federation.order(plan, IDS[:1]) == {}
    seat.work()
    assert seat.bench.trained == 1
    left = home_on_disk(federation, IDS[0])
    assert [left.count(link) for link in links] == [0, 0]


def test_a_vault_that_set_up_keys_has_its_sealing_key_off_the_disk(tmp_path: Path) -> None:
    federation = Federation(tmp_path, n=3)
    federation.operator.open_epoch(1)
    seat = federation.seats[IDS[0]]
    seat.work()
    (row,) = seat.inst.store.reading().execute("select sealing from epochs").fetchall()
    sealing = row["sealing"]
    for _ in range(4):
        for each in federation.seats.values():
            each.work()
    assert seat.inst.epochs.current(federation.agreement.digest)[0] == 1
    assert home_on_disk(federation, IDS[0]).count(sealing) == 0


def test_a_vault_whose_round_has_ended_has_what_could_unmask_it_off_the_disk(
    tmp_path: Path,
) -> None:
    federation = Federation(tmp_path, n=3)
    federation.set_up_keys()
    plan = federation.operator.begin_round(IDS)
    assert federation.order(plan, IDS) == {}
    for seat in federation.seats.values():
        seat.work()
    reading = federation.seats[IDS[0]].inst.store.reading()
    (held,) = [bytes(row["held"]) for row in reading.execute("select held from rounds")]
    assert home_on_disk(federation, IDS[0]).count(held[:200]) > 0
    federation.finish(IDS)
    assert federation.seats[IDS[0]].inst.rounds.open(federation.agreement.digest) == []
    assert home_on_disk(federation, IDS[0]).count(held[:200]) == 0
