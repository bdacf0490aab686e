"""A federation on loopback: real homes, a real tiny BERT, mutual TLS, and an operator in memory.

Each institution has a listener of its own, which writes down the exact bytes of every request
before anything is parsed, and at that moment looks into the institution's ledger for the entry
that must already be there. Behind the listeners works `tests.simulation.operator`.
"""

import json
import socket
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.ledger_keys import keys_at
from tests.simulation.federation import make_agreement
from tests.simulation.operator import Line, Operator
from tests.tiny_bert import save_tiny_bert

from comity.v1 import transfer_pb2 as pb
from comity.v1.transfer_pb2_grpc import TransferServicer, add_TransferServicer_to_server
from comity_client.compute import Compute
from comity_client.config import VaultConfig
from comity_client.cosigning import Cosigner
from comity_client.daemon import Daemon, Works, set_up_workbench
from comity_client.datasets import Source
from comity_client.institution import Institution
from comity_client.rounds import StoredUpload
from comity_client.uplink import Delivery
from comity_client.vault import OnPhase
from comity_common import chunks
from comity_common.agreement import Agreement, TaskKind
from comity_common.canonical import decode, encode
from comity_common.crypto.derive import digest
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.dp.accountant import calibrate
from comity_common.dp.terms import Guarantee
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import DatasetId, Egress
from comity_common.ledger.signed import read
from comity_common.membership import PROTOCOL_VERSION, OperatorCard
from comity_common.optimizer import first_state, state_digest
from comity_common.secagg.messages import Header, Plan
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Stage
from comity_common.tuning import Tune
from comity_common.wire import envelope, parcel
from comity_server.authority import Authority, fingerprint
from comity_server.transfer import OPTIONS

PATIENCE_S = 180.0  # a vault under strace, on a machine with much else to do, is slow to load
LABELS = ("card", "loan", "fraud")
WORDS = (
    *("zebra", "quartz", "violin", "harbour", "lantern", "meadow", "copper", "saffron"),
    *("glacier", "orchid", "pepper", "walnut", "thunder", "velvet", "canyon", "magnet"),
)


class Untried:
    """A self-test that was left out."""

    tests, failed = ("left-out",), ()


SetUp = Callable[[Agreement, Source, Compute], Works]


def untried(agreement: Agreement, data: Source, compute: Compute) -> Works:
    """Set up the real workbench, whose self-test has tests of its own and takes seconds."""
    workbench = set_up_workbench(agreement, data, compute)
    workbench.examine = Untried  # type: ignore[method-assign]
    return workbench


def until(what: str, holds: Callable[[], bool]) -> None:
    """Wait for something that the vaults do in threads or processes of their own."""
    deadline, pause = monotonic() + PATIENCE_S, threading.Event()
    while not holds():
        assert monotonic() < deadline, f"waited in vain: {what}"
        pause.wait(0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it arrived.

    Attributes:
        raw: its exact bytes.
        message: what they parse to.
        metadata: the names and values of its HTTP/2 metadata.
        recorded: whether the ledger had an egress entry with its digest and size by then.
    """

    method: str
    raw: bytes
    message: Any
    metadata: tuple[tuple[str, Any], ...]
    recorded: bool


@dataclass
class Switchboard:
    """What the listeners share: one operator, one lock, and a bell when anything changed."""

    operator: Operator | None = None
    bell: threading.Condition = field(default_factory=threading.Condition)


class Listener(TransferServicer, grpc.ServerInterceptor):  # type: ignore[misc]
    """The operator's transfer listener, as one institution reaches it."""

    def __init__(
        self, me: InstitutionId, database: Path, switchboard: Switchboard, authority: "Ca"
    ) -> None:
        self.me = me
        self.requests: list[Request] = []
        self._database = database
        self._board = switchboard
        self._uploads: dict[Digest, tuple[str, StoredUpload, dict[int, bytes]]] = {}
        self._server = grpc.server(ThreadPoolExecutor(8), options=OPTIONS, interceptors=[self])
        add_TransferServicer_to_server(self, self._server)
        self.port = self._server.add_secure_port("127.0.0.1:0", authority.server_credentials())
        self.certificate = authority.server
        self._server.start()

    def close(self) -> None:
        """Hang up."""
        self._server.stop(0)

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Write down the bytes of a request before they are parsed."""
        handler = continuation(details)
        method, parse = details.method.rsplit("/", 1)[-1], handler.request_deserializer
        metadata = tuple((item.key, item.value) for item in details.invocation_metadata)

        def recording(raw: bytes) -> Any:
            message = parse(raw)
            recorded = self._is_recorded(method, raw, message)
            self.requests.append(
                Request(
                    method=method, raw=raw, message=message, metadata=metadata, recorded=recorded
                )
            )
            return message

        return handler._replace(request_deserializer=recording)

    def Follow(self, request: Any, context: Any) -> Iterator[Any]:
        """Stream the mailbox."""
        context.send_initial_metadata(())
        context.add_callback(self._ring)
        box, after = self._board.operator.mail[self.me], request.after
        while context.is_active():
            with self._board.bell:
                if len(box) <= after:
                    self._board.bell.wait(timeout=1)
                new = box[after:]
            for item in new:
                yield parcel(
                    Digest(item.agreement), item.kind, item.messages, item.boxes, item.sequence
                )
            after += len(new)

    def Send(self, request: Any, context: Any) -> Any:
        """Take a small message."""
        (message,) = request.envelopes
        signed = Signed(body=message.body, signature=message.signature)
        self._ask(context, lambda line: line.send(request.agreement, request.kind, signed))
        return pb.SendReply()

    def FetchPlan(self, request: Any, context: Any) -> Any:
        """Hand out a plan."""
        return envelope(
            self._ask(context, lambda line: line.fetch_plan(request.agreement, request.plan))
        )

    def BeginUpload(self, request: Any, context: Any) -> Any:
        """Take the declaration of an upload."""
        stored = StoredUpload(
            header=request.header.body,
            header_signature=request.header.signature,
            upload=request.upload.body,
            upload_signature=request.upload.signature,
            boxes=tuple(request.boxes),
            leaves=tuple(request.leaves),
        )
        name = Digest(digest("header", stored.header).hex())
        known = self._uploads.setdefault(name, (request.agreement, stored, {}))
        places = len(stored.leaves)
        lacking = set(range(places)) - {offset // chunks.CHUNK_BYTES for offset in known[2]}
        return pb.UploadState(header=name, held=chunks.bitmap(places, lacking))

    def PutChunks(self, request_iterator: Any, context: Any) -> Any:
        """Keep chunks."""
        name = ""
        for chunk in request_iterator:
            name = chunk.header
            self._uploads[name][2][chunk.offset] = chunk.data
        return pb.UploadState(header=name)

    def FinishUpload(self, request: Any, context: Any) -> Any:
        """Give the whole upload to the operator."""
        agreement, stored, taken = self._uploads[request.header]
        vector = b"".join(data for _, data in sorted(taken.items()))
        file = self._database.with_suffix(f".{request.header[:8]}.arrived")
        file.write_bytes(vector)
        return envelope(self._ask(context, lambda line: line.upload(agreement, stored, file)))

    def FetchTotal(self, request: Any, context: Any) -> Iterator[Any]:
        """Stream a sum."""
        total = self._board.operator.totals[request.round]
        for start in range(0, len(total), chunks.CHUNK_BYTES):
            yield pb.Chunk(offset=start, data=total[start : start + chunks.CHUNK_BYTES])

    def _ask(self, context: Any, question: Callable[[Line], Any]) -> Any:
        names = context.auth_context()["x509_common_name"]
        assert names == [self.me.encode()]
        with self._board.bell:
            try:
                return question(Line(self._board.operator, self.me))
            except (PeerError, KeyError) as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            finally:
                self._board.bell.notify_all()

    def _ring(self) -> None:
        with self._board.bell:
            self._board.bell.notify_all()

    def _is_recorded(self, method: str, raw: bytes, message: Any) -> bool:
        if method in ("PutChunks", "FinishUpload"):  # parts of the upload that was begun
            return message.header in self._uploads
        named = egress_name(method, raw, message)
        return any((entry.digest, entry.size_bytes) == named for entry in self.egress())

    def egress(self) -> list[Egress]:
        """Read the egress entries that are in the institution's ledger by now."""
        with sqlite3.connect(self._database, timeout=30) as connection:
            rows = connection.execute("select raw from entries order by sequence").fetchall()
        connection.close()
        public = keys_at(self._database.parent).public().entries
        bodies = [read(raw, public).body for (raw,) in rows]
        return [body for body in bodies if isinstance(body, Egress)]


def egress_name(method: str, raw: bytes, message: Any) -> tuple[Digest, int]:
    """Compute digest and size of a request as the ledger must have them, from what arrived."""
    if method == "BeginUpload":
        parts = (message.header.body, message.upload.body, *message.boxes, *message.leaves)
        size = decode(Header, message.header.body).size + sum(map(len, parts))
        return Digest(digest("egress-upload", *parts).hex()), size
    return Digest(digest("egress", raw).hex()), len(raw)


class Ca:
    """The operator's authority and its own certificate."""

    def __init__(self, path: Path) -> None:
        self._file = path / "authority.pem"
        self._authority = Authority.create(path / "authority.key", self._file, "loopback")
        self._key = ec.generate_private_key(ec.SECP256R1())
        names = ["127.0.0.1", "localhost"]
        self.server = self._authority.sign_server(self._key.public_key(), names)
        self.pin = fingerprint(self._key.public_key())

    def server_credentials(self) -> grpc.ServerCredentials:
        """Ask every caller for a certificate of this authority."""
        key = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return grpc.ssl_server_credentials(
            [(key, self.server)], self._file.read_bytes(), require_client_auth=True
        )

    def approve(self, institution: Institution) -> None:
        """Give an institution its certificate."""
        request = institution.keys.certificate_request(institution.me)
        certified = self._authority.sign_request(request)
        institution.keys.install(certified.certificate, self._file.read_bytes())


class Federation:
    """Institutions with rows of their own, an agreement that all have signed, and listeners.

    Args:
        path: short, for it holds unix sockets.
        rows: the texts of each institution.
    """

    def __init__(self, path: Path, rows: dict[InstitutionId, list[str]], tune: Tune) -> None:
        self.path = path
        self.board = Switchboard()
        self.answers: list[bytes] = []
        self.parts: dict[InstitutionId, Institution] = {}
        self.listeners: dict[InstitutionId, Listener] = {}
        self._stops: list[tuple[threading.Event, threading.Thread]] = []
        ca = Ca(path)
        for id in sorted(rows):
            listener = Listener(id, path / id / "vault.db", self.board, ca)
            settings = VaultConfig(
                id=id,
                name=id,
                jurisdiction="DE",
                server=f"127.0.0.1:{listener.port}",
                sockets=path / "s" / id,
                slot_s=0,
            )
            self.parts[id] = Institution.create(path / id, settings)
            self.listeners[id] = listener
            ca.approve(self.parts[id])
        self._keys = SigningKeys.generate()
        self._pin = ca.pin
        base = save_tiny_bert(path / "base", WORDS, hidden=32, positions=32, seed=7)
        self.agreement, self._state = self._write_agreement(self._keys, base, tune)
        self.begin(rows)

    def begin(self, rows: dict[InstitutionId, list[str]]) -> None:
        """Let all register their rows and sign, under an operator that has run no round yet."""
        self.operator = self.board.operator = Operator(self.agreement, self._keys, self._state)
        for id, part in self.parts.items():
            self.operator.ears[id] = self._witness(part)
        self._sign(self._keys, rows)

    def _witness(self, part: Institution) -> Callable[[Delivery], None]:
        """Let an institution whose daemon does not run cosign all the same."""
        cosigner = Cosigner(part, Line(self.operator, part.me).send)

        def hear(delivery: Delivery) -> None:
            if delivery.kind == pb.PARCEL_KIND_HEAD:
                cosigner.answer(self.agreement.digest, delivery.messages)

        return hear

    def _write_agreement(
        self, operator: SigningKeys, base: Path, tune: Tune
    ) -> tuple[Agreement, Any]:
        from comity_client.model.base import base_digest
        from comity_client.model.build import build

        draft = make_agreement(
            {id: part.keys.signing for id, part in self.parts.items()}, operator, rounds=2
        )
        task = replace(draft.task, labels=LABELS, max_tokens=24)
        model = replace(
            draft.model, name=str(base), base=base_digest(base), tune=tune, lora_rank=2,
            lora_alpha=4, seed=bytes(range(32)),
        )  # fmt: skip
        classifier = build(
            base, task, pooling=model.pooling, tune=tune, lora_rank=2, lora_alpha=4, seed=model.seed
        )
        state = first_state(classifier.initial_vector(), draft.aggregation)
        training = replace(draft.training, local_steps=2, sampling_probability=Decimal("0.02"))
        noise, order = calibrate(
            training.sampling_probability,
            training.local_steps * draft.schedule.attempts,
            draft.privacy.epsilon,
            draft.privacy.delta,
        )
        identity = replace(draft.operator.identity, tls=self._pin)
        agreement = replace(
            draft,
            operator=replace(draft.operator, identity=identity),
            task=task,
            institutions=tuple(
                replace(party, identity=self.parts[party.id].keys.identity)
                for party in draft.institutions
            ),
            model=replace(
                model, parameters=state.parameters.size, initial_state=state_digest(state)
            ),
            training=replace(training, noise_multiplier=noise),
            privacy=replace(draft.privacy, order=order),
        )
        return agreement, state

    def _sign(self, operator: SigningKeys, rows: dict[InstitutionId, list[str]]) -> None:
        raw, privacy = encode(self.agreement), self.agreement.privacy
        ceiling = Guarantee(epsilon=privacy.epsilon, delta=privacy.delta)
        signatures = {self.agreement.operator.id: operator.sign(Purpose.AGREEMENT, raw).signature}
        for id, part in self.parts.items():
            labels = [LABELS[k % len(LABELS)] for k in range(len(rows[id]))]
            dataset = self.register(part, list(zip(rows[id], labels, strict=True)), ceiling)
            part.data.grant(dataset, privacy.order)
            signed = part.agreements.sign(raw, part.keys, id, part.policy, dataset)
            signatures[id] = signed.signature
        for part in self.parts.values():
            part.agreements.activate(raw, signatures)
            part.keep_card(operator.sign(Purpose.CARD, encode(self._card(part))))

    def register(
        self,
        part: Institution,
        rows: Iterable[tuple[str, str]],
        ceiling: Guarantee,
        name: str = "rows",
    ) -> DatasetId:
        """Write texts with labels into a file, and register it."""
        file = self.path / f"{part.me}-{name}.jsonl"
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        file.write_text("\n".join(lines) + "\n")
        return part.data.register(
            file, name=name, task=TaskKind.SEQUENCE_CLASSIFICATION, ceiling=ceiling
        )

    def _card(self, part: Institution) -> OperatorCard:
        return OperatorCard(
            version=PROTOCOL_VERSION,
            operator=self.agreement.operator,
            transfer=part.config.server,
            gate="",
            institution=part.me,
            jurisdiction="DE",
            expires=0,
            now=0,
        )

    def stop(self) -> None:
        """Stop the daemons that were started here."""
        for stop, _ in self._stops:
            stop.set()
        for _, thread in self._stops:
            thread.join(PATIENCE_S)
        self._stops.clear()

    def close(self) -> None:
        """Stop everything that was started here."""
        self.stop()
        for listener in self.listeners.values():
            listener.close()

    def start(
        self,
        id: InstitutionId,
        on_phase: OnPhase = lambda name, round: None,
        self_test: bool = False,
        set_up: SetUp = untried,
    ) -> threading.Thread:
        """Run an institution's daemon in a thread.

        Args:
            self_test: whether it tries its machinery out first, which takes seconds.
            set_up: builds what trains, where it does not.
        """
        stop = threading.Event()
        self.operator.ears.pop(id, None)  # from now on its daemon hears what witnesses say
        set_up = set_up_workbench if self_test else set_up
        daemon = Daemon(Institution(self.parts[id].home.path), on_phase, set_up)

        def work() -> None:
            daemon.run(stop)
            daemon.close()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._stops.append((stop, thread))
        return thread

    def ask(self, id: InstitutionId, name: str, question: dict[str, Any]) -> dict[str, Any]:
        """Ask a question on one of a vault's unix sockets; keep the line that came back."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.path / "s" / id / f"{name}.sock"))
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
        self.answers.append(line)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def order(self, id: InstitutionId, plan: Plan) -> dict[str, Any]:
        """Bring an order, as Flower's ClientApp does."""
        return self.ask(
            id,
            "orders",
            {
                "agreement": self.agreement.digest,
                "round": plan.round,
                "plan": plan_digest(plan),
            },
        )

    def set_up_keys(self) -> None:
        """Wait for all vaults and run a key epoch with them."""
        for listener in self.listeners.values():
            self.is_ready(listener)
        with self.board.bell:
            self.operator.open_epoch(1)
            self.board.bell.notify_all()
        for part in self.parts.values():
            until(
                f"the key epoch of {part.me}",
                lambda part=part: part.epochs.current(self.agreement.digest)[0] == 1,
            )

    def is_ready(self, listener: Listener) -> None:
        """Wait until a vault says that it has loaded the agreement's model and data."""
        until(
            f"readiness of {listener.me}",
            lambda: any(
                request.method == "Follow" and request.message.ready == self.agreement.digest
                for request in listener.requests
            ),
        )

    def listens(self, listener: Listener, method: str, count: int) -> None:
        """Wait until a listener has heard a method so often, watching the control socket."""

        def heard() -> bool:
            if (self.path / "s" / listener.me / "control.sock").exists():
                self.ask(listener.me, "control", {})
            return self.heard(listener, method) >= count

        until(f"{method} of {listener.me}", heard)

    def heard(self, listener: Listener, method: str) -> int:
        """Count how often a listener has heard a method by now."""
        return sum(request.method == method for request in listener.requests)

    def run_round(self) -> Plan:
        """Take all vaults through a whole round."""
        roster = list(self.agreement.roster)
        before = {
            id: self.heard(listener, "FinishUpload") for id, listener in self.listeners.items()
        }
        with self.board.bell:
            plan = self.operator.begin_round(roster)
        for id in roster:
            assert self.order(id, plan) == {"accepted": True, "code": ""}
        for id, listener in self.listeners.items():
            self.listens(listener, "FinishUpload", before[id] + 1)
        collector = self.operator.collector
        until("all uploads", lambda: collector.stage is Stage.REVEALING)
        with self.board.bell:
            self.operator.ask_reveals()
            self.board.bell.notify_all()
        until("the reveals", lambda: collector.stage is Stage.SUMMING)
        with self.board.bell:
            self.operator.certify()
            self.board.bell.notify_all()
        until("the endorsements", lambda: len(self.operator.endorsements) == len(roster))
        return plan

    def sent(self) -> dict[InstitutionId, dict[str, list[Request]]]:
        """Return all requests of each institution, by method."""
        sorted_: dict[InstitutionId, dict[str, list[Request]]] = {}
        for id, listener in self.listeners.items():
            by_method = defaultdict(list)
            for request in listener.requests:
                by_method[request.method].append(request)
            sorted_[id] = by_method
        return sorted_
