"""`comity server doctor` finds what would keep an operator's daemon from its work, and says how."""

import datetime
import os
import socket
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, update
from tests.commands import comity
from tests.simulation.federation import make_agreement

from comity_common.canonical import encode
from comity_common.crypto.sign import SigningKeys
from comity_common.secagg.masking import vector_bytes
from comity_host import settings
from comity_host.checks import Finding, Level
from comity_host.ports import HeldPorts
from comity_server import authority, doctor
from comity_server.agreements import AgreementState
from comity_server.config import FlowerSettings, ServerConfig
from comity_server.daemon import Daemon
from comity_server.doctor import examine_server
from comity_server.home import Home, init
from comity_server.tables import agreements


@pytest.fixture
def ports() -> Iterator[HeldPorts]:
    with HeldPorts(4) as held:
        yield held


@pytest.fixture
def home(tmp_path: Path, ports: HeldPorts) -> Home:
    """Make an operator whose ports nobody else takes before they are released."""
    transfer, enrolment, _, metrics = ports.numbers
    init(
        tmp_path / "operator",
        name="University",
        jurisdiction="DE",
        host="127.0.0.1",
        transfer=f"127.0.0.1:{transfer}",
        enrolment=f"127.0.0.1:{enrolment}",
        metrics_port=metrics,
    )
    for port in (transfer, enrolment, metrics):
        ports.release(port)
    return Home(tmp_path / "operator")


def found(home: Home) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine_server(home.path)}


def change(home: Home, **changes: object) -> ServerConfig:
    """Write other settings; what is not allowed is refused."""
    values = tomllib.loads(home.config.read_text()) | changes
    changed = ServerConfig.model_validate(values)
    settings.write(home.config, changed)
    return changed


def test_a_new_operator_has_no_problem_beyond_its_machine(home: Home) -> None:
    findings = found(home)
    own = ("operator", "permissions", "certificate", "authority", "socket", "host names")
    assert {findings[name].level for name in own} == {Level.OK}
    for setting in ("transfer", "enrolment", "metrics_port"):
        assert findings[setting].detail.endswith("is free")
    assert findings["daemon"] == Finding(
        name="daemon", level=Level.WARNING, detail="it does not run", fix="comity server start"
    )
    assert findings["operator"].detail == f"operator (University, DE) in {home.path}"


def test_looking_changes_nothing(home: Home) -> None:
    before = {path: path.stat().st_mtime_ns for path in home.path.rglob("*") if path.is_file()}
    assert found(home)
    after = {path: path.stat().st_mtime_ns for path in home.path.rglob("*") if path.is_file()}
    assert after == before


def test_a_running_daemon_answers_at_its_own_ports(home: Home) -> None:
    daemon = Daemon(home.path)
    try:
        daemon.start()
        findings = found(home)
    finally:
        daemon.close()
    assert findings["daemon"].level is Level.OK
    assert findings["database"].level is Level.OK
    for setting in ("transfer", "enrolment"):
        assert findings[setting].detail.endswith("is answered by our own daemon")


def test_a_port_of_somebody_else_is_named_with_its_setting(home: Home) -> None:
    host, port = home.settings().transfer.split(":")
    with socket.create_server((host, int(port))):
        finding = found(home)["transfer"]
    assert finding.level is Level.PROBLEM
    assert f"{host}:{port}, which is transfer in server.toml" in finding.detail


def test_the_superlinks_port_and_the_gates_are_looked_at_too(home: Home, ports: HeldPorts) -> None:
    gate = ports.numbers[2]
    change(home, gate=f"127.0.0.1:{gate}", flower=FlowerSettings(port=gate).model_dump())
    findings = found(home)  # the fixture still holds this port
    assert findings["gate"].level is findings["flower.port"].level is Level.PROBLEM


def test_a_name_without_a_certificate_is_told(home: Home) -> None:
    change(home, host="operator.example", gate="127.0.0.1:1", flower={"port": 2})
    finding = found(home)["host names"]
    assert finding.level is Level.PROBLEM
    assert finding.detail == "the certificate is not for operator.example"
    assert "localhost" in finding.fix


def test_nobody_can_call_the_address_of_all_interfaces(home: Home) -> None:
    change(home, host="", transfer="0.0.0.0:7443")
    finding = found(home)["host names"]
    assert finding.level is Level.PROBLEM
    assert finding.fix.startswith("set host = ")


def test_a_certificate_that_ends_soon_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority, "LEAF_DAYS", 20)
    again = home.path.with_name("again")
    init(again, name="University", jurisdiction="DE", transfer="127.0.0.1:1")
    findings = found(Home(again))
    assert findings["certificate"].level is Level.WARNING
    assert findings["certificate"].detail.endswith("in 19 days")
    assert findings["authority"].level is Level.OK
    assert str(datetime.datetime.now(datetime.UTC).year)[:2] in findings["authority"].detail


def test_a_key_that_others_can_read_is_a_problem(home: Home) -> None:
    (home.keys / "server.key").chmod(0o644)
    finding = found(home)["permissions"]
    assert finding.level is Level.PROBLEM
    assert finding.fix == f"chmod 600 {home.keys / 'server.key'}"


def test_a_damaged_database_is_a_problem_and_the_others_are_still_looked_at(home: Home) -> None:
    home.database.write_bytes(os.urandom(20_000))
    findings = found(home)
    assert findings["database"].level is Level.PROBLEM
    assert findings["disk"].level is Level.PROBLEM  # what agreements need is in there
    assert findings["versions"].level is Level.OK


def test_settings_that_cannot_be_read_are_told_with_the_line(home: Home) -> None:
    home.config.write_text(home.config.read_text() + "\ncolour = 1\n")
    findings = found(home)
    assert findings["operator"].level is Level.PROBLEM
    assert "unknown key" in findings["operator"].detail
    assert "memory" in findings


@pytest.mark.parametrize("after", [(), (1, 3)])
def test_the_disk_must_hold_the_uploads_of_a_round(home: Home, after: tuple[int, ...]) -> None:
    signing = {f"inst-{k}": SigningKeys.generate() for k in range(3)}
    draft = make_agreement(signing, SigningKeys.generate(), scored_after=after)
    terms = replace(draft, model=replace(draft.model, parameters=10**15))
    row = {
        "digest": terms.digest,
        "body": encode(terms),
        "state": AgreementState.PROPOSED,
        "reason": "",
        "started": 0.0,
        "proposed": 0.0,
    }
    with closing(home.open_store()) as store:
        with store.write() as tx:
            tx.execute(insert(agreements).values(row))
        finding = found(home)["disk"]
        assert finding.level is Level.PROBLEM
        assert f"{vector_bytes(10**15, 32) * 6 / 1e12:.1f} TB are needed" in finding.detail
        with store.write() as tx:
            tx.execute(update(agreements).values(state=AgreementState.WITHDRAWN))
        assert "TB are needed" not in found(home)["disk"].detail


def test_an_operator_that_is_not_there_is_a_problem_for_the_command(tmp_path: Path) -> None:
    outcome = comity("server", "doctor", "--home", tmp_path / "nowhere")
    assert outcome.exit_code == 3
    first = outcome.output.splitlines()[0]
    assert first.startswith("✗ operator           COM-SERVER-002 there is no operator in ")
    assert ". Fix: comity server init" in first
    assert not (tmp_path / "nowhere").exists()


def test_scripts_get_the_findings_as_a_list(home: Home) -> None:
    outcome = comity("server", "doctor", "--home", home.path, "--json")
    findings = outcome.envelope["data"]
    assert outcome.envelope["ok"] is True
    assert {tuple(finding) for finding in findings} == {("name", "level", "detail", "fix")}
    levels = {finding["level"] for finding in findings}
    assert outcome.exit_code == (3 if "problem" in levels else 0)
    assert all(finding["fix"] or finding["level"] == "ok" for finding in findings)


def test_the_clock_is_asked_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TIMESYNC", tmp_path / "synchronized")
    program = tmp_path / "timedatectl"
    monkeypatch.setenv("PATH", str(tmp_path))
    for said, level, words in (
        ("echo yes", Level.OK, "it is synchronised"),
        ("echo no", Level.WARNING, "it is not synchronised"),
        ("exit 1", Level.WARNING, "this system does not tell whether it is synchronised"),
    ):
        program.write_text(f"#!/bin/sh\n{said}\n")
        program.chmod(0o755)
        finding = doctor._clock()
        assert (finding.level, finding.detail) == (level, words)
    (tmp_path / "synchronized").touch()
    assert doctor._clock().level is Level.OK
