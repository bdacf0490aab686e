"""Proposed, read, signed, refused, left: by the commands of an operator and four institutions."""

import json
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.commands import Outcome, comity

import comity_client.model.base
from comity.v1 import transfer_pb2 as pb
from comity_client.backup import Passphrase, open_backup, restore, write_backup
from comity_client.correspondence import Correspondence
from comity_client.home import Home
from comity_client.institution import Institution
from comity_client.model.base import base_path
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import PeerError
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Restore
from comity_common.membership import Withdrawal
from comity_server.daemon import Daemon
from comity_server.home import init

COUNTRIES = {"berlin": "DE", "lyon": "FR", "nairobi": "KE", "osaka": "JP"}
LABELS = ["card", "loan"]
TERMS = """
federation = "{name}"
purpose = "sort messages"
institutions = ["berlin", "lyon", "nairobi", "osaka"]
evaluation_set = "public.jsonl"
[task]
labels = ["card", "loan"]
[model]
name = "minilm"
[privacy]
epsilon = 8
delta = 0.00001
[aggregation]
min_participants = 3
[schedule]
rounds = 2
spare_rounds = 1
expires = 2099-01-31
"""


def rows(count: int) -> str:
    lines = [{"text": f"message {k}", "label": LABELS[k % 2]} for k in range(count)]
    return "".join(json.dumps(line) + "\n" for line in lines)


class Federation:
    """Four approved institutions with data, and an operator whose daemon runs here."""

    def __init__(self, path: Path) -> None:
        self.path = path
        ports = []
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                ports.append(listener.getsockname()[1])
        init(
            path / "operator",
            name="Institute of Examples",
            jurisdiction="CH",
            host="127.0.0.1",
            transfer=f"127.0.0.1:{ports[0]}",
            enrolment=f"127.0.0.1:{ports[1]}",
        )
        self.daemon = Daemon(path / "operator")
        self.daemon.start()
        (path / "public.jsonl").write_text(rows(10))
        for id, country in COUNTRIES.items():
            invitation = self.server("invite", id, "--region", country).data["invitation"]
            join = ("join", invitation, "--wait", "0")
            assert self.client(id, *join).exit_code == 75
            self.server("approve", id)
            assert self.client(id, *join).exit_code == 0
            (path / f"{id}.jsonl").write_text(rows(40) + rows(len(id)))
            assert self.client(id, "data", "add", "rows", path / f"{id}.jsonl").exit_code == 0

    def server(self, *words: object) -> Outcome:
        return comity("server", *words, "--home", self.path / "operator", "--json")

    def client(self, id: str, *words: object) -> Outcome:
        return comity("client", *words, "--home", self.path / id, "--json")

    def propose(self, name: str) -> str:
        """Propose an agreement; every later one is built from what the first one built."""
        terms = self.path / f"{name}.toml"
        terms.write_text(TERMS.format(name=name))
        start = self.path / "start"
        if not start.exists():
            assert comity("model", "start", terms, "--out", start, "--json").exit_code == 0
        seed = json.loads((start / "start.json").read_text())["seed"]
        terms.write_text(TERMS.format(name=name).replace("[model]", f'[model]\nseed = "{seed}"'))
        found = self.server("agreement", "propose", terms, "--start", start)
        return str(found.data["digest"])

    def state(self, id: str, name: str) -> str:
        return str(self.client(id, "agreement", "show", name).data["state"])

    def institution(self, id: str) -> Institution:
        return Institution(self.path / id)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    made = Federation(tmp_path_factory.mktemp("agreeing"))
    yield made
    made.daemon.close()


def test_an_agreement_is_in_force_once_all_have_signed_and_runs_no_sooner(
    federation: Federation,
) -> None:
    digest = federation.propose("all-sign")
    words = federation.server("agreement", "show", "all-sign").data["words"]
    for id in COUNTRIES:
        shown = federation.client(id, "agreement", "show", "all-sign").data
        assert (shown["digest"], shown["words"], shown["state"]) == (digest, words, "offered")
        refused = federation.server("run", "start", "all-sign")
        assert (refused.exit_code, refused.envelope["error"]["code"]) == (1, "COM-RUN-002")
        assert federation.client(id, "agreement", "sign", "all-sign").data["delivered"] is True
    assert {federation.state(id, "all-sign") for id in COUNTRIES} == {"in-force"}
    assert federation.server("run", "start", "all-sign").data["state"] == "running"
    assert federation.server("run", "stop", "all-sign").data["state"] == "stopped"
    again = federation.server("run", "stop", "all-sign")
    assert again.envelope["error"]["code"] == "COM-RUN-003"


def test_signing_twice_is_signing_once(federation: Federation) -> None:
    federation.propose("twice")
    for _ in range(2):
        assert federation.client("berlin", "agreement", "sign", "twice").exit_code == 0
    assert federation.server("agreement", "show", "twice").data["signed"] == ["berlin"]


def test_whoever_refuses_is_out_and_nobody_accepts_a_plan_with_it(federation: Federation) -> None:
    digest = federation.propose("one-leaves")
    for id in COUNTRIES:
        federation.client(id, "agreement", "sign", "one-leaves")
    assert federation.state("berlin", "one-leaves") == "in-force"
    left = federation.client("berlin", "agreement", "refuse", "one-leaves")
    assert left.data["state"] == "refused"
    assert federation.server("agreement", "show", "one-leaves").data["left"] == ["berlin"]
    for id in ("lyon", "nairobi", "osaka"):
        assert federation.state(id, "one-leaves") == "in-force"
        assert federation.institution(id).agreements.withdrawn(digest) == {"berlin"}  # type: ignore[arg-type]
    again = federation.client("berlin", "agreement", "sign", "one-leaves")
    assert again.envelope["error"]["code"] == "COM-AGREE-002"
    agreement = federation.daemon._desk.agreements_of(InstitutionId("lyon"))[-1].agreement
    assert federation.daemon._desk.remaining(agreement) == {"lyon", "nairobi", "osaka"}


def test_a_vault_that_has_forgotten_its_signature_takes_no_part(federation: Federation) -> None:
    federation.propose("forgotten")
    federation.client("lyon", "agreement", "list")
    shutil.copytree(federation.path / "lyon", federation.path / "lyon-copy")
    assert federation.client("lyon", "agreement", "sign", "forgotten").exit_code == 0
    assert federation.state("lyon", "forgotten") == "signed"
    assert federation.state("lyon-copy", "forgotten") == "refused"
    entries = Institution(federation.path / "lyon-copy").ledger.entries()
    assert isinstance(entries[-1].body, Restore)
    signed = federation.client("lyon-copy", "agreement", "sign", "forgotten")
    assert signed.envelope["error"]["code"] == "COM-AGREE-002"


def test_rows_with_a_label_that_the_agreement_does_not_declare_keep_one_from_signing(
    federation: Federation,
) -> None:
    federation.propose("labels")
    other = federation.path / "other.jsonl"
    other.write_text(rows(20) + '{"text": "one more", "label": "fraud"}\n')
    federation.client("lyon", "data", "add", "other", other)
    refused = federation.client("lyon", "agreement", "sign", "labels", "--data", "other")
    assert refused.envelope["error"]["message"].startswith("other.jsonl line 21: expected one of")
    assert "fraud" not in refused.output
    assert federation.state("lyon", "labels") == "offered"
    federation.client("lyon", "data", "remove", "other")


def test_a_forged_withdrawal_moves_nothing(federation: Federation) -> None:
    digest = federation.propose("forged")
    said = Withdrawal(agreement=digest, institution="lyon", by="lyon")  # type: ignore[arg-type]
    forged = SigningKeys.generate().sign(Purpose.WITHDRAWAL, encode(said))
    uplink = federation.institution("berlin").uplink()
    for message in (forged, Signed(body=b"{}", signature=b""), Signed(body=b"", signature=b"")):
        with pytest.raises(PeerError):
            uplink.send(digest, pb.PARCEL_KIND_WITHDRAWAL, message)  # type: ignore[arg-type]
    uplink.close()
    assert federation.server("agreement", "show", "forged").data["left"] == []


def test_a_signature_under_one_changed_byte_is_refused(federation: Federation) -> None:
    digest = federation.propose("changed")
    berlin = federation.institution("berlin")
    federation.client("berlin", "agreement", "list")
    raw = bytearray(berlin.agreements.find(digest).raw)
    raw[len(raw) // 2] ^= 1
    signed = berlin.keys.signing.sign(Purpose.AGREEMENT, bytes(raw))
    uplink = berlin.uplink()
    with pytest.raises(PeerError, match="bytes of the agreement"):
        uplink.send(digest, pb.PARCEL_KIND_SIGNATURE, signed)  # type: ignore[arg-type]
    uplink.close()
    assert federation.server("agreement", "show", "changed").data["signed"] == []


def test_an_agreement_that_was_changed_on_a_disk_is_refused_by_every_command(
    federation: Federation,
) -> None:
    federation.propose("changed")
    federation.client("berlin", "agreement", "list")
    home = shutil.copytree(federation.path / "berlin", federation.path / "berlin-changed")
    with sqlite3.connect(home / "vault.db") as store:
        store.execute("update agreements set raw = cast(replace(raw, 'sort', 'sell') as blob)")
    operator = shutil.copytree(
        federation.path / "operator",
        federation.path / "operator-changed",
        ignore=shutil.ignore_patterns("*.sock"),
    )
    with sqlite3.connect(operator / "server.db") as store:
        store.execute("update agreements set body = cast(replace(body, 'sort', 'sell') as blob)")
    for part, place in (("client", home), ("server", operator)):
        for words in (("list",), ("show", "changed")):
            found = comity(part, "agreement", *words, "--home", place, "--json")
            assert (found.exit_code, found.envelope["error"]["code"]) == (4, "COM-AGREE-006")


def test_nothing_can_be_exported_before_a_round_is_certified(
    federation: Federation, tmp_path: Path
) -> None:
    found = federation.client("berlin", "export", tmp_path / "model")
    assert (found.exit_code, found.envelope["error"]["code"]) == (1, "COM-EXPORT-001")
    assert not (tmp_path / "model").exists()


def test_another_base_model_keeps_an_institution_from_signing(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation.propose("other-base")
    other = shutil.copytree(base_path("minilm"), tmp_path / "base")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 0.1}))
    monkeypatch.setattr(comity_client.model.base, "base_path", lambda name: other)
    found = federation.client("berlin", "agreement", "sign", "other-base")
    assert (found.exit_code, found.envelope["error"]["code"]) == (1, "COM-MODEL-006")
    assert federation.state("berlin", "other-base") == "offered"


def test_a_proposal_that_is_withdrawn_cannot_be_signed_or_run(federation: Federation) -> None:
    federation.propose("withdrawn")
    assert federation.server("agreement", "withdraw", "withdrawn").data["state"] == "withdrawn"
    assert federation.state("berlin", "withdrawn") == "retired"
    signed = federation.client("berlin", "agreement", "sign", "withdrawn")
    assert signed.envelope["error"]["code"] == "COM-AGREE-002"
    assert federation.server("run", "start", "withdrawn").exit_code == 1


def test_a_policy_that_does_not_allow_it_keeps_the_institution_from_signing(
    federation: Federation,
) -> None:
    federation.propose("too-much")
    federation.client("osaka", "policy", "set", "--epsilon", "1")
    refused = federation.client("osaka", "agreement", "sign", "too-much")
    assert (refused.exit_code, refused.envelope["error"]["code"]) == (1, "COM-RULE-001")
    assert "comity client policy" in refused.envelope["error"]["fix"]
    assert federation.server("agreement", "show", "too-much").data["signed"] == []
    federation.client("osaka", "policy", "set", "--epsilon", "8")


def test_the_operator_takes_the_withdrawal_of_an_institution_that_was_restored(
    federation: Federation,
) -> None:
    digest = federation.propose("restored")
    assert federation.client("lyon", "agreement", "sign", "restored").exit_code == 0
    file, passphrase = federation.path / "backup", Passphrase("correct horse battery staple")
    write_backup(Home(federation.path / "lyon"), file, passphrase, datetime.now(UTC))
    back = federation.path / "lyon-restored"
    restore(open_backup(file, passphrase), back, signed_since=False)
    letters = [one.agreement for one in Institution(back).outbox.waiting()]
    assert digest in letters
    uplink = Institution(back).uplink()
    Correspondence(Institution(back), uplink).send_waiting()
    uplink.close()
    assert list(Institution(back).outbox.waiting()) == []
    assert federation.server("agreement", "show", "restored").data["left"] == ["lyon"]


def test_a_revoked_institution_is_out_of_every_open_agreement(federation: Federation) -> None:
    digest = federation.propose("revoked")
    assert digest in federation.server("revoke", "osaka").data["left"]
    assert federation.server("agreement", "show", "revoked").data["left"] == ["osaka"]
    federation.client("lyon", "agreement", "list")
    assert federation.institution("lyon").agreements.withdrawn(digest) == {"osaka"}  # type: ignore[arg-type]
    assert federation.client("osaka", "agreement", "list").exit_code == 1


def test_without_the_operator_what_is_known_is_shown_and_a_refusal_waits(
    federation: Federation,
) -> None:
    before = federation.client("nairobi", "agreement", "show", "forged").data
    federation.daemon.close()
    assert federation.client("nairobi", "agreement", "show", "forged").data == before
    refused = federation.client("nairobi", "agreement", "refuse", "forged")
    assert (refused.data["state"], refused.data["delivered"]) == ("refused", False)
    waiting = [one.kind for one in federation.institution("nairobi").outbox.waiting()]
    assert pb.PARCEL_KIND_WITHDRAWAL in waiting
