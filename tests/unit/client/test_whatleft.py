"""What left the building, as the ledger has it: complete, filtered, and without standing in the
vault's way."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.commands import comity

from comity.v1 import transfer_pb2 as pb
from comity_client.config import VaultConfig
from comity_client.institution import Institution
from comity_client.whatleft import MEANING, PAGE_ENTRIES, PARCEL_PREFIX, departures
from comity_common.errors import LocalError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Egress, Note, Traffic

CONTROL = Egress(
    purpose="federated-training",
    receiver=InstitutionId("operator"),
    jurisdiction="NL",
    traffic=Traffic.CONTROL,
    message="follow",
    size_bytes=12,
    digest=Digest("ab" * 32),
    round=None,
    nonce=b"",
)
UPLOAD = replace(
    CONTROL,
    traffic=Traffic.MECHANISM,
    message="upload",
    size_bytes=1_600_000,
    digest=Digest("cd" * 32),
    round=3,
    nonce=bytes(range(16)),
)
Write = Callable[..., None]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    settings = VaultConfig(
        id="inst-00", name="A", jurisdiction="DE", server="127.0.0.1:1", sockets=tmp_path / "s"
    )
    Institution.create(tmp_path / "home", settings)
    return tmp_path / "home"


@pytest.fixture
def write(home: Path) -> Write:
    def entries(day: str, *bodies: Egress | Note) -> None:
        vault = Institution(home, lambda: datetime.fromisoformat(day).replace(tzinfo=UTC))
        with vault.store.transaction() as tx:
            for body in bodies:
                vault.ledger.append(tx, body)

    return entries


def test_every_message_is_listed_whole_and_in_order(home: Path, write: Write) -> None:
    write("2026-01-02", CONTROL, Note(text="in between", about=None))
    write("2026-01-03", UPLOAD)
    data = comity("client", "what-left", "--home", home, "--json").data
    assert data["messages"] == [
        {
            "time": "2026-01-02T00:00:00Z",
            "purpose": "federated-training",
            "message": "follow",
            "receiver": "operator",
            "country": "NL",
            "size_bytes": 12,
            "digest": "ab" * 32,
            "traffic": "control",
            "reserve": "",
            "round": None,
        },
        {
            "time": "2026-01-03T00:00:00Z",
            "purpose": "federated-training",
            "message": "upload",
            "receiver": "operator",
            "country": "NL",
            "size_bytes": 1_600_000,
            "digest": "cd" * 32,
            "traffic": "mechanism",
            "reserve": bytes(range(16)).hex(),
            "round": 3,
        },
    ]
    assert data["total"] == {"messages": 2, "size_bytes": 1_600_012}
    assert data["mechanism"] == {"messages": 1, "size_bytes": 1_600_000}
    assert list(data["by_message"]) == ["upload", "follow"]


def test_people_read_a_line_for_each_message_and_the_sums(home: Path, write: Write) -> None:
    write("2026-01-02", CONTROL, CONTROL, UPLOAD)
    lines = comity("client", "what-left", "--home", home).output.splitlines()
    assert len([line for line in lines if line.startswith("2026-01-02T00:00:00Z")]) == 3
    upload = next(line for line in lines if "1,600,000" in line)
    for part in ("operator (NL)", "cdcdcdcdcdcd ", "mechanism, reserve 00010203, round 3"):
        assert part in upload
    assert "3 messages left, 1,600,024 bytes." in lines
    assert any(line.split()[:3] == ["follow", "2", "24"] for line in lines)


def test_where_nothing_left_it_says_so(home: Path) -> None:
    assert comity("client", "what-left", "--home", home).output == "No message left.\n"
    data = comity("client", "what-left", "--home", home, "--json").data
    assert data["messages"] == []
    assert data["total"] == {"messages": 0, "size_bytes": 0}


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        ((), [1, 2, 3]),
        (("--since", "2026-01-03"), [2, 3]),
        (("--since", "2026-01-05"), []),
        (("--round", "7"), [2]),
        (("--purpose", "audit"), [3]),
        (("--purpose", "audit", "--round", "7"), []),
    ],
)
def test_filters_keep_what_they_name(
    home: Path, write: Write, words: tuple[str, ...], sizes: list[int]
) -> None:
    write("2026-01-02", replace(CONTROL, size_bytes=1))
    write("2026-01-03", replace(CONTROL, size_bytes=2, round=7))
    write("2026-01-04", replace(CONTROL, size_bytes=3, purpose="audit"))
    data = comity("client", "what-left", *words, "--home", home, "--json").data
    assert [message["size_bytes"] for message in data["messages"]] == sizes
    assert data["total"] == {"messages": len(sizes), "size_bytes": sum(sizes)}


def test_a_day_that_is_none_is_told(home: Path) -> None:
    outcome = comity("client", "what-left", "--since", "yesterday", "--home", home, "--json")
    assert outcome.exit_code == 2
    assert "yesterday" in outcome.envelope["error"]["message"]


def test_small_signed_messages_have_plain_names(home: Path, write: Write) -> None:
    name = pb.ParcelKind.Name(pb.PARCEL_KIND_EPOCH_KEYS).lower()  # as the uplink names it
    write("2026-01-02", replace(CONTROL, message=name))
    data = comity("client", "what-left", "--home", home, "--json").data
    assert data["messages"][0]["message"] == "epoch-keys"


def test_it_is_explained_what_each_small_message_says() -> None:
    of_the_operator = {"unspecified", "epoch-open", "survivors", "certificate"}
    of_the_operator |= {"agreement-moved", "deadline"}
    kinds = {name.lower().removeprefix(PARCEL_PREFIX) for name in pb.ParcelKind.keys()}  # noqa: SIM118
    assert {kind.replace("_", "-") for kind in kinds} - of_the_operator <= set(MEANING)


def test_a_reader_that_pauses_keeps_the_vault_from_nothing(home: Path, write: Write) -> None:
    write("2026-01-02", *[CONTROL] * (PAGE_ENTRIES + 10))
    reader = departures(home / "vault.db")
    next(reader)
    vault = Institution(home)
    with vault.store.erasing() as tx:
        vault.ledger.append(tx, UPLOAD)
    assert (home / "vault.db-wal").stat().st_size == 0  # what was erased is off the disk
    assert sum(1 for _ in reader) == PAGE_ENTRIES + 10  # and the new entry came along


def test_a_copied_home_tells_the_same(home: Path, write: Write, tmp_path: Path) -> None:
    write("2026-01-02", CONTROL, UPLOAD)
    copied = shutil.copytree(home, tmp_path / "copy")
    told = [comity("client", "what-left", "--home", each).output for each in (home, copied)]
    assert told[0] == told[1]


def test_nothing_is_written(home: Path, write: Write) -> None:
    write("2026-01-02", CONTROL)
    with sqlite3.connect(home / "vault.db") as connection:
        connection.execute("pragma wal_checkpoint(truncate)").fetchone()
    before = (home / "vault.db").read_bytes()
    assert "follow" in comity("client", "what-left", "--home", home).output
    assert (home / "vault.db").read_bytes() == before


def test_an_entry_that_cannot_be_read_is_told_and_not_passed_over(home: Path, write: Write) -> None:
    write("2026-01-02", CONTROL)
    with sqlite3.connect(home / "vault.db") as connection:
        connection.execute("update entries set raw = ? where sequence = 1", (b'{"kind":"egress"}',))
    with pytest.raises(LocalError, match="entry 1"):
        list(departures(home / "vault.db"))


def test_a_home_without_a_ledger_is_told(home: Path, tmp_path: Path) -> None:
    outcome = comity("client", "what-left", "--home", tmp_path / "none", "--json")
    assert outcome.envelope["error"]["code"] == "COM-CLIENT-002"
    for name in os.listdir(home):
        if name.startswith("vault.db"):
            (home / name).unlink()
    outcome = comity("client", "what-left", "--home", home, "--json")
    assert "vault.db" in outcome.envelope["error"]["message"]
    assert not (home / "vault.db").exists()
