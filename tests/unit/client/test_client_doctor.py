"""`comity client doctor` finds what keeps a vault from its work, here and on the way."""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest
from tests.commands import comity
from tests.simulation.federation import make_agreement

from comity_client import joining
from comity_client.config import VaultConfig
from comity_client.doctor import examine_client, own, training, way
from comity_client.failures import Unreachable
from comity_client.home import Home
from comity_client.institution import Institution
from comity_client.intake import LineSocket
from comity_common.agreement import Agreement, TaskKind
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, SigningKeys
from comity_common.dp.terms import Guarantee
from comity_common.errors import Problem
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Egress
from comity_common.ledger.crossings import Crossing
from comity_common.membership import PROTOCOL_VERSION, read_invitation
from comity_common.secagg.masking import vector_bytes
from comity_host import settings
from comity_host.checks import Finding, Level
from comity_host.ports import HeldPorts
from comity_server import home as operators
from comity_server.daemon import Daemon

MINE = InstitutionId("berlin")
NOW = 1_800_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    seconds: float
    now: float
    version: int


class Line:
    """A way to the operator of a known speed; it notes what was sent."""

    def __init__(self, rate: float, *, ahead: float = 0.0, version: int = PROTOCOL_VERSION) -> None:
        self.sent: list[int] = []
        self._rate, self._ahead, self._version = rate, ahead, version

    def connect(self, inst: Institution) -> AbstractContextManager[way.Probe]:
        return self._open()

    @contextmanager
    def _open(self) -> Iterator[way.Probe]:
        def probe(size: int) -> Echo:
            self.sent.append(size)
            now = NOW + self._ahead
            return Echo(seconds=size / self._rate, now=now, version=self._version)

        yield probe


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[operators.Home]:
    """Run an operator's daemon."""
    home = operators.Home(tmp_path_factory.mktemp("operator") / "home")
    with HeldPorts(2) as ports:
        transfer, enrolment = (ports.release(port) for port in ports.numbers)
        operators.init(
            home.path,
            name="University",
            jurisdiction="CH",
            transfer=f"127.0.0.1:{transfer}",
            enrolment=f"127.0.0.1:{enrolment}",
        )
    daemon = Daemon(home.path)
    daemon.start()
    yield home
    daemon.close()


@pytest.fixture(scope="module")
def joined(operator: operators.Home, tmp_path_factory: pytest.TempPathFactory) -> Institution:
    """Join; tests of this module only look, and what they change they change back."""
    at = ("--home", operator.path, "--json")
    told = comity("server", "invite", MINE, "--region", "DE", *at).data
    invitation = read_invitation(told["invitation"])
    home = Home(tmp_path_factory.mktemp("client") / "home")
    inst = joining.prepare(home, invitation, name="Clinic")
    enrolment = joining.Enrolment(inst, invitation)
    card, _ = enrolment.greet()
    joining.accept(inst, card)
    enrolment.enrol()
    assert comity("server", "approve", MINE, *at).exit_code == 0
    assert enrolment.ask()
    enrolment.close()
    return Institution(home.path)


@pytest.fixture
def alone(tmp_path: Path) -> Institution:
    """Make an institution that has not joined."""
    config = VaultConfig(id=MINE, name="Clinic", jurisdiction="DE", server="127.0.0.1:1")
    return Institution.create(tmp_path / "home", config)


def found(inst: Institution, environ: Mapping[str, str] | None = None) -> dict[str, Finding]:
    findings = examine_client(inst.home.path, environ or {}, Line(1e6).connect)
    return {finding.name: finding for finding in findings}


def offer(inst: Institution, name: str, base: Digest, parameters: int = 50) -> Agreement:
    """Let an operator propose an agreement about a base model."""
    keys, signing = {MINE: inst.keys.signing}, SigningKeys.generate()
    others = {InstitutionId(f"inst-{k}"): SigningKeys.generate() for k in range(2)}
    draft = make_agreement(keys | others, signing)
    model = replace(draft.model, name=name, base=base, parameters=parameters)
    agreement = replace(draft, model=model)
    raw = encode(agreement)
    signature = signing.sign(Purpose.AGREEMENT, raw).signature
    inst.agreements.offer(raw, signature, agreement.operator)
    return agreement


# All of it


def test_an_institution_that_has_joined_has_a_way_and_what_it_needs(joined: Institution) -> None:
    findings = {
        finding.name: finding for finding in examine_client(joined.home.path, {}, way.connect)
    }
    fine = (
        *("institution", "permissions", "database", "policy", "certificate", "ledger", "sockets"),
        *("proxy", "operator", "protocol", "clock", "goodput", "TCP", "torch", "versions"),
    )
    assert {name: findings[name].detail for name in fine if findings[name].level != Level.OK} == {}
    assert findings["institution"].detail == f"berlin (Clinic, DE) in {joined.home.path}"
    assert findings["operator"].detail.startswith("University shows its own key at 127.0.0.1:")
    assert findings["goodput"].detail.endswith("Mbit/s to the operator")
    for name in ("vault", "SuperNode"):
        assert (findings[name].level, findings[name].fix) == (Level.WARNING, "comity client start")


def test_what_measures_the_way_is_on_the_ledger(joined: Institution) -> None:
    with way.connect(joined) as probe:
        probe(1000)
        last = joined.ledger.entries()[-1].body
    assert isinstance(last, Egress)
    assert (last.message, last.size_bytes, last.jurisdiction) == ("probe", 1000, "CH")


def test_an_institution_that_has_not_joined_is_told_to(alone: Institution) -> None:
    findings = found(alone)
    for name in ("certificate", "operator"):
        assert findings[name].level is Level.PROBLEM
        assert findings[name].fix.startswith("comity client join INVITATION")
    assert "goodput" not in findings
    assert findings["ledger"].level is Level.OK


def test_without_an_institution_the_machine_is_looked_at(tmp_path: Path) -> None:
    findings = list(examine_client(tmp_path / "nowhere", {}, Line(1e6).connect))
    assert [findings[0].name, findings[0].level] == ["institution", Level.PROBLEM]
    assert {"disk", "memory", "torch", "versions"} <= {finding.name for finding in findings}
    assert not (tmp_path / "nowhere").exists()


def test_the_command_ends_with_3_where_something_is_a_problem(alone: Institution) -> None:
    outcome = comity("client", "doctor", "--home", alone.home.path)
    lines = outcome.output.splitlines()
    assert outcome.exit_code == 3
    assert lines[0] == f"✓ institution     berlin (Clinic, DE) in {alone.home.path}"
    assert all(". Fix: " in line for line in lines if not line.startswith("✓"))
    assert sum(line.startswith("✗ certificate     COM-JOIN-001 ") for line in lines) == 1


def test_the_command_ends_with_0_where_nothing_is(joined: Institution) -> None:
    outcome = comity("client", "doctor", "--home", joined.home.path, "--json")
    assert [one for one in outcome.data if one["level"] == "problem"] == []
    assert {"clock", "goodput"} <= {one["name"] for one in outcome.data}


# What the institution keeps


def test_a_key_that_others_can_read_is_a_problem(alone: Institution) -> None:
    key = alone.home.keys / "signing.key"
    key.chmod(0o640)
    assert found(alone)["permissions"].fix == f"chmod 600 {key}"


def test_a_ledger_with_a_changed_entry_is_a_problem(alone: Institution) -> None:
    record = alone.recorder(InstitutionId("operator"), "CH")
    record("one", Crossing(1, Digest("0" * 64)))
    record("two", Crossing(2, Digest("1" * 64)))
    with alone.store.transaction() as tx:
        tx.execute("delete from entries where sequence = 1")
    findings = found(alone)
    assert findings["institution"].level is Level.PROBLEM
    assert findings["versions"].level is Level.OK


def test_a_missing_database_is_not_made_anew(alone: Institution) -> None:
    alone.home.database.rename(alone.home.path / "elsewhere.db")
    findings = found(alone)
    assert findings["institution"].detail == f"{alone.home.database} is missing"
    assert not alone.home.database.exists()


def test_an_unreadable_policy_is_named(alone: Institution) -> None:
    alone.home.policy.write_text("epsilom = 1\n")
    finding = found(alone)["policy"]
    assert finding.level is Level.PROBLEM
    assert "the nearest that exists is epsilon" in finding.detail


def test_a_policy_that_has_lapsed_is_named(alone: Institution) -> None:
    alone.home.policy.write_text("expires = 2020-01-01\n")
    finding = found(alone)["policy"]
    assert finding.level is Level.PROBLEM
    assert "lapsed after 2020-01-01" in finding.detail
    alone.home.policy.write_text("expires = 2999-01-01\n")
    assert found(alone)["policy"].level is Level.OK


def test_the_policy_is_said_in_words(alone: Institution) -> None:
    finding = found(alone)["policy"]
    assert "at most ε = 8" in finding.detail
    assert finding.detail.endswith("(the defaults)")


def test_a_vault_that_answers_says_what_it_does(alone: Institution) -> None:
    socket = LineSocket(alone.config.control, lambda question: {"id": MINE, "doing": "resting"})
    try:
        finding = own.vault(alone)
    finally:
        socket.close()
    assert (finding.level, finding.detail) == (Level.OK, "it runs: resting")


def test_a_long_path_of_a_socket_is_told(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 100)
    config = VaultConfig(id=MINE, name="Clinic", jurisdiction="DE", server="127.0.0.1:1")
    finding = found(Institution.create(home, config))["sockets"]
    assert finding.level is Level.PROBLEM
    assert "--home" in finding.fix


# What trains


def test_data_must_be_as_it_was_registered(alone: Institution, tmp_path: Path) -> None:
    (none,) = training.data(alone)
    assert (none.level, none.fix) == (Level.WARNING, "comity client data add NAME FILE")
    files = [tmp_path / f"{name}.jsonl" for name in ("intents", "letters", "old")]
    ceiling = Guarantee(epsilon=Decimal(8), delta=Decimal("0.00001"))
    for file in files:
        file.write_text(f'{{"text": "private {file.stem}", "label": "a"}}\n')
        alone.data.register(
            file, name=file.stem, task=TaskKind.SEQUENCE_CLASSIFICATION, ceiling=ceiling
        )
    alone.data.remove("old")
    assert {finding.level for finding in training.data(alone)} == {Level.OK}
    files[0].write_text("other rows")
    files[1].unlink()
    changed, missing = training.data(alone)
    assert changed.level is missing.level is Level.PROBLEM
    assert "intents" in changed.detail
    assert "letters.jsonl" in missing.detail
    assert changed.fix != missing.fix
    assert "private" not in changed.line(0) + missing.line(0)


def test_a_base_model_is_compared_by_its_digest(alone: Institution, tiny_base: Path) -> None:
    from comity_client.model.base import base_digest

    offer(alone, str(tiny_base), base_digest(tiny_base))
    (same,) = training.base_models(alone)
    assert (same.level, same.detail) == (Level.OK, f"{tiny_base} is the agreement's")


def test_another_base_model_is_a_problem(alone: Institution, tiny_base: Path) -> None:
    offer(alone, str(tiny_base), Digest("0" * 64))
    (other,) = training.base_models(alone)
    assert other.level is Level.PROBLEM
    assert "another digest" in other.detail


def test_a_base_model_that_is_not_here_is_not_fetched(
    alone: Institution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[object] = []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.create_connection", lambda *where, **more: asked.append(where))
    offer(alone, "nobody/no-such-bert", Digest("0" * 64))
    (missing,) = training.base_models(alone)
    assert (missing.level, missing.detail) == (
        Level.PROBLEM,
        "nobody/no-such-bert is not on this machine",
    )
    assert asked == []


def test_memory_grows_with_what_is_trained(alone: Institution, tiny_base: Path) -> None:
    offer(alone, str(tiny_base), Digest("0" * 64), parameters=10**12)
    finding = training.free_memory(own.agreements(alone))
    assert finding.level is Level.WARNING
    assert "the vault needs about 180.0 TB" in finding.detail


def test_pytorch_is_looked_at() -> None:
    names = [finding.name for finding in training.torch_build()]
    assert names[0] == "torch"


# The way


@pytest.mark.parametrize(
    ("rate", "sent"),
    [
        (2.0**30, [64 << 10, 4 << 20]),  # no more than 4 MiB
        (2.0**17, [64 << 10, 5 << 17]),  # no longer than 5 s
        (2.0**13, [64 << 10]),  # slower than that: the first answer will do
    ],
)
def test_a_way_is_measured_with_as_much_as_fits(
    alone: Institution, rate: float, sent: list[int]
) -> None:
    line = Line(rate)
    *_, goodput = way.measured(alone, line.connect, lambda: NOW)
    assert line.sent == sent
    speed = {2.0**30: "8590", 2.0**17: "1.05", 2.0**13: "0.0655"}[rate]
    assert goodput.detail == f"{speed} Mbit/s to the operator"


def test_an_upload_of_the_largest_agreement_is_timed(alone: Institution) -> None:
    offer(alone, "minilm", Digest("0" * 64), parameters=1_000)
    offer(alone, "minilm", Digest("0" * 64), parameters=22_000_000)
    seconds = vector_bytes(22_000_000, 32) / 1e6
    *_, fast = way.measured(alone, Line(1e6).connect, lambda: NOW)
    assert fast.level is Level.OK
    assert f"an upload of 88.0 MB takes about {seconds:.0f} s" in fast.detail
    *_, slow = way.measured(alone, Line(2e5).connect, lambda: NOW)
    assert slow.level is Level.WARNING


def test_a_clock_that_is_off_is_told(alone: Institution) -> None:
    _, fine, _ = way.measured(alone, Line(1e6, ahead=-2.5).connect, lambda: NOW)
    assert (fine.level, fine.detail) == (Level.OK, "less than 3 s from the operator's")
    _, off, _ = way.measured(alone, Line(1e6, ahead=900).connect, lambda: NOW)
    assert off.level is Level.PROBLEM
    assert off.detail.startswith("COM-NET-004 the operator's clock is 15 minutes ahead")


def test_another_protocol_is_a_problem(alone: Institution) -> None:
    finding, *_ = way.measured(alone, Line(1e6, version=99).connect, lambda: NOW)
    assert (finding.name, finding.level) == ("protocol", Level.PROBLEM)


def test_an_operator_that_falls_silent_is_told(alone: Institution) -> None:
    @contextmanager
    def silent(inst: Institution) -> Iterator[way.Probe]:
        raise Unreachable("unavailable")
        yield

    with pytest.raises(Problem, match=r"cannot reach 127\.0\.0\.1:1: unavailable"):
        way.measured(alone, silent, lambda: NOW)


def test_another_key_at_the_operators_address_ends_the_measuring(
    joined: Institution, operator: operators.Home, tmp_path: Path
) -> None:
    with HeldPorts(1) as ports:
        place = f"127.0.0.1:{ports.release(ports.numbers[0])}"
    stranger = operators.Home(tmp_path / "stranger")
    operators.init(stranger.path, name="Corp", jurisdiction="US", transfer=place)
    written = joined.home.config.read_bytes()
    values = tomllib.loads(written.decode()) | {"server": place}
    daemon = Daemon(stranger.path)
    daemon.start()
    try:
        settings.write(joined.home.config, VaultConfig.model_validate(values))
        findings = found(joined)
    finally:
        joined.home.config.write_bytes(written)
        daemon.close()
    assert findings["operator"].level is Level.PROBLEM
    assert 'a certificate signed by "Corp authority"' in findings["operator"].detail
    assert "goodput" not in findings


def test_a_proxy_that_only_the_environment_knows_is_told(alone: Institution) -> None:
    finding = found(alone, {"HTTPS_PROXY": "http://ann:s3cret@proxy.corp:3128"})["proxy"]
    assert finding.level is Level.WARNING
    assert "s3cret" not in finding.line(20)
