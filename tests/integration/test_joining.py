"""An institution joins a real operator's daemon over TLS, by the commands that people type."""

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from tests.commands import Outcome, comity

from comity_client import joining
from comity_client.home import Home as VaultHome
from comity_client.institution import Institution
from comity_client.tls import pinned_certificate
from comity_common.errors import PeerError, Problem
from comity_common.ledger.bodies import Egress
from comity_common.membership import OperatorCard, read_invitation
from comity_server.daemon import Daemon
from comity_server.home import Home, init


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Operator:
    """An operator whose daemon runs in this process, and the commands on its home."""

    def __init__(self, path: Path) -> None:
        self.path = path
        port, enrolment = free_port(), free_port()
        init(
            path,
            name="Institute of Examples",
            jurisdiction="CH",
            host="127.0.0.1",
            transfer=f"127.0.0.1:{port}",
            enrolment=f"127.0.0.1:{enrolment}",
        )
        self.start()

    def start(self) -> None:
        self.daemon = Daemon(self.path)
        self.daemon.start()

    def run(self, *words: object) -> Outcome:
        return comity("server", *words, "--home", self.path, "--json")

    def invite(self, id: str = "berlin", region: str = "DE") -> str:
        return str(self.run("invite", id, "--region", region).data["invitation"])

    def words(self) -> str:
        return str(self.run("invite", "someone-else", "--region", "FR").data["words"])


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    made = Operator(tmp_path / "operator")
    yield made
    made.daemon.close()


def join(home: Path, invitation: str, *more: object) -> Outcome:
    return comity("client", "join", invitation, "--home", home, "--json", *more)


def approve_when_it_waits(operator: Operator, id: str) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        states = {one["id"]: one for one in operator.run("institutions").data}
        if states.get(id, {}).get("state") == "waiting":
            return str(operator.run("approve", id).data["words"])
        time.sleep(0.1)
    raise AssertionError("nobody waits")


def test_an_institution_joins_with_keys_of_its_own_and_both_see_the_same_words(
    operator: Operator, tmp_path: Path
) -> None:
    invitation = operator.invite()
    home = tmp_path / "berlin"
    # The command writes to this process's stdout, so only one side runs in a thread.
    institution = joining.prepare(
        VaultHome(home), read_invitation(invitation), name="Clinic of Examples"
    )
    enrolment = joining.Enrolment(institution, read_invitation(invitation))
    card, told = enrolment.greet()
    joining.accept(institution, card)
    assert not enrolment.enrol()
    assert not enrolment.ask()
    theirs = approve_when_it_waits(operator, "berlin")
    assert enrolment.ask()
    enrolment.close()
    done = join(home, invitation)
    assert done.data["words"] == theirs
    assert done.data["operator_words"] == operator.words()
    assert told.operator.name == "Institute of Examples"
    private = (home / "keys" / "signing.key").read_bytes()
    for file in operator.path.rglob("*"):
        assert not file.is_file() or private not in file.read_bytes()
    assert Institution(home).config.server == f"127.0.0.1:{operator.daemon.port}"
    assert operator.run("institutions").data[0]["name"] == "Clinic of Examples"


def test_every_message_of_a_join_is_on_the_ledger(operator: Operator, tmp_path: Path) -> None:
    invitation = operator.invite()
    found = join(tmp_path / "berlin", invitation, "--wait", "0")
    assert (found.exit_code, found.envelope["error"]["code"]) == (75, "COM-JOIN-007")
    bodies = [entry.body for entry in Institution(tmp_path / "berlin").ledger.entries()]
    sent = [body for body in bodies if isinstance(body, Egress)]
    address = read_invitation(invitation).address  # until the card says who is there
    assert [(one.message, one.purpose, one.receiver, one.jurisdiction) for one in sent] == [
        ("greet", "enrolment", address, "CH"),
        ("enrol", "enrolment", "operator", "CH"),
    ]


def test_a_join_that_was_interrupted_goes_on_with_the_same_keys(
    operator: Operator, tmp_path: Path
) -> None:
    invitation = operator.invite()
    home = tmp_path / "berlin"
    assert join(home, invitation, "--wait", "0").exit_code == 75
    keys = Institution(home).keys.identity
    assert join(home, invitation, "--wait", "0").exit_code == 75
    approve_when_it_waits(operator, "berlin")
    assert join(home, invitation).exit_code == 0
    assert Institution(home).keys.identity == keys


def test_a_used_invitation_lets_nobody_else_in(operator: Operator, tmp_path: Path) -> None:
    invitation = operator.invite()
    join(tmp_path / "berlin", invitation, "--wait", "0")
    found = join(tmp_path / "thief", invitation, "--wait", "0")
    assert (found.exit_code, found.envelope["error"]["code"]) == (1, "COM-JOIN-004")
    states = {one["id"]: one["words"] for one in operator.run("institutions").data}
    assert len(states) == 1


@pytest.mark.parametrize("how", ["expired", "foreign", "replaced", "revoked"])
def test_an_invitation_that_is_not_good_leaves_nothing_behind(
    operator: Operator, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitation = operator.invite()
    if how == "expired":
        later = time.time() + 8 * 86_400
        monkeypatch.setattr(operator.daemon.enrolment, "_clock", lambda: later)
    elif how == "foreign":
        other = read_invitation(invitation)
        invitation = replace(other, token=bytes(16)).write()
    elif how == "replaced":
        operator.invite()
    else:
        operator.run("revoke", "berlin")
    found = join(tmp_path / "berlin", invitation)
    assert (found.exit_code, found.envelope["error"]["code"]) == (1, "COM-JOIN-004")
    assert not (tmp_path / "berlin").exists()


def test_a_stranger_at_the_operators_address_is_noticed_before_anything_is_said(
    operator: Operator, tmp_path: Path
) -> None:
    impostor = Operator(tmp_path / "impostor")
    try:
        real, other = read_invitation(operator.invite()), read_invitation(impostor.invite())
        mixed = replace(real, port=other.port)
        found = join(tmp_path / "berlin", mixed.write())
    finally:
        impostor.daemon.close()
    assert (found.exit_code, found.envelope["error"]["code"]) == (1, "COM-NET-002")
    assert not (tmp_path / "berlin").exists()


def test_an_operator_that_stays_away_is_told_and_may_be_tried_later(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "REACH_WITHIN_S", 0.8)
    line = read_invitation(operator.invite())
    closed = replace(line, port=free_port()).write()
    found = join(tmp_path / "berlin", closed)
    assert (found.exit_code, found.envelope["error"]["code"]) == (75, "COM-NET-001")
    assert found.error.count("; trying again") in (1, 2)  # as many as fit into the time
    assert not (tmp_path / "berlin").exists()


def test_an_operator_that_is_down_at_first_is_reached_when_it_has_come_up(
    operator: Operator, tmp_path: Path
) -> None:
    line = read_invitation(operator.invite())
    operator.daemon.close()
    institution = joining.prepare(VaultHome(tmp_path / "berlin"), line, name="")
    waits: list[str] = []

    def come_up(problem: Problem) -> None:
        waits.append(problem.code)
        operator.start()

    def greet() -> tuple[joining.Enrolment, OperatorCard]:
        enrolment = joining.Enrolment(institution, line)
        return enrolment, enrolment.greet()[1]

    enrolment, card = joining.reach(greet, come_up)
    enrolment.close()
    assert waits == ["COM-NET-001"]
    assert card.operator.name == "Institute of Examples"


def test_a_join_by_command_waits_for_an_operator_that_is_down_at_first(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitation = operator.invite()
    operator.daemon.close()
    said: list[str] = []

    def come_up(problem: Problem) -> None:
        said.append(str(problem))
        operator.start()

    monkeypatch.setattr("comity_client.cli.joining._say_that_it_waits", come_up)
    found = join(tmp_path / "berlin", invitation, "--wait", "0")
    assert (found.exit_code, found.envelope["error"]["code"]) == (75, "COM-JOIN-007")
    assert len(said) == 1
    assert [one["id"] for one in operator.run("institutions").data] == ["berlin"]


@pytest.mark.parametrize("code", ["COM-NET-002", "COM-NET-003", "COM-NET-004", "COM-JOIN-004"])
def test_another_problem_than_an_operator_that_is_away_is_told_at_once(code: str) -> None:
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise Problem(code, address="a:1", why="", issuer="", proxy="", ahead="", behind="", by="")

    with pytest.raises(Problem) as problem:
        joining.reach(fails, lambda waiting: pytest.fail("it waits"))
    assert (problem.value.code, calls) == (code, [1])


def test_a_bug_is_not_taken_for_an_operator_that_is_away() -> None:
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise PeerError("expected something else")

    with pytest.raises(PeerError):
        joining.reach(fails, lambda waiting: pytest.fail("it waits"))
    assert calls == [1]


def asking(operator: Operator, home: Path, monkeypatch: pytest.MonkeyPatch) -> joining.Enrolment:
    """Take an institution to where it waits for approval, and let it ask often."""
    monkeypatch.setattr(joining, "ASK_EVERY_S", 0.05)
    monkeypatch.setattr(joining, "LONGEST_PAUSE_S", 0.05)
    line = read_invitation(operator.invite())
    enrolment = joining.Enrolment(joining.prepare(VaultHome(home), line, name=""), line)
    joining.accept(enrolment._inst, enrolment.greet()[0])
    assert not enrolment.enrol()
    return enrolment


def test_an_operator_that_is_away_while_one_waits_for_approval_is_asked_when_it_is_back(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolment = asking(operator, tmp_path / "berlin", monkeypatch)
    operator.daemon.close()
    waits: list[str] = []

    def come_back(problem: Problem) -> None:
        waits.append(problem.code)
        if len(waits) == 1:
            operator.start()
            operator.run("approve", "berlin")

    assert joining.is_approved_within(enrolment, 20.0, come_back)
    enrolment.close()
    assert set(waits) == {"COM-NET-001"}
    assert Institution(tmp_path / "berlin").keys.tls()


def test_when_the_time_for_an_approval_is_over_nothing_is_approved(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolment = asking(operator, tmp_path / "berlin", monkeypatch)
    never: list[Problem] = []
    assert not joining.is_approved_within(enrolment, 0.0, never.append)
    assert not joining.is_approved_within(enrolment, 0.2, never.append)
    assert never == []
    operator.daemon.close()
    assert not joining.is_approved_within(enrolment, 0.2, never.append)
    assert {problem.code for problem in never} == {"COM-NET-001"}
    enrolment.close()


def test_who_is_turned_down_while_it_waits_for_approval_does_not_ask_again(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolment = asking(operator, tmp_path / "berlin", monkeypatch)
    operator.run("revoke", "berlin")
    with pytest.raises(Problem) as problem:
        joining.is_approved_within(enrolment, 20.0, lambda waiting: pytest.fail("it waits"))
    assert problem.value.code == "COM-JOIN-004"
    enrolment.close()


def test_clocks_that_disagree_by_more_than_five_minutes_are_told(
    operator: Operator, tmp_path: Path
) -> None:
    line = read_invitation(operator.invite())
    institution = joining.prepare(VaultHome(tmp_path / "berlin"), line, name="")
    enrolment = joining.Enrolment(institution, line, clock=lambda: time.time() - 400)
    with pytest.raises(Problem, match="operator's clock"):
        enrolment.greet()
    enrolment.close()


def test_a_request_for_another_institution_or_with_foreign_keys_is_refused(
    operator: Operator, tmp_path: Path
) -> None:
    line = read_invitation(operator.invite())
    paris = read_invitation(operator.invite("paris", "FR"))
    institution = joining.prepare(VaultHome(tmp_path / "paris"), paris, name="")
    enrolment = joining.Enrolment(institution, line)
    card, _ = enrolment.greet()
    joining.accept(institution, card)
    with pytest.raises(Problem, match="turns the invitation down"):
        enrolment.enrol()
    enrolment.close()


def test_malformed_and_oversized_messages_are_refused_and_the_daemon_lives(
    operator: Operator, tmp_path: Path
) -> None:
    line = read_invitation(operator.invite())
    root = pinned_certificate(line.address, line.pin)
    options = [("grpc.ssl_target_name_override", "localhost")]
    with grpc.secure_channel(
        line.address, grpc.ssl_channel_credentials(root), options=options
    ) as channel:
        for method in ("Greet", "Enrol", "Ask"):
            call = channel.unary_unary(f"/comity.v1.Enrolment/{method}")
            for raw in (b"\xff" * 50, b"\x0a\x10" + bytes(16), bytes(1 << 20)):
                with pytest.raises(grpc.RpcError):
                    call(raw, timeout=10)
    assert join(tmp_path / "berlin", line.write(), "--wait", "0").exit_code == 75


def test_a_revoked_institution_is_turned_away(operator: Operator, tmp_path: Path) -> None:
    invitation = operator.invite()
    home = tmp_path / "berlin"
    join(home, invitation, "--wait", "0")
    approve_when_it_waits(operator, "berlin")
    assert join(home, invitation).exit_code == 0
    assert comity("client", "agreement", "list", "--home", home, "--json").data == []
    operator.run("revoke", "berlin")
    with pytest.raises(PeerError, match="approved institution"):
        Institution(home).uplink().fetch_agreements()
    assert operator.run("institutions").data[0]["state"] == "revoked"


def test_a_home_of_another_institution_is_not_touched(operator: Operator, tmp_path: Path) -> None:
    home = tmp_path / "berlin"
    join(home, operator.invite(), "--wait", "0")
    before = sorted((file, file.stat().st_mtime_ns) for file in home.glob("keys/*"))
    found = join(home, operator.invite("paris", "FR"), "--wait", "0")
    assert found.envelope["error"]["code"] == "COM-JOIN-003"
    assert sorted((file, file.stat().st_mtime_ns) for file in home.glob("keys/*")) == before


def test_a_home_that_belongs_to_another_operator_is_not_touched(
    operator: Operator, tmp_path: Path
) -> None:
    home, stranger = tmp_path / "berlin", Operator(tmp_path / "stranger")
    invitation = operator.invite()
    join(home, invitation, "--wait", "0")
    approve_when_it_waits(operator, "berlin")
    assert join(home, invitation).exit_code == 0
    before = {file: file.read_bytes() for file in (home / "vault.toml", home / "operator.card")}
    found = join(home, stranger.invite(), "--wait", "0")
    stranger.daemon.close()
    assert found.envelope["error"]["code"] == "COM-JOIN-008"
    assert "Institute of Examples" in found.envelope["error"]["message"]
    assert all(file.read_bytes() == content for file, content in before.items())
    assert join(home, invitation).exit_code == 0


def test_a_proxy_that_is_no_address_is_wrong_usage(operator: Operator, tmp_path: Path) -> None:
    found = join(tmp_path / "berlin", operator.invite(), "--proxy", "ftp:x")
    assert (found.exit_code, found.envelope["error"]["code"]) == (2, "COM-ANY-004")
    assert "http://host:port" in found.envelope["error"]["message"]
    assert not (tmp_path / "berlin").exists()


def test_the_card_file_holds_the_operators_public_part_alone(
    operator: Operator, tmp_path: Path
) -> None:
    join(tmp_path / "berlin", operator.invite(), "--wait", "0")
    kept = json.loads((tmp_path / "berlin" / "operator.card").read_text())
    assert set(kept) == {"body", "signature"}
    secret = Home(operator.path).signing_keys().to_bytes()
    assert secret.hex() not in kept["body"]
