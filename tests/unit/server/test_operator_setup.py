"""Making an operator, approving institutions, and what must hold before an agreement runs."""

import errno
import stat
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from sqlalchemy import update
from tests.commands import comity
from tests.simulation.federation import make_agreement
from tests.simulation.network import Identity

from comity_common.crypto.sign import Purpose, SigningKeys
from comity_common.errors import LocalError, PeerError
from comity_common.optimizer import first_state, state_digest
from comity_host import settings
from comity_server import config
from comity_server.agreements import Agreements, AgreementState
from comity_server.authority import certificate_fingerprint
from comity_server.errors import Stranger
from comity_server.home import Home, init
from comity_server.models import Models
from comity_server.registry import Registry
from comity_server.tables import schema

TERMS = {"name": 'Uni "Nord"', "jurisdiction": "DE", "transfer": "127.0.0.1:7443"}


def test_a_country_that_is_none_leaves_no_operator_behind(tmp_path: Path) -> None:
    words = ("server", "init", "--name", "P", "--home", tmp_path / "op", "--json")
    found = comity(*words, "--region", "CHX")
    assert (found.exit_code, found.envelope["error"]["code"]) == (1, "COM-MEMBER-002")
    assert not (tmp_path / "op").exists()
    assert comity(*words, "--region", "CH").exit_code == 0


def test_an_operator_that_could_not_be_made_whole_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(settings, "write", full)
    with pytest.raises(OSError, match="no space"):
        init(tmp_path / "op", **TERMS)
    assert not (tmp_path / "op").exists()
    monkeypatch.undo()
    init(tmp_path / "op", **TERMS)


class Desk:
    """An operator with three approved institutions and an agreement that nobody signed."""

    def __init__(self, directory: Path) -> None:
        operator = init(directory, **TERMS)
        self.home = Home(directory)
        self.keys = self.home.signing_keys()
        self.store = self.home.open_store()
        self.registry = Registry(self.store)
        self.agreements = Agreements(self.store, self.registry, Models(self.home.models))
        self.identities = {f"inst-{k}": Identity(f"inst-{k}") for k in range(3)}
        signing = {id: identity.signing for id, identity in self.identities.items()}
        draft = make_agreement(signing, self.keys)
        self.start = np.arange(50, dtype=np.float32)
        first = state_digest(first_state(self.start, draft.aggregation))
        self.agreement = replace(
            draft,
            operator=operator,
            institutions=tuple(self.identities[id].party() for id in sorted(signing)),
            model=replace(draft.model, initial_state=first),
        )

    def approve(self) -> None:
        for identity in self.identities.values():
            identity.admit(self.registry, self.home, "ecdsa-sha2-nistp384 A")

    def sign(self, id: str, signer: str | None = None) -> None:
        signed = self.identities[signer or id].signing.sign(Purpose.AGREEMENT, self.body)
        self.agreements.sign(self.agreement.digest, id, signed.signature)

    def propose(self) -> None:
        self.body = self.agreements.propose(self.agreement, self.keys, self.start).body


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "operator")


def test_only_the_owner_can_read_an_operators_directory_and_keys(desk: Desk) -> None:
    assert stat.S_IMODE(desk.home.path.stat().st_mode) == 0o700
    for name in ("signing.key", "authority.key", "server.key"):
        assert stat.S_IMODE((desk.home.keys / name).stat().st_mode) == 0o600
    written = tomllib.loads(desk.home.config.read_text())
    assert written["name"] == TERMS["name"]


def test_an_operator_is_never_made_twice(desk: Desk) -> None:
    before = desk.home.party()
    with pytest.raises(LocalError, match="never overwritten"):
        init(desk.home.path, **TERMS)
    assert desk.home.party() == before


def test_settings_survive_writing_and_unknown_ones_are_refused(desk: Desk) -> None:
    written = config.ServerConfig(
        id="op",
        name='Ñandú \\ "x"',
        jurisdiction="AR",
        transfer="0.0.0.0:1",
        flower=config.FlowerSettings(port=18443, app=Path("/app")),
        deadlines=config.Deadlines(settle_s=0),
    )
    settings.write(desk.home.config, written)
    assert desk.home.settings() == written
    with desk.home.config.open("a") as file:
        file.write("patience = 3\n")
    with pytest.raises(
        LocalError, match=r"deadlines\.patience; the nearest that exists is patience_s"
    ):
        desk.home.settings()


def test_an_approved_key_is_known_by_its_fingerprint_and_no_other_is(desk: Desk) -> None:
    identity = desk.identities["inst-0"]
    certified = identity.admit(desk.registry, desk.home, "ecdsa-sha2-nistp384 AAAA")
    assert certified.fingerprint == identity.party().identity.tls
    assert certificate_fingerprint(certified.certificate) == certified.fingerprint
    assert desk.registry.identify(certified.fingerprint) == "inst-0"
    with pytest.raises(Stranger):
        desk.registry.identify(bytes(32))
    certificate = x509.load_pem_x509_certificate(certified.certificate)
    authority = x509.load_pem_x509_certificate(desk.home.authority.read_bytes())
    certificate.verify_directly_issued_by(authority)


def test_an_id_or_a_key_is_approved_once(desk: Desk) -> None:
    desk.approve()
    again = Identity("inst-0")
    with pytest.raises(LocalError, match="in already"):
        again.admit(desk.registry, desk.home)
    again = Identity("inst-9", tls=desk.identities["inst-0"].tls)
    with pytest.raises(PeerError, match="no other institution has"):
        again.admit(desk.registry, desk.home)


@pytest.mark.parametrize("request_", [b"", b"-----BEGIN", b"\xff" * 100])
def test_what_is_no_request_is_a_peers_error(desk: Desk, request_: bytes) -> None:
    with pytest.raises(PeerError, match="request"):
        desk.home.certificate_authority().sign_request(request_)


def test_a_request_for_an_improper_id_is_refused(desk: Desk) -> None:
    with pytest.raises(PeerError, match="id"):
        desk.home.certificate_authority().sign_request(Identity("../etc").request())


def test_a_flower_node_keeps_all_64_bits_of_its_id(desk: Desk) -> None:
    desk.approve()
    desk.registry.set_node("inst-1", 2**64 - 1)
    assert desk.registry.nodes() == {"inst-1": 2**64 - 1}


def test_an_agreement_runs_once_all_have_signed_its_exact_bytes(desk: Desk) -> None:
    desk.approve()
    desk.propose()
    desk.sign("inst-0")
    desk.sign("inst-1")
    with pytest.raises(PeerError, match="signature of inst-2"):
        desk.agreements.start(desk.agreement.digest)
    with pytest.raises(PeerError, match="valid signature"):
        desk.sign("inst-2", signer="inst-1")
    assert desk.agreements.running() is None
    desk.sign("inst-2")
    desk.agreements.start(desk.agreement.digest)
    assert desk.agreements.running() == desk.agreement
    assert set(desk.agreements.signatures(desk.agreement.digest)) == {
        "operator",
        *desk.agreement.roster,
    }


def test_an_agreement_does_not_run_with_a_tls_key_that_was_not_approved(desk: Desk) -> None:
    desk.propose()
    for id in desk.identities:
        desk.sign(id)
    with pytest.raises(LocalError, match="TLS key"):
        desk.agreements.start(desk.agreement.digest)
    desk.identities["inst-2"].tls = Identity("x").tls
    desk.approve()
    with pytest.raises(LocalError, match="inst-2 to be approved"):
        desk.agreements.start(desk.agreement.digest)


def test_a_stopped_agreement_can_be_resumed_and_a_finished_one_cannot(desk: Desk) -> None:
    desk.approve()
    desk.propose()
    for id in desk.identities:
        desk.sign(id)
    digest = desk.agreement.digest
    desk.agreements.start(digest)
    desk.agreements.end(digest, AgreementState.STOPPED, "nobody came")
    assert desk.agreements.latest() == (desk.agreement, AgreementState.STOPPED, "nobody came")
    desk.agreements.start(digest)
    desk.agreements.end(digest, AgreementState.FINISHED)
    with pytest.raises(LocalError, match="this one is finished"):
        desk.agreements.start(digest)


def test_an_agreement_with_another_first_model_or_operator_is_not_proposed(desk: Desk) -> None:
    with pytest.raises(LocalError, match="first model state"):
        desk.agreements.propose(desk.agreement, desk.keys, desk.start + 1)
    with pytest.raises(LocalError, match="50 parameters"):
        desk.agreements.propose(desk.agreement, desk.keys, desk.start[:-1])
    with pytest.raises(LocalError, match="own keys"):
        desk.agreements.propose(desk.agreement, SigningKeys.generate(), desk.start)


def test_a_database_of_another_version_is_refused(desk: Desk) -> None:
    with desk.store.write() as tx:
        tx.execute(update(schema).values(version=99))
    with pytest.raises(LocalError, match="got 99"):
        desk.home.open_store()
