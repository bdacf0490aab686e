"""A vault's connection to a real operator: what it is counted for, which protocol it speaks.

Three scripted vaults make the run go on; the fourth institution is a real `Uplink` and nothing
behind it, so a test decides when its model is loaded.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.simulation.network import QUICK, Federation, Identity, Vault, until

import comity_client.uplink
from comity.v1 import transfer_pb2 as pb
from comity_client.failures import Unreachable
from comity_client.uplink import Delivery, Uplink
from comity_common.canonical import decode
from comity_common.crypto.sign import Signed
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.messages import EpochOpen
from comity_server.coordination import ask_status
from comity_server.daemon import Daemon

FOURTH = InstitutionId("inst-03")


def uplink_of(federation: Federation, identity: Identity, port: int, streams: int = 1) -> Uplink:
    """Connect as a vault does, with a ledger that keeps nothing."""
    key = identity.tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pin = federation.agreement.operator.identity.tls
    tls = (key, identity.certificate)
    return Uplink(f"127.0.0.1:{port}", pin, tls, lambda *message: None, streams=streams)


class Fourth:
    """Follows its mailbox in a thread, again whenever the stream ends, as the daemon does."""

    def __init__(self, federation: Federation, port: int) -> None:
        self.federation = federation
        self.uplink = uplink_of(federation, federation.identities[FOURTH], port)
        self.got: list[Delivery] = []
        self.ends: list[str] = []
        self.opened = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self.uplink.be_ready(None)  # ends the stream
        self._thread.join(10)
        self.uplink.close()

    def _follow(self) -> None:
        while not self._closing.is_set():
            try:
                for delivery in self.uplink.follow(len(self.got), self._note_open):
                    self.got.append(delivery)
            except Unreachable as ended:
                self.ends.append(str(ended))

    def _note_open(self) -> None:
        self.opened += 1

    def invitations(self) -> list[tuple[int, tuple[str, ...]]]:
        """The key epochs that this institution was invited to: number and members."""
        opened = [
            decode(EpochOpen, delivery.messages[0].body)
            for delivery in self.got
            if delivery.kind == pb.PARCEL_KIND_EPOCH_OPEN
        ]
        return [(one.epoch, one.members) for one in opened]

    def standing(self) -> tuple[bool, bool]:
        """What the operator says of this institution: connected, and ready."""
        states = {one["id"]: one for one in ask_status(self.federation.home.socket)["institutions"]}
        return states[FOURTH]["connected"], states[FOURTH]["ready"]


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[tuple[Federation, Daemon]]:
    deadlines = QUICK.model_copy(update={"gather_s": 1})
    federation = Federation.make(tmp_path / "operator", 4, deadlines=deadlines)
    daemon = Daemon(federation.home.path)
    daemon.start()
    yield federation, daemon
    daemon.close()


def test_a_vault_that_still_loads_is_connected_and_is_taken_in_once_it_says_that_it_has_loaded(
    operator: tuple[Federation, Daemon],
) -> None:
    federation, daemon = operator
    roster, digest = federation.agreement.roster, federation.agreement.digest
    fourth = Fourth(federation, daemon.port)
    vaults = []
    try:
        until(lambda: fourth.standing() == (True, False))
        vaults = [Vault(federation, id, daemon.port).start() for id in roster if id != FOURTH]
        until(lambda: all(vault._epoch[0] == 1 for vault in vaults))
        assert vaults[0]._epoch == (1, tuple(id for id in roster if id != FOURTH))
        assert fourth.invitations() == []
        assert (fourth.standing(), fourth.opened, fourth.ends) == ((True, False), 1, [])

        fourth.uplink.be_ready(digest)
        until(fourth.invitations)
        assert fourth.invitations() == [(2, roster)]
        assert fourth.standing() == (True, True)
        assert fourth.opened == 2
        assert [delivery.sequence for delivery in fourth.got] == [
            place + 1 for place in range(len(fourth.got))
        ]

        fourth.uplink.be_ready(None)
        until(lambda: fourth.opened == 3)
        until(lambda: fourth.standing() == (True, False))
    finally:
        for vault in vaults:
            vault.close()
        fourth.close()


def test_who_was_ready_before_it_connects_says_so_at_once(
    operator: tuple[Federation, Daemon],
) -> None:
    federation, daemon = operator
    uplink = uplink_of(federation, federation.identities[FOURTH], daemon.port)
    uplink.be_ready(federation.agreement.digest)
    next(uplink.follow(0, lambda: None))
    states = {one["id"]: one for one in ask_status(federation.home.socket)["institutions"]}
    assert states[FOURTH]["ready"]
    uplink.close()


def test_an_operator_of_another_protocol_is_not_refused_for_good_and_is_named(
    operator: tuple[Federation, Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dict(comity_client.uplink.OPTIONS) | {"grpc.primary_user_agent": "comity/2"}
    monkeypatch.setattr(comity_client.uplink, "OPTIONS", tuple(other.items()))
    federation, daemon = operator
    digest = federation.agreement.digest
    uplink = uplink_of(federation, federation.identities[FOURTH], daemon.port)
    told = "^the operator speaks another protocol: expected protocol 1, got 2$"
    opened: list[int] = []
    for call in (
        lambda: next(uplink.follow(0, lambda: opened.append(1))),
        lambda: uplink.send(digest, pb.PARCEL_KIND_REVEAL, Signed(body=b"", signature=b"")),
        lambda: uplink.fetch_plan(digest, Digest("0" * 64)),
        uplink.fetch_agreements,
    ):
        with pytest.raises(Unreachable, match=told):
            call()
    assert opened == []
    assert uplink.probe(9).version == 1
    uplink.close()


def test_no_more_agreements_are_heard_than_are_bounded(
    operator: tuple[Federation, Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, daemon = operator
    uplink = uplink_of(federation, federation.identities[FOURTH], daemon.port)
    assert [len(told.raw) > 0 for told in uplink.fetch_agreements()] == [True]
    for bound in ("MAX_TOLD", "MAX_TOLD_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(comity_client.uplink, bound, 0)
            assert uplink.fetch_agreements() == []
    assert len(uplink.fetch_agreements()) == 1  # the way is as open as before
    uplink.close()
