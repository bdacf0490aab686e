"""Uploads: resumed anywhere, checked chunk by chunk, one per plan and institution for ever."""

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest
from tests.simulation.federation import World

from comity_common.canonical import encode
from comity_common.chunks import CHUNK_BYTES
from comity_common.errors import PeerError
from comity_common.secagg.participant import header_digest
from comity_server.errors import Overtaken, WrongTime
from comity_server.store import Store
from comity_server.uploads import Declared, Uploads

LANES = 5 * CHUNK_BYTES // 4 + 1000  # six chunks, the last one short
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
        self.uploads = Uploads(Store(self.directory / "server.db"), self.directory)

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

    def pieces(self, start: int = 0):
        for offset in range(start, len(self.dealt.vector), CHUNK_BYTES):
            yield offset, bytes(self.dealt.vector[offset : offset + CHUNK_BYTES])

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


def test_an_upload_that_breaks_anywhere_goes_on_from_what_is_committed(fixture: Fixture) -> None:
    chance = random.Random(7)
    offset = fixture.uploads.begin(fixture.declared)
    while offset < fixture.dealt.header.size:
        some = itertools.islice(fixture.pieces(offset), chance.randint(0, 2))
        fixture.uploads.append(fixture.name, WHO, some)
        if chance.random() < 0.5:
            fixture.restart()
        offset = fixture.uploads.begin(fixture.declared)
    fixture.uploads.finish(fixture.name, WHO)
    fixture.uploads.finish(fixture.name, WHO)
    assert fixture.stored() == fixture.dealt.vector
    assert fixture.uploads.begin(fixture.declared) == fixture.dealt.header.size


def test_a_sender_that_vanishes_in_mid_stream_keeps_what_it_sent(fixture: Fixture) -> None:
    def vanishing():
        yield from itertools.islice(fixture.pieces(), 3)
        raise ConnectionError

    fixture.uploads.begin(fixture.declared)
    with pytest.raises(ConnectionError):
        fixture.uploads.append(fixture.name, WHO, vanishing())
    fixture.restart()
    assert fixture.uploads.begin(fixture.declared) == 3 * CHUNK_BYTES


def test_after_a_crash_the_file_is_cut_back_to_what_was_committed(fixture: Fixture) -> None:
    fixture.uploads.begin(fixture.declared)
    fixture.uploads.append(fixture.name, WHO, itertools.islice(fixture.pieces(), 2))
    with fixture.uploads.path(fixture.name).open("ab") as file:
        file.write(b"written, not committed")
    fixture.restart()
    assert fixture.uploads.begin(fixture.declared) == 2 * CHUNK_BYTES
    assert len(fixture.stored()) == 2 * CHUNK_BYTES


def test_bytes_are_committed_while_a_long_stream_goes_on(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comity_server.uploads.COMMIT_EVERY_BYTES", 2 * CHUNK_BYTES)
    fixture.uploads.begin(fixture.declared)
    seen = []

    def watched():
        for piece in fixture.pieces():
            seen.append(fixture.uploads.progress(fixture.dealt.header.plan)[WHO][0])
            yield piece

    fixture.uploads.append(fixture.name, WHO, watched())
    assert seen == [0, 0, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES, 4 * CHUNK_BYTES, 4 * CHUNK_BYTES]


def test_a_corrupt_chunk_is_refused_and_nothing_of_it_is_kept(fixture: Fixture) -> None:
    fixture.uploads.begin(fixture.declared)
    pieces = list(fixture.pieces())
    offset, data = pieces[1]
    corrupt = bytes([data[0] ^ 1]) + data[1:]
    with pytest.raises(PeerError, match="promised"):
        fixture.uploads.append(fixture.name, WHO, [pieces[0], (offset, corrupt), pieces[2]])
    assert fixture.uploads.begin(fixture.declared) == CHUNK_BYTES
    assert fixture.stored() == pieces[0][1]


@pytest.mark.parametrize(
    ("offset", "length", "error"),
    [
        (CHUNK_BYTES, CHUNK_BYTES, Overtaken),
        (1, CHUNK_BYTES, Overtaken),
        (0, CHUNK_BYTES - 1, PeerError),
        (0, CHUNK_BYTES + 1, PeerError),
        (0, 0, PeerError),
    ],
)
def test_a_chunk_of_another_place_or_size_is_refused(
    fixture: Fixture, offset: int, length: int, error: type[Exception]
) -> None:
    fixture.uploads.begin(fixture.declared)
    data = bytes(fixture.dealt.vector[offset : offset + length])
    with pytest.raises(error):
        fixture.uploads.append(fixture.name, WHO, [(offset, data)])
    assert fixture.stored() == b""


def test_another_header_for_the_same_plan_is_refused_for_ever(fixture: Fixture) -> None:
    fixture.uploads.begin(fixture.declared)
    first = fixture.declared
    fixture.deal(2)
    with pytest.raises(PeerError, match="another is refused"):
        fixture.uploads.begin(fixture.declared)
    fixture.restart()
    with pytest.raises(PeerError, match="another is refused"):
        fixture.uploads.begin(fixture.declared)
    assert fixture.uploads.begin(first) == 0


def test_hashes_that_are_not_under_the_signed_root_are_refused(fixture: Fixture) -> None:
    declared = fixture.declared
    false = replace(declared, leaves=(bytes(32), *declared.leaves[1:]))
    with pytest.raises(PeerError, match="signed root"):
        fixture.uploads.begin(false)
    assert fixture.uploads.begin(declared) == 0


def test_a_newer_stream_ends_the_older_one(fixture: Fixture) -> None:
    fixture.uploads.begin(fixture.declared)

    def overtaken():
        pieces = fixture.pieces()
        yield next(pieces)
        assert fixture.uploads.begin(fixture.declared) == CHUNK_BYTES
        yield next(pieces)

    with pytest.raises(Overtaken, match="newest"):
        fixture.uploads.append(fixture.name, WHO, overtaken())
    fixture.uploads.append(fixture.name, WHO, fixture.pieces(CHUNK_BYTES))
    fixture.uploads.finish(fixture.name, WHO)
    assert fixture.stored() == fixture.dealt.vector


def test_an_upload_with_bytes_missing_cannot_be_finished(fixture: Fixture) -> None:
    fixture.uploads.begin(fixture.declared)
    fixture.uploads.append(fixture.name, WHO, itertools.islice(fixture.pieces(), 5))
    with pytest.raises(WrongTime, match="bytes"):
        fixture.uploads.finish(fixture.name, WHO)


def test_nobody_else_can_write_to_or_finish_an_upload(fixture: Fixture) -> None:
    fixture.uploads.begin(fixture.declared)
    with pytest.raises(PeerError, match="this institution"):
        fixture.uploads.append(fixture.name, "inst-01", fixture.pieces())
    with pytest.raises(PeerError, match="this institution"):
        fixture.uploads.finish(fixture.name, "inst-01")


def test_no_byte_is_taken_after_the_round_let_go_of_it(fixture: Fixture) -> None:
    fixture.uploads.begin(fixture.declared)

    def let_go():
        pieces = fixture.pieces()
        yield next(pieces)
        fixture.uploads.abandon(fixture.dealt.header.plan)
        yield next(pieces)

    with pytest.raises(Overtaken):
        fixture.uploads.append(fixture.name, WHO, let_go())


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
