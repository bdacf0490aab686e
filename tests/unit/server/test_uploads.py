"""Uploads: resumed anywhere, checked chunk by chunk, one per plan and institution for ever."""

import errno
import itertools
import os
import random
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from tests.ledger_keys import arrived
from tests.operator_store import operator_store
from tests.simulation.federation import World

from comity_common import chunks
from comity_common.canonical import decode, encode
from comity_common.chunks import CHUNK_BYTES
from comity_common.errors import PeerError
from comity_common.secagg.messages import Header
from comity_common.secagg.participant import header_digest
from comity_server.errors import Overtaken
from comity_server.uploads import Declared, Uploads

LANES = 5 * CHUNK_BYTES // 4 + 1000  # six chunks, the last one short
PLACES = 6
WHO = "inst-00"


class Fixture:
    """One dealt vector and the operator's uploads, which can be restarted."""

    def __init__(self, directory: Path, lanes: int = LANES) -> None:
        self.directory = directory
        self.world = World.of(3, lanes=lanes)
        self.plan = self.world.plan()
        self.known = {}
        self.restart()
        self.deal(1)

    def restart(self) -> None:
        self.uploads = Uploads(operator_store(self.directory / "server.db"), self.directory)

    def deal(self, seed: int) -> None:
        """Mask a vector, always the same one for a seed; making it takes longest here."""
        if seed not in self.known:
            self.world.deal(self.plan, WHO, random.Random(seed))
            self.known[seed] = self.world.dealt[WHO], self.world.signed[WHO]
        self.dealt, self.signed = self.known[seed]
        self.name = header_digest(self.dealt.header)

    @property
    def declared(self) -> Declared:
        header, upload = self.signed
        return Declared(
            header=header.body,
            header_signature=header.signature,
            upload=upload.body,
            upload_signature=upload.signature,
            boxes=self.dealt.boxes,
            leaves=self.dealt.leaves,
        )

    def pieces(self, places=range(PLACES)):
        for place in places:
            offset = place * CHUNK_BYTES
            yield offset, bytes(memoryview(self.dealt.vector)[offset : offset + CHUNK_BYTES])

    def put(self, *places: int) -> None:
        self.uploads.put(self.name, WHO, self.pieces(places))

    def missing(self) -> list[int]:
        """Begin as a vault does, and read which chunks are wanted."""
        self.uploads.begin(self.declared)
        return chunks.missing(PLACES, self.uploads.held(self.name, WHO))

    def stored(self) -> bytes:
        return self.uploads.path(self.name).read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Fixture:
    return Fixture(tmp_path_factory.mktemp("uploads"))


@pytest.fixture
def fixture(made: Fixture, tmp_path: Path) -> Fixture:
    made.directory = tmp_path
    made.restart()
    made.deal(1)
    return made


def test_an_upload_that_breaks_anywhere_goes_on_with_what_is_missing(fixture: Fixture) -> None:
    chance = random.Random(7)
    while missing := fixture.missing():
        chance.shuffle(missing)
        fixture.put(*missing[: chance.randint(0, 2)])
        if chance.random() < 0.5:
            fixture.restart()
    fixture.uploads.finish(fixture.name, WHO, arrived(WHO))
    fixture.uploads.finish(fixture.name, WHO, arrived(WHO))
    assert fixture.stored() == fixture.dealt.vector
    assert fixture.missing() == []


def test_a_sender_that_vanishes_in_mid_stream_keeps_what_it_sent(fixture: Fixture) -> None:
    def vanishing():
        yield from fixture.pieces([4, 0, 2])
        raise ConnectionError

    fixture.missing()
    with pytest.raises(ConnectionError):
        fixture.uploads.put(fixture.name, WHO, vanishing())
    fixture.restart()
    assert fixture.missing() == [1, 3, 5]


def test_what_a_crash_left_half_written_or_lost_is_wanted_again(fixture: Fixture) -> None:
    fixture.missing()
    fixture.put(0, 1, 2, 5)
    with fixture.uploads.path(fixture.name).open("r+b") as file:
        file.seek(CHUNK_BYTES + 100)
        file.write(bytes(1000))  # never reached the disk
        file.seek(3 * CHUNK_BYTES)
        file.write(bytes(fixture.dealt.vector[3 * CHUNK_BYTES :][:5000]))  # died in the middle
    fixture.restart()
    assert fixture.missing() == [1, 3, 4]


def test_a_chunk_that_is_there_already_is_not_written_again(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    pwrite = os.pwrite
    monkeypatch.setattr(
        "comity_server.uploads.os.pwrite", lambda *call: written.append(call[2]) or pwrite(*call)
    )
    fixture.missing()
    fixture.put(3, 1)
    fixture.put(1, 3, 5)
    fixture.restart()
    fixture.put(5, 1)
    assert written == [3 * CHUNK_BYTES, CHUNK_BYTES, 5 * CHUNK_BYTES]


def test_several_streams_bring_chunks_of_one_upload_at_once(fixture: Fixture) -> None:
    fixture.missing()
    first, second = fixture.pieces([0, 1, 2, 3]), fixture.pieces([5, 4, 3, 2])

    def interleaved():
        for piece in first:
            yield piece
            fixture.uploads.put(fixture.name, WHO, itertools.islice(second, 1))

    fixture.uploads.put(fixture.name, WHO, interleaved())
    fixture.uploads.finish(fixture.name, WHO, arrived(WHO))
    assert fixture.stored() == fixture.dealt.vector


def test_progress_counts_the_bytes_that_are_here(fixture: Fixture) -> None:
    plan, size = fixture.dealt.header.plan, fixture.dealt.header.size
    fixture.missing()
    fixture.put(5)
    assert fixture.uploads.progress(plan) == {WHO: (size - 5 * CHUNK_BYTES, size)}
    fixture.put(1, 5)
    assert fixture.uploads.progress(plan) == {WHO: (size - 4 * CHUNK_BYTES, size)}
    fixture.restart()
    assert fixture.uploads.progress(plan) == {WHO: (0, size)}
    fixture.put(*fixture.missing())
    fixture.uploads.finish(fixture.name, WHO, arrived(WHO))
    assert fixture.uploads.progress(plan) == {WHO: (size, size)}


def test_a_stream_holds_one_chunk_in_memory_however_many_it_brings(fixture: Fixture) -> None:
    fixture.missing()
    tracemalloc.start()
    try:
        fixture.put(*range(PLACES))
        fixture.restart()
        assert fixture.missing() == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * CHUNK_BYTES


def test_a_corrupt_chunk_is_refused_and_nothing_of_it_is_kept(fixture: Fixture) -> None:
    fixture.missing()
    (offset, data), *others = fixture.pieces([1, 2, 0])
    corrupt = bytes([data[0] ^ 1]) + data[1:]
    with pytest.raises(PeerError, match="promised"):
        fixture.uploads.put(fixture.name, WHO, [others[0], (offset, corrupt), others[1]])
    assert fixture.missing() == [0, 1, 3, 4, 5]
    fixture.put(0, 1, 3, 4, 5)
    with pytest.raises(PeerError, match="promised"):
        fixture.uploads.put(fixture.name, WHO, [(offset, corrupt)])
    assert fixture.stored() == fixture.dealt.vector


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (1, CHUNK_BYTES),
        (PLACES * CHUNK_BYTES, CHUNK_BYTES),
        (PLACES * CHUNK_BYTES, 0),
        (0, CHUNK_BYTES - 1),
        (0, CHUNK_BYTES + 1),
        (0, 0),
    ],
)
def test_a_chunk_of_another_place_or_size_is_refused(
    fixture: Fixture, offset: int, length: int
) -> None:
    fixture.missing()
    data = bytes(fixture.dealt.vector[offset : offset + length])
    with pytest.raises(PeerError, match="expected"):
        fixture.uploads.put(fixture.name, WHO, [(offset, data)])
    assert fixture.stored() == bytes(fixture.dealt.header.size)


def test_another_header_for_the_same_plan_is_refused_for_ever(fixture: Fixture) -> None:
    fixture.uploads.begin(fixture.declared)
    first = fixture.declared
    fixture.deal(2)
    with pytest.raises(PeerError, match="another is refused"):
        fixture.uploads.begin(fixture.declared)
    fixture.restart()
    with pytest.raises(PeerError, match="another is refused"):
        fixture.uploads.begin(fixture.declared)
    assert fixture.uploads.begin(first) == header_digest(decode(Header, first.header))


def test_hashes_that_are_not_under_the_signed_root_are_refused(fixture: Fixture) -> None:
    declared = fixture.declared
    false = replace(declared, leaves=(bytes(32), *declared.leaves[1:]))
    with pytest.raises(PeerError, match="signed root"):
        fixture.uploads.begin(false)
    assert fixture.uploads.begin(declared) == fixture.name


def test_an_upload_with_chunks_missing_cannot_be_finished(fixture: Fixture) -> None:
    fixture.missing()
    fixture.put(0, 1, 2, 3, 5)
    with pytest.raises(Overtaken, match="1 are missing"):
        fixture.uploads.finish(fixture.name, WHO, arrived(WHO))


def test_a_full_disk_is_noticed_before_a_byte_is_sent(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("comity_server.uploads.os.posix_fallocate", full)
        with pytest.raises(OSError, match="no space"):
            fixture.uploads.begin(fixture.declared)
    assert not fixture.uploads.path(fixture.name).exists()
    assert fixture.missing() == list(range(PLACES))


def test_nobody_else_can_write_to_or_finish_an_upload(fixture: Fixture) -> None:
    fixture.uploads.begin(fixture.declared)
    with pytest.raises(PeerError, match="this institution"):
        fixture.uploads.put(fixture.name, "inst-01", fixture.pieces())
    with pytest.raises(PeerError, match="this institution"):
        fixture.uploads.finish(fixture.name, "inst-01", arrived(WHO))


def test_no_byte_is_taken_after_the_round_let_go_of_it(fixture: Fixture) -> None:
    fixture.uploads.begin(fixture.declared)

    def let_go():
        pieces = fixture.pieces()
        yield next(pieces)
        fixture.uploads.abandon(fixture.dealt.header.plan)
        yield next(pieces)

    with pytest.raises(Overtaken):
        fixture.uploads.put(fixture.name, WHO, let_go())


def test_a_declaration_has_one_spelling() -> None:
    declared = Declared(
        header=b"h",
        header_signature=b"s",
        upload=b"u",
        upload_signature=b"t",
        boxes=(b"", b"box"),
        leaves=(bytes(32),),
    )
    assert b'"boxes":["","Ym94"]' in encode(declared)
