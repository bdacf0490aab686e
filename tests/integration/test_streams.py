"""An upload over a bad line: cut, spoilt, refused; counted at both ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.relay import Relay, cutting
from tests.integration.test_transfer import Running, run
from tests.integration.test_uplink import uplink_of
from tests.simulation.network import until

import comity_server.uploads
from comity_client.failures import Unreachable
from comity_client.rounds import StoredUpload
from comity_client.uplink import Uplink
from comity_common.chunks import CHUNK_BYTES
from comity_common.errors import PeerError

MANUAL = "inst-00"
PLACES = 12
LANES = PLACES * CHUNK_BYTES // 4 - 1000
SLACK_BYTES = 300 << 10  # handshakes, declarations and what is around each chunk


class Sender:
    """What the manual institution has to send, and a real uplink to send it with."""

    def __init__(self, running: Running, directory: Path) -> None:
        self.running = running
        dealt = running.dealt
        begin = running.manual.begin_request(dealt)
        self.file = directory / "masked"
        self.file.write_bytes(dealt.vector)
        self.size = len(dealt.vector)
        self.stored = StoredUpload(
            header=begin.header.body,
            header_signature=begin.header.signature,
            upload=begin.upload.body,
            upload_signature=begin.upload.signature,
            boxes=tuple(begin.boxes),
            leaves=tuple(begin.leaves),
        )

    def uplink(self, port: int, streams: int) -> Uplink:
        federation = self.running.federation
        identity = federation.identities[self.running.manual.id]
        return uplink_of(federation, identity, port, streams)

    def upload(self, uplink: Uplink) -> int:
        """Upload as the daemon does, again while the line is bad; return how often."""
        for tries in range(1, 50):
            try:
                uplink.upload(self.running.agreement, self.stored, self.file)
                return tries
            except Unreachable:
                continue
        raise AssertionError("expected the upload to get through")


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    for running in run(tmp_path / "operator", LANES):
        yield Sender(running, tmp_path)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Places of the manual institution's upload that the operator wrote, in order."""
    places: list[int] = []
    write = comity_server.uploads._write

    def noting(upload, place: int, data: bytes) -> None:
        if upload.institution == MANUAL:
            places.append(place)
        write(upload, place, data)

    monkeypatch.setattr(comity_server.uploads, "_write", noting)
    return places


def certified(sender: Sender) -> bool:
    return bool(sender.running.manual.bodies)


@pytest.mark.parametrize(("streams", "seed"), [(1, 1), (4, 2), (4, 3), (16, 4)])
def test_a_cut_costs_a_stream_no_more_than_the_chunk_at_hand(
    sender: Sender, written: list[int], streams: int, seed: int
) -> None:
    relay = Relay(
        sender.running.daemon.port, cutting(seed, 300 << 10, 2 * CHUNK_BYTES, 8 + streams)
    )
    uplink = sender.uplink(relay.port, streams)
    sender.upload(uplink)
    uplink.close()
    relay.close()
    again = relay.carried - sender.size
    print(f"streams {streams}: {relay.cuts} cuts, {again / CHUNK_BYTES:.2f} MiB sent twice")
    assert relay.cuts >= 5
    assert again <= relay.cuts * CHUNK_BYTES + SLACK_BYTES
    assert uplink.sent >= relay.carried - SLACK_BYTES  # what is told to people is not less
    assert sorted(written) == list(range(PLACES))
    assert relay.most <= streams + 2  # one for all else, one that looks whose key it is
    until(lambda: certified(sender))
    assert sender.running.manual.id in sender.running.manual.bodies[0].survivors


@pytest.mark.parametrize("streams", [1, 3])
def test_a_good_line_carries_every_byte_once_over_so_many_connections(
    sender: Sender, written: list[int], streams: int
) -> None:
    relay = Relay(sender.running.daemon.port)
    uplink = sender.uplink(relay.port, streams)
    assert sender.upload(uplink) == 1
    assert sender.size < uplink.sent < sender.size + SLACK_BYTES
    assert sorted(written) == list(range(PLACES))
    assert relay.connections == streams + 2
    sent = uplink.sent
    assert sender.upload(uplink) == 1  # the same receipt, and no chunk again
    assert uplink.sent - sent < SLACK_BYTES
    assert len(written) == PLACES
    uplink.close()
    relay.close()


def test_a_byte_that_is_turned_over_on_the_line_ends_a_connection_and_no_more(
    sender: Sender, written: list[int]
) -> None:
    places = iter([None, None, 700_000, 1_500_000])
    relay = Relay(sender.running.daemon.port, spoils=lambda: next(places, None))
    uplink = sender.uplink(relay.port, 4)
    sender.upload(uplink)
    uplink.close()
    relay.close()
    assert uplink.sent - sender.size <= 2 * CHUNK_BYTES + SLACK_BYTES
    assert relay.connections == 4 + 2 + 2
    assert sorted(written) == list(range(PLACES))


def test_a_chunk_that_is_not_the_promised_one_ends_all_streams_and_the_rest_stays(
    sender: Sender, written: list[int]
) -> None:
    good = sender.file.read_bytes()
    spoilt = bytearray(good)
    spoilt[8 * CHUNK_BYTES + 5] ^= 1
    sender.file.write_bytes(spoilt)
    uplink = sender.uplink(sender.running.daemon.port, 4)
    with pytest.raises(PeerError, match=f"expected the chunk at {8 * CHUNK_BYTES} that"):
        sender.upload(uplink)
    assert 8 not in written
    assert 5 <= len(written) < PLACES
    before = len(written)
    sender.file.write_bytes(good)
    sent = uplink.sent
    assert sender.upload(uplink) == 1
    assert uplink.sent - sent < (PLACES - before) * CHUNK_BYTES + SLACK_BYTES
    assert sorted(written) == list(range(PLACES))
    uplink.close()
