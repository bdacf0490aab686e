"""Targets: files of others, and what little answers a machine's own sockets and proxies give."""

import io
import json
import os
import random
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from time import monotonic

import click
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from typer.main import get_command

from comity_audit.anchor import read_anchor
from comity_audit.directory import StoredRound
from comity_audit.recompute import Recomputation
from comity_audit.steps import Outcome
from comity_client import tls
from comity_client.backup import Backup, Passphrase, open_backup, restore, write_backup
from comity_client.config import VaultConfig
from comity_client.control import ask
from comity_client.datasets import (
    evaluation_set_digest,
    read_for,
    read_labelled,
    read_labelled_words,
    read_records,
    read_rows,
    read_word_rows,
)
from comity_client.fingerprints import fingerprints
from comity_client.flower_app import ask_vault, read_order
from comity_client.institution import Institution
from comity_client.policy import Policy
from comity_client.whatleft import Totals, departures
from comity_common import modelfile
from comity_common.agreement import Task, TaskKind
from comity_common.crypto.sign import Purpose
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.optimizer import ModelState
from comity_common.secagg.kinds import RoundKind
from comity_host import settings
from comity_host.cli import _root
from comity_server.config import ServerConfig
from comity_server.evaluation import digest_of_file
from comity_server.terms import SAMPLE, Terms
from tests.fuzz.messages import PEER
from tests.ledger_keys import read_own
from tests.simulation.storedrounds import Played

from .mutations import altered, damaged
from .samples import certificate_der, samples
from .target import Harness, Target, own_directory

TOML = (
    b"[[", b"]]", b"=", b'"""', b"''", b"\n[x]\n", b"inf", b"-nan", b"1e999999999999999999999",
    b"9" * 5000, b"a = " + b"[" * 5000, b"a" + b".a" * 5000 + b" = 1", b"{a=" * 2000, b"\\ud800",
    b"2024-02-30", b"0x", b"1_0", b"\x7f", b"\xff", b"\n#", b"true",
)  # fmt: skip


def _toml(kind: type[settings.Settings], seed: Callable[[], bytes]) -> Callable[[Path], Harness]:
    """Read settings, and hold that what is written reads back."""

    def make(directory: Path) -> Harness:
        file, again = directory / "some.toml", directory / "again.toml"

        def read(raw: bytes) -> None:
            file.write_bytes(raw)
            found = settings.load(file, kind)
            settings.write(again, found)
            assert settings.load(again, kind) == found

        return Harness(seeds=(seed(),), read=read, mutate=_in_toml)

    return make


def _in_toml(raw: bytes, chance: random.Random) -> bytes:
    """Put a piece of TOML's own into a text, mostly in the place of a value."""
    if chance.random() < 0.3:
        return damaged(raw, chance)
    lines = raw.split(b"\n")
    at = chance.randrange(len(lines))
    key, equals, _ = lines[at].partition(b"=")
    piece = chance.choice(TOML)
    lines[at] = key + equals + b" " + piece if equals and chance.random() < 0.7 else piece
    return b"\n".join(lines)


def _terms_toml() -> bytes:
    return (
        SAMPLE.read_bytes() + b"[private_evaluation]\nepsilon = 1\nunits = 1000\nafter = [2, 5]\n"
    )


def _vault_toml() -> bytes:
    return (
        b'id = "inst-00"\nname = "A"\njurisdiction = "DE"\nserver = "o.example:7443"\nthreads = 2\n'
    )


def _server_toml() -> bytes:
    return (
        b'id = "operator"\nname = "O"\njurisdiction = "DE"\ntransfer = "127.0.0.1:7443"\n'
        b"[deadlines]\nupload_s = 30.5\n"
    )


def _policy_toml() -> bytes:
    return (
        b'epsilon = "8"\ndelta = "0.00001"\nmin_participants = 3\ntune = ["head"]\n'
        b'purposes = ["a"]\nmodels = ["minilm"]\nrounds = 9\nuntil = 2027-12-31\n'
        b"without_privacy = false\n"
    )


# data


def _data(ending: str, seed: bytes) -> Callable[[Path], Harness]:
    def make(directory: Path) -> Harness:
        file = directory / f"rows{ending}"

        def read(raw: bytes) -> None:
            file.write_bytes(raw)
            found = read_labelled(file)
            assert all(text.strip() for text in found.texts)
            assert len(read_rows(file, sorted(set(found.labels)))) == len(found)
            for text in found.texts:
                text.encode()

        return Harness(seeds=(seed,), read=read, mutate=_in_lines)

    return make


def _records(ending: str, seed: bytes) -> Callable[[Path], Harness]:
    """What recognises rows and persons when they are registered."""

    def make(directory: Path) -> Harness:
        file = directory / f"rows{ending}"

        def read(raw: bytes) -> None:
            file.write_bytes(raw)
            found = list(read_records(file, "person"))
            assert all(one.unit and one.unit.strip() for one in found)
            digests = fingerprints(found, bytes(32))
            assert digests == fingerprints(reversed(found), bytes(32))

        return Harness(seeds=(seed,), read=read, mutate=_in_lines)

    return make


def _word_data(directory: Path) -> Harness:
    file = directory / "rows.jsonl"

    def read(raw: bytes) -> None:
        file.write_bytes(raw)
        found = read_labelled_words(file)
        labels = sorted({label for row in found.labels for label in row})
        rows = read_word_rows(file, labels)
        assert rows.texts == found.texts
        for words, classes in zip(found.texts, rows.labels, strict=True):
            assert len(words) == len(classes) > 0
            assert all(word.strip() for word in words)
            "".join(words).encode()

    seed = b'{"tokens":["one","two"],"labels":["a","b"]}\n{"tokens":["x"],"tags":["b"],"id":"x"}\n'
    return Harness(seeds=(seed,), read=read, mutate=_in_lines)


def _evaluation(kind: TaskKind, seed: bytes) -> Callable[[Path], Harness]:
    task = Task(kind=kind, labels=("a", "b"), max_tokens=16)

    def make(directory: Path) -> Harness:
        file = directory / "rows.jsonl"

        def read(raw: bytes) -> None:
            file.write_bytes(raw)
            digest = digest_of_file(file, task)
            assert evaluation_set_digest(read_for(file, task)) == digest

        return Harness(seeds=(seed,), read=read, mutate=_in_lines)

    return make


def _in_lines(raw: bytes, chance: random.Random) -> bytes:
    """Change one line as JSON, or add what CSV and JSON Lines trip over."""
    if chance.random() < 0.4:
        return damaged(raw, chance)
    lines = raw.split(b"\n")
    at = chance.randrange(len(lines))
    pieces = (b'"', b'""', b",", b"\r", b"\xef\xbb\xbf", b"\\ud83d", b"\0", b"'", b";", b"[" * 3000)
    if chance.random() < 0.5:
        lines[at] = altered(lines[at], chance)
    else:
        cut = chance.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:cut] + chance.choice(pieces) + lines[at][cut:]
    return b"\n".join(lines)


# what an institution keeps and carries


def _home(directory: Path) -> Institution:
    config = VaultConfig(
        id="inst-00", name="A", jurisdiction="DE", server="127.0.0.1:1", sockets=directory / "s"
    )
    return Institution.create(directory / "home", config)


class Quick(Passphrase):
    """A passphrase whose key is derived as quickly as may be."""

    def cipher(self, salt: bytes) -> ChaCha20Poly1305:
        """Derive the key of one backup."""
        return ChaCha20Poly1305(Scrypt(salt=salt, length=32, n=2, r=1, p=1).derive(b"x"))


def _backup_file(directory: Path) -> Harness:
    """The file itself: head and sealed part."""
    from comity_client.institution import utc_now

    file, secret = directory / "one.backup", Quick("a passphrase that is long")
    write_backup(_home(directory).home, file, secret, utc_now())
    seed = file.read_bytes()

    def read(raw: bytes) -> None:
        file.write_bytes(raw)
        open_backup(file, secret)
        assert raw == seed, "a damaged backup was opened"

    return Harness(seeds=(seed,), read=read)


def _backup_content(directory: Path) -> Harness:
    """What is in a backup, from somebody who knows its passphrase: a name, and its bytes."""
    from comity_client.backup import _packed, _unpacked

    true = _unpacked(_packed(_home(directory).home))
    names = sorted(true)
    place = directory / "restored"

    def read(raw: bytes) -> None:
        name, _, content = raw.partition(b"\n")
        files = {**true, name.decode("utf-8", "replace"): content}
        try:
            restore(Backup(time="2026-01-01T00:00:00Z", files=files), place, signed_since=False)
        except Exception:
            assert not place.exists(), "half a home was restored"
            raise
        import shutil

        outside = {path.name for path in directory.iterdir()} - {"home", "restored"}
        shutil.rmtree(place)
        assert not outside

    def mutate(raw: bytes, chance: random.Random) -> bytes:
        name = chance.choice([*names, "../x", "keys/../../x", "/x", "keys/", "x/y", "a\0b", "."])
        content = true.get(name, b"x")
        return name.encode() + b"\n" + (damaged(content, chance) if chance.random() < 0.9 else b"")

    return Harness(seeds=(b"vault.toml\n" + true["vault.toml"],), read=read, mutate=mutate)


def _departures(directory: Path) -> Harness:
    """Entries of a ledger, one a line, in a home that was copied from somebody."""
    from .ledgers import entries

    database = directory / "vault.db"
    with closing(sqlite3.connect(database)) as store:
        store.execute("create table entries (sequence integer primary key, raw blob)")
    egress = next(raw for raw in entries() if read_own(raw).kind == "egress")

    def read(raw: bytes) -> None:
        with closing(sqlite3.connect(database)) as store, store:
            store.execute("delete from entries")
            rows = list(enumerate(raw.split(b"\n")))
            store.executemany("insert into entries values (?, ?)", rows)
        totals = Totals()
        for departure in totals.count(departures(database)):
            json.dumps([departure.time, departure.message, departure.size_bytes])
        assert totals.all.messages <= len(rows)

    return Harness(seeds=(egress, b"\n".join(entries())), read=read, mutate=_in_payload)


def _in_payload(raw: bytes, chance: random.Random) -> bytes:
    """Change an entry, or the statement that it holds in base64."""
    import base64

    try:
        tree = json.loads(raw)
        payload = base64.b64decode(tree["payload"])
    except (ValueError, KeyError, TypeError):
        return damaged(raw, chance)
    if chance.random() < 0.3:
        return altered(raw, chance)
    payload = b"[" * 100_000 if chance.random() < 0.02 else altered(payload, chance)
    return json.dumps(tree | {"payload": base64.b64encode(payload).decode()}).encode()


def _card_file(directory: Path) -> Harness:
    from .samples import card

    institution = _home(directory)
    one = samples()
    institution.keep_card(one.sign(Purpose.CARD, card(one.world)))
    seed = institution.home.card.read_bytes()

    def read(raw: bytes) -> None:
        institution.home.card.write_bytes(raw)
        assert institution.card.operator == one.world.agreement.operator

    return Harness(seeds=(seed,), read=read, mutate=altered)


def _state(directory: Path) -> Harness:
    import numpy as np

    ones = np.ones(3, np.float32)
    seeds = (
        modelfile.write_state(ModelState(parameters=ones, momentum=ones, round=2)),
        modelfile.write_state(ModelState(parameters=ones, momentum=None, round=0)),
    )

    def read(raw: bytes) -> None:
        assert modelfile.write_state(modelfile.read_state(raw)) == raw

    return Harness(seeds=seeds, read=read)


# sockets


def _answers(ask_it: Callable[[str], object], seed: bytes) -> Callable[[Path], Harness]:
    """One answer on a unix socket; the one who asks reads it in this thread."""

    def make(directory: Path) -> Harness:
        path = os.path.relpath(directory / "s")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)

        def read(raw: bytes) -> None:
            import threading

            def answer() -> None:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as lines:
                    lines.readline()
                    try:
                        connection.sendall(raw)
                    except OSError:
                        return

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            try:
                ask_it(path)
            finally:
                thread.join(5)

        return Harness(seeds=(seed,), read=read, mutate=altered)

    return make


def _proxy(directory: Path) -> Harness:
    def read(raw: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(raw)
            theirs.shutdown(socket.SHUT_WR)
            status = tls._status(ours, monotonic() + 5)
        tls._answer(status)
        if not 200 <= status < 300:
            raise PeerError("no way through")

    seeds = (b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n",)
    pieces = (b"HTTP/1.1 " + b"9" * 5000, b"HTTP/1.1 \xb2\xb3\xb9", b"\r\n\r\n", b"-200", b" 407 ")

    def mutate(raw: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.5:
            return damaged(raw, chance)
        at = chance.randrange(len(raw))
        return chance.choice([raw[:at], b""]) + chance.choice(pieces) + raw[at:]

    return Harness(seeds=seeds, read=read, mutate=mutate)


def _shown(directory: Path) -> Harness:
    """The certificate that is shown at an address, before anything is said there."""
    from hashlib import sha256

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from .samples import certificate

    true = certificate_der()
    key = certificate().public_key()
    pin = sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()

    def read(raw: bytes) -> None:
        before = tls._shown_certificate
        tls._shown_certificate = lambda *_: raw  # the socket is the system's, and tried elsewhere
        try:
            pem = tls.pinned_certificate("operator.example:1", pin)
        finally:
            tls._shown_certificate = before
        assert b"BEGIN CERTIFICATE" in pem

    return Harness(seeds=(true,), read=read)


def _addresses(directory: Path) -> Harness:
    def read(raw: bytes) -> None:
        text = raw.decode("utf-8", "surrogateescape")
        if text.startswith("proxy "):
            place = tls._proxy_place(text[6:])
            assert place.port is None or place.port > 0
            "".join(tls._credentials(place)).encode("ascii")
        else:
            _, port = tls.split_address(text)
            assert 0 < port < 65536

    seeds = (b"operator.example:7443", b"[::1]:1", b"proxy http://u:p%40@proxy.example:3128")
    return Harness(seeds=seeds, read=read)


def _order(directory: Path) -> Harness:
    """What Flower hands to the ClientApp, as its own records."""
    from flwr.app import ConfigRecord, RecordDict

    def read(raw: bytes) -> None:
        try:
            tree = json.loads(raw)
            content = RecordDict(
                {str(k): ConfigRecord(v) if isinstance(v, dict) else v for k, v in tree.items()}
            )
        except Exception as error:  # Flower's own types turn it away
            raise PeerError(str(error)[:100]) from None
        assert set(read_order(content)) == {"agreement", "round", "plan"}

    seed = {"order": {"agreement": "a" * 64, "round": 1, "plan": "b" * 64}}
    return Harness(seeds=(json.dumps(seed).encode(),), read=read, mutate=altered)


# the auditor


@cache
def _exported(kind: RoundKind) -> tuple[Played, dict[str, bytes]]:
    base = own_directory()
    played = Played(base / "operator", 3, scored_after=(1,))
    played.round()
    if kind is RoundKind.EVALUATE:
        played.round(kind=kind)
    there = played.export(played.history.head(played.agreement).begun, base / "round")
    return played, {
        str(path.relative_to(there)): path.read_bytes()
        for path in there.rglob("*")
        if path.is_file()
    }


def _stored_round(directory: Path, kind: RoundKind = RoundKind.TRAIN) -> Harness:
    """One file of a stored round: its name, a line feed, its bytes; the sender signs it anew."""
    (played, files), place = _exported(kind), directory / "round"
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    purposes = {"plan": Purpose.PLAN, "certificate": Purpose.CERTIFICATE,
                "survivors": Purpose.SURVIVORS, "header": Purpose.HEADER, "upload": Purpose.UPLOAD,
                "reveals": Purpose.REVEAL, "endorsements": Purpose.ENDORSEMENT}  # fmt: skip

    def signature(name: str, content: bytes) -> bytes | None:
        stem = name.removesuffix(".json").replace("/", ".").split(".")
        purpose = next((purposes[word] for word in reversed(stem) if word in purposes), None)
        if not name.endswith(".json") or purpose is None:
            return None
        who = next((played.signing[word] for word in stem if word in played.signing), played.keys)
        return who.sign(purpose, content).signature

    def read(raw: bytes) -> None:
        name, _, content = raw.partition(b"\n")
        changed = name.decode("utf-8", "replace")
        if changed not in files:
            raise PeerError("expected a file of the round")
        made = signature(changed, content)
        also = changed.removesuffix(".json") + ".sig" if made is not None else changed
        try:
            (place / changed).write_bytes(content)
            if made is not None:
                (place / also).write_bytes(made)
            found = list(Recomputation(StoredRound(place), anchor=played.agreement.digest).steps())
        finally:
            for one in {changed, also}:
                (place / one).write_bytes(files[one])
        if any(step.outcome is Outcome.FAILS for step in found):
            raise PeerError("a step fails")
        assert all(step.detail.isprintable() for step in found)

    def mutate(raw: bytes, chance: random.Random) -> bytes:
        name = chance.choice(sorted(files))
        content = files[name]
        changed = altered(content, chance) if name.endswith(".json") else damaged(content, chance)
        return name.encode() + b"\n" + changed

    return Harness(seeds=(b"plan.json\n" + files["plan.json"],), read=read, mutate=mutate)


def _stored_score(directory: Path) -> Harness:
    """One file of a stored round of scores."""
    return _stored_round(directory, RoundKind.EVALUATE)


def _names(directory: Path) -> Harness:
    """Names of files in a stored round, one a line."""
    (_, files), place = _exported(RoundKind.TRAIN), directory / "round"

    def read(raw: bytes) -> None:
        import shutil

        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name in raw.split(b"\n"):
            parts = [part for part in name.split(b"/") if part not in (b"", b".", b"..")]
            try:
                there = place / os.fsdecode(b"/".join(parts[:4]) or b"x")
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_bytes(files.get(os.fsdecode(name), b"x"))
            except (OSError, ValueError):  # the file system says no
                continue
        StoredRound(place)

    return Harness(seeds=("\n".join(files).encode(),), read=read)


def _anchor(directory: Path) -> Harness:
    def read(raw: bytes) -> None:
        anchor = read_anchor(raw.decode("utf-8", "surrogateescape"))
        assert len(anchor) == 64 or len(anchor.split()) == 8

    words = b"abandon " * 7 + b"zoo"
    return Harness(seeds=(b"a" * 64, words), read=read)


# the command line


def _words(directory: Path) -> Harness:
    """Words of a command line, one a line: parsed and checked, not run."""
    root = get_command(_root())

    def read(raw: bytes) -> None:
        words = raw.decode("utf-8", "surrogateescape").replace("\0", "").split("\n")
        command: click.Command = root
        context = None
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            context = click.Context(command, parent=context, info_name=words[0])
            command = command.commands[words[0]]
            words = words[1:]
        out = io.StringIO()
        import contextlib

        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            command.make_context(command.name or "", list(words), parent=context)

    seeds = (
        b"client\nwhat-left\n--since\n2026-01-01\n--json",
        b"client\njoin\nhttps://x:1/i/abc\n--proxy\nhttp://p:1",
        b"server\ninvite\nberlin\n--region\nDE\n--days\n7",
        b"audit\nrecompute-round\n.\n--agreement\n" + b"a" * 64,
        b"client\npolicy\nset\n--epsilon\n8",
        b"demo\n--rounds\n3\n--fault\nkill-vault:2@1",
    )
    return Harness(seeds=seeds, read=read)


PARTNER, OWN, PROXY = "a partner, by any channel", "the own disk, or a copy", "a proxy, the network"
ERRORS = (Problem,)

TARGETS: list[Target] = [
    Target(name=name, reader=reader, sender=sender, errors=errors, make=make, covers=covers)
    for name, reader, sender, errors, make, covers in (
        ("terms-toml", "comity_host.settings.load", PARTNER, ERRORS,
         _toml(Terms, _terms_toml), ("common/comity_host/settings.py:loads",)),
        ("vault-toml", "comity_host.settings.load", OWN, ERRORS, _toml(VaultConfig, _vault_toml),
         ()),
        ("server-toml", "comity_host.settings.load", OWN, ERRORS, _toml(ServerConfig, _server_toml),
         ()),
        ("policy-toml", "comity_host.settings.load", OWN, ERRORS, _toml(Policy, _policy_toml), ()),
        ("data-jsonl", "comity_client.datasets.read_labelled", PARTNER, ERRORS,
         _data(".jsonl", b'{"text":"one","label":"a"}\n{"text":"two","label":"b","id":"x"}\n'),
         ("client/comity_client/rowfiles.py:readline", "client/comity_client/rowfiles.py:loads")),
        ("data-csv", "comity_client.datasets.read_labelled", PARTNER, ERRORS,
         _data(".csv", b'id,text,label\n1,one,a\n2,"two, ""2""\n",b\n'),
         ("client/comity_client/rowfiles.py:reader",)),
        ("data-words", "comity_client.datasets.read_labelled_words", PARTNER, ERRORS, _word_data,
         ("client/comity_client/rowfiles.py:loads",)),
        ("records-jsonl", "comity_client.datasets.read_records", PARTNER, ERRORS,
         _records(".jsonl", b'{"text":"one","person":1}\n{"tokens":["a","b"],"person":"P"}\n'),
         ()),
        ("records-csv", "comity_client.datasets.read_records", PARTNER, ERRORS,
         _records(".csv", b'person,text,label\n1,one,a\nP,"two, ""2""\n",b\n'), ()),
        ("evaluation-set", "comity_server.evaluation.digest_of_file", PARTNER, ERRORS,
         _evaluation(TaskKind.SEQUENCE_CLASSIFICATION,
                     b'{"text":"one","label":"a"}\n{"text":"two","label":"b"}\n'),
         ("server/comity_server/evaluation.py:loads",)),
        ("evaluation-set-words", "comity_server.evaluation.digest_of_file", PARTNER, ERRORS,
         _evaluation(TaskKind.TOKEN_CLASSIFICATION,
                     b'{"tokens":["one","x"],"labels":["a","b"]}\n{"tokens":["y"],"tags":["b"]}\n'),
         ("server/comity_server/evaluation.py:loads",)),
        ("backup", "comity_client.backup.open_backup", OWN, ERRORS, _backup_file,
         ("client/comity_client/backup.py:ZipFile",)),
        ("backup-content", "comity_client.backup.restore", "who knows the passphrase",
         (LocalError, PeerError), _backup_content, ()),
        ("what-left", "comity_client.whatleft.departures", OWN, (LocalError,), _departures,
         ("client/comity_client/whatleft.py:loads", "client/comity_client/whatleft.py:b64decode")),
        ("card-file", "comity_client.institution.Institution.card", OWN, (Problem, PeerError),
         _card_file, ("client/comity_client/institution.py:loads",)),
        ("model-state", "comity_common.modelfile.read_state", "the operator", (LocalError,), _state,
         ("common/comity_common/modelfile.py:frombuffer",)),
        ("control-answer", "comity_client.control.ask", "the vault's socket", ERRORS,
         _answers(lambda path: ask(Path(path)), b'{"doing": "waiting"}\n'),
         ("client/comity_client/control.py:loads", "client/comity_client/control.py:readline")),
        ("order-answer", "comity_client.flower_app.ask_vault", "the vault's socket",
         (PeerError, OSError),
         _answers(lambda path: ask_vault(path, {"round": 1}), b'{"accepted": true, "code": ""}\n'),
         ("client/comity_client/flower_app.py:loads",
          "client/comity_client/flower_app.py:readline")),
        ("flower-order", "comity_client.flower_app.read_order", "Flower's ServerApp", PEER, _order,
         ()),
        ("proxy-answer", "comity_client.tls.pinned_certificate", PROXY, PEER, _proxy, ()),
        ("shown-certificate", "comity_client.tls.pinned_certificate", PROXY, ERRORS, _shown,
         ("client/comity_client/tls.py:load_der_x509_certificate",)),
        ("addresses", "comity_client.tls", "who writes settings", (LocalError,), _addresses,
         ("client/comity_client/tls.py:urlsplit",)),
        ("stored-round", "comity_audit.recompute.Recomputation", "who hands over a stored round",
         (PeerError, Problem), _stored_round, ()),
        ("stored-score", "comity_audit.recompute.Recomputation", "who hands over a stored round",
         (PeerError, Problem), _stored_score, ()),
        ("stored-names", "comity_audit.directory.StoredRound", "who hands over a stored round",
         ERRORS, _names, ()),
        ("anchor", "comity_audit.anchor.read_anchor", PARTNER, ERRORS, _anchor, ()),
        ("command-words", "comity_host.cli.run", "who pastes a command",
         (click.ClickException, click.exceptions.Exit, Problem), _words, ()),
    )
]  # fmt: skip
"""Files, sockets and words."""
