"""Flower's own daemons between an in-test coordinator and in-test vaults, with TLS and node keys.

Everything between `NextOrder` and a vault's socket is real: SuperLink, SuperExec, gate, SuperNodes
and the two thin apps, each in its own process on loopback. Parts are killed with -9.
"""

import contextlib
import datetime
import ipaddress
import json
import queue
import socket
import socketserver
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from comity.v1 import coordination_pb2 as pb
from comity.v1.coordination_pb2_grpc import (
    CoordinationServicer,
    add_CoordinationServicer_to_server,
)
from comity_client.flower.supernode import SuperNode, make_node_key
from comity_common.errors import LocalError
from comity_host.ports import HeldPorts
from comity_host.supervisor import Process, Supervisor
from comity_server.flower.gate import GateTerms
from comity_server.flower.superlink import SuperLink

pytestmark = pytest.mark.e2e

AGREEMENT = "ab" * 32
OFF = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}


def make_certificates(directory: Path) -> tuple[Path, Path, Path]:
    """Make an authority and a certificate for 127.0.0.1; return authority, certificate, key."""
    now = datetime.datetime.now(datetime.UTC)

    def certificate(
        name: str, issuer: str, public: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        def distinguished(common: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])

        return (
            x509.CertificateBuilder()
            .subject_name(distinguished(name))
            .issuer_name(distinguished(issuer))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), True)
        )

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    signed = certificate("root", "root", root.public_key()).sign(root, hashes.SHA256())
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    served = (
        certificate("server", "root", leaf.public_key())
        .add_extension(x509.SubjectAlternativeName(names), False)
        .sign(root, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    paths = directory / "ca.pem", directory / "server.pem", directory / "server.key"
    paths[0].write_bytes(signed.public_bytes(pem))
    paths[1].write_bytes(served.public_bytes(pem))
    paths[2].write_bytes(
        leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


class Coordinator(CoordinationServicer):
    """The operator's daemon as Flower's ServerApp sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.orders: queue.Queue[pb.NextOrderReply] = queue.Queue()
        self.acknowledgements: queue.Queue[pb.Acknowledgement] = queue.Queue()
        self.online: set[int] = set()
        self.heard: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        self.server = grpc.server(ThreadPoolExecutor(8))
        add_CoordinationServicer_to_server(self, self.server)
        self.server.add_insecure_port(f"unix:{self.path}")
        self.server.start()

    def NextOrder(self, request: pb.NextOrderRequest, context: Any) -> pb.NextOrderReply:
        self.heard[request.flower_run] = time.monotonic()
        self.online = set(request.online_nodes)
        with contextlib.suppress(queue.Empty):
            return self.orders.get(timeout=1.0)
        return pb.NextOrderReply()

    def Acknowledge(self, request: pb.Acknowledgement, context: Any) -> pb.AcknowledgeReply:
        self.acknowledgements.put(request)
        return pb.AcknowledgeReply()

    def Status(self, request: pb.StatusRequest, context: Any) -> pb.StatusReply:
        return pb.StatusReply()

    def order(self, number: int, nodes: list[int], within_s: float = 60.0) -> str:
        plan = f"{number:064x}"
        order = pb.Order(
            agreement=AGREEMENT,
            round=number,
            plan=plan,
            nodes=nodes,
            acknowledge_within_s=within_s,
        )
        self.orders.put(pb.NextOrderReply(order=order))
        return plan

    def answers(self, count: int, timeout_s: float = 90.0) -> dict[int, pb.Acknowledgement]:
        end = time.monotonic() + timeout_s
        got = [
            self.acknowledgements.get(timeout=max(0.0, end - time.monotonic()))
            for _ in range(count)
        ]
        return {each.node: each for each in got}


class Vault(socketserver.ThreadingUnixStreamServer):
    """A vault that answers every order with what it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer: dict[str, object] = {"accepted": True, "code": ""}
        self.orders: list[dict[str, object]] = []
        super().__init__(str(path), _Connection)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def has(self, plan: str) -> bool:
        """Tell whether an order to this plan has come."""
        return any(order["plan"] == plan for order in self.orders)


class _Connection(socketserver.StreamRequestHandler):
    server: Vault

    def handle(self) -> None:
        self.server.orders.append(json.loads(self.rfile.readline()))
        self.wfile.write(json.dumps(self.server.answer).encode() + b"\n")


class Federation:
    """One operator and two institutions."""

    def __init__(self, directory: Path, supervisor: Supervisor, ports: HeldPorts) -> None:
        self.directory = directory
        self.supervisor = supervisor
        self.authority, certificate, key = make_certificates(directory)
        self.coordinator = Coordinator(directory / "coordinator.sock")
        link_port, gate_port, *node_ports = ports.numbers
        self.link = SuperLink(
            home=directory / "superlink",
            port=link_port,
            certificate=certificate,
            key=key,
            authority=self.authority,
            coordinator=self.coordinator.path,
        )
        self.link.prepare()
        self.gate = GateTerms(
            host="127.0.0.1",
            port=gate_port,
            certificate=certificate,
            key=key,
            superlink=self.link.address,
            authority=self.authority,
        )
        command = self.link.superlink_command()
        ports.release(link_port)
        self.start("superlink", command.argv, dict(command.env), restart_after_s=0.0)
        ports.release(gate_port)
        self.start("gate", self.gate.argv(), {}, restart_after_s=0.0)
        self.until_listening(link_port)
        self.until_listening(gate_port)
        self.nodes: list[int] = []
        self.vaults: list[Vault] = []
        for number, port in enumerate(node_ports):
            home = directory / f"node{number}"
            home.mkdir()
            private = make_node_key(home)
            self.nodes.append(self.link.register_node(private.with_suffix(".pub")))
            self.vaults.append(Vault(home / "vault.sock"))
            node = SuperNode(
                home=home,
                gate=f"127.0.0.1:{gate_port}",
                authority=self.authority,
                key=private,
                vault=self.vaults[-1].path,
                port=ports.release(port),
            )
            node.prepare()
            node_command = node.command()
            self.start(f"node{number}", node_command.argv, dict(node_command.env), 70.0)
        command = self.link.superexec_command()
        self.start("superexec", command.argv, dict(command.env), restart_after_s=0.0)
        self.run = self.link.start_run()
        self.until(lambda: self.coordinator.online == set(self.nodes), 60.0)

    def start(
        self, name: str, argv: tuple[str, ...], env: dict[str, str], restart_after_s: float
    ) -> None:
        self.supervisor.start(
            Process(
                name=name,
                argv=argv,
                env=env,
                cwd=self.directory,
                log=self.directory / f"{name}.log",
                restart_after_s=restart_after_s,
            )
        )

    def until_listening(self, port: int) -> None:
        def listens() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                return True
            return False

        self.until(listens, 60.0)

    def until(self, true: Callable[[], object], timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.05)

    def lose_first_message_of(self, round_number: int) -> None:
        """Have a round's first message marked as delivered from its first moment on.

        That is what a SuperLink leaves behind that is killed while it hands a message out.
        """
        trigger = f"""
            create trigger lost after insert on message_ins
            when new.group_id = '{round_number}'
                and (select count(*) from message_ins where group_id = new.group_id) = 1
            begin
                update message_ins set delivered_at = created_at
                where message_id = new.message_id;
            end
        """
        with contextlib.closing(sqlite3.connect(self.link.home / "superlink.db")) as database:
            database.execute(trigger)
            database.commit()

    def messages_of(self, round_number: int) -> int:
        """Count the messages that the SuperLink was given for a round and still holds."""
        count = "select count(*) from message_ins where group_id = ?"
        with contextlib.closing(sqlite3.connect(self.link.home / "superlink.db")) as database:
            (number,) = database.execute(count, (str(round_number),)).fetchone()
        return int(number)

    def serverapp(self) -> psutil.Process:
        (superexec,) = [p for p in [self.supervisor.pid("superexec")] if p is not None]
        (app,) = [
            p
            for p in psutil.Process(superexec).children()
            if p.status() != psutil.STATUS_ZOMBIE and "flwr-serverapp" in " ".join(p.cmdline())
        ]
        return app


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    directory = tmp_path_factory.mktemp("flower")
    with HeldPorts(4) as ports, Supervisor() as supervisor:
        yield Federation(directory, supervisor, ports)


def test_an_order_reaches_every_vault_and_their_answers_come_back(federation: Federation) -> None:
    plan = federation.coordinator.order(1, federation.nodes)
    answers = federation.coordinator.answers(2)
    assert set(answers) == set(federation.nodes)
    for answer in answers.values():
        assert (answer.round, answer.plan, answer.accepted, answer.code) == (1, plan, True, "")
    for vault in federation.vaults:
        assert vault.orders == [{"agreement": AGREEMENT, "round": 1, "plan": plan}]


def test_a_refusal_comes_back_with_its_code_and_a_silent_vault_as_unavailable(
    federation: Federation,
) -> None:
    first, second = federation.vaults
    first.answer = {"accepted": False, "code": "budget"}
    second.answer = {"accepted": True, "code": "", "loss": 0.25}  # more than the closed list
    federation.coordinator.order(2, federation.nodes)
    answers = federation.coordinator.answers(2)
    first.answer = second.answer = {"accepted": True, "code": ""}
    got = [(answers[node].accepted, answers[node].code) for node in federation.nodes]
    assert got == [(False, "budget"), (False, "unavailable")]


def test_an_order_that_is_under_way_is_not_sent_twice(federation: Federation) -> None:
    plan = federation.coordinator.order(10, federation.nodes)
    federation.coordinator.order(10, federation.nodes)
    assert set(federation.coordinator.answers(2)) == set(federation.nodes)
    federation.until(federation.coordinator.orders.empty, 10.0)
    for vault in federation.vaults:
        assert [order["plan"] for order in vault.orders].count(plan) == 1


def test_a_node_that_nobody_registered_is_unreachable_at_once(federation: Federation) -> None:
    federation.coordinator.order(3, [12345])
    (answer,) = federation.coordinator.answers(1, timeout_s=10.0).values()
    assert (answer.node, answer.accepted, answer.code) == (12345, False, "unreachable")


def test_a_newer_round_does_not_wait_for_a_node_that_hangs(federation: Federation) -> None:
    federation.supervisor.pause("node1")
    try:
        federation.coordinator.order(4, federation.nodes[1:], within_s=12.0)
        federation.coordinator.order(5, federation.nodes[:1])
        (newer,) = federation.coordinator.answers(1).values()
        assert (newer.node, newer.round, newer.accepted) == (federation.nodes[0], 5, True)
        (older,) = federation.coordinator.answers(1).values()
        assert (older.node, older.round, older.code) == (federation.nodes[1], 4, "unreachable")
    finally:
        federation.supervisor.resume("node1")


@pytest.mark.parametrize(
    "target",
    [
        "/v1/control/start-run",
        "/v1/control/list-nodes",
        "/v1/runtime/acquire-task",
        "/v1/fleet/register-node",
        "/v1/fleet/../control/list-nodes",
        "/v1/fleet/%2e%2e/control/list-nodes",
        "/v1/fleet/pull-messages/../../control/list-nodes",
        "/v1/fleet/pull-messages/",
        "/v1/fleet//pull-messages",
        "//v1/fleet/pull-messages",
        "/v1/fleet/pull-messages?x=1",
        "/v1/fleet/pull%2dmessages",
        "/V1/fleet/pull-messages",
        "/docs",
        "/",
    ],
)
def test_the_gate_answers_404_to_everything_but_the_fleet_calls(
    federation: Federation, target: str
) -> None:
    assert raw_post(federation, federation.gate.port, target) == 404


def test_the_gate_forwards_only_posts_and_the_superlink_still_asks_for_the_node_key(
    federation: Federation,
) -> None:
    call = "/v1/fleet/pull-messages"
    assert raw_post(federation, federation.gate.port, call, method="GET") == 404
    assert raw_post(federation, federation.gate.port, call) == 401
    # The door is needed: behind it, a call of the Control API asks for nothing.
    assert raw_post(federation, federation.link.port, "/v1/control/list-nodes") == 200


def raw_post(federation: Federation, port: int, target: str, method: str = "POST") -> int:
    """Send a request line as it is, which no client library would do, and return the status."""
    context = ssl.create_default_context(cafile=str(federation.authority))
    with (
        socket.create_connection(("127.0.0.1", port), 10.0) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        head = f"{method} {target} HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n"
        kind = "Content-Type: application/protobuf\r\nConnection: close\r\n\r\n"
        connection.sendall((head + kind).encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_the_gate_refuses_a_body_beyond_its_bound(federation: Federation) -> None:
    context = ssl.create_default_context(cafile=str(federation.authority))
    url = f"https://127.0.0.1:{federation.gate.port}/v1/fleet/push-object"
    with httpx.Client(verify=context, trust_env=False) as client:
        assert client.post(url, content=b"x" * (65 << 10)).status_code == 413


def test_the_daemons_own_restart_is_ridden_out(federation: Federation) -> None:
    app = federation.serverapp()
    federation.coordinator.server.stop(None)
    time.sleep(2.0)
    federation.coordinator.start()
    federation.coordinator.order(6, federation.nodes)
    assert all(answer.accepted for answer in federation.coordinator.answers(2).values())
    assert federation.serverapp().pid == app.pid


def test_after_a_kill_of_the_serverapp_a_new_run_goes_on(federation: Federation) -> None:
    federation.serverapp().kill()
    run = federation.link.start_run()
    assert run != federation.run
    federation.until(lambda: run in federation.coordinator.heard, 60.0)
    federation.coordinator.order(7, federation.nodes)
    assert all(answer.accepted for answer in federation.coordinator.answers(2).values())


def test_a_killed_superlink_comes_back_and_the_run_goes_on(federation: Federation) -> None:
    app = federation.serverapp()
    plan = federation.coordinator.order(8, federation.nodes)
    # Earlier, a message may be half pushed: that ends the run, and the daemon starts another.
    federation.until(lambda: any(vault.has(plan) for vault in federation.vaults), 60.0)
    federation.supervisor.kill("superlink")
    assert all(answer.accepted for answer in federation.coordinator.answers(2).values())
    federation.coordinator.order(9, federation.nodes)
    assert all(answer.accepted for answer in federation.coordinator.answers(2).values())
    assert federation.supervisor.restarts("superlink") == 1
    assert federation.serverapp().pid == app.pid


def test_an_order_that_was_lost_on_its_way_is_sent_once_more(federation: Federation) -> None:
    node, vault = federation.nodes[1], federation.vaults[1]
    federation.lose_first_message_of(11)
    plan = federation.coordinator.order(11, [node], within_s=20.0)
    ((_, answer),) = federation.coordinator.answers(1).items()
    assert (answer.node, answer.plan, answer.accepted) == (node, plan, True)
    assert [order["plan"] for order in vault.orders].count(plan) == 1
    assert federation.messages_of(11) == 1  # the lost one, which nobody has answered


def test_no_process_reports_home_and_none_gets_more_of_our_environment(
    federation: Federation,
) -> None:
    for name in ("superlink", "superexec", "node0", "node1"):
        pid = federation.supervisor.pid(name)
        assert pid is not None
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        read = 0
        for process in family:
            with contextlib.suppress(psutil.AccessDenied, psutil.ZombieProcess):
                env = process.environ()
                read += 1
                assert OFF.items() <= env.items()
                assert "PYTEST_CURRENT_TEST" not in env
        # A superexec hides its environment from others, what it starts does not.
        assert read or name == "superexec"


def test_a_call_that_flower_refuses_is_a_local_error_that_says_why(federation: Federation) -> None:
    with pytest.raises(LocalError, match=r"flwr stop to succeed, it says: .*Run ID not found"):
        federation.link.stop_run("12345")


def test_a_key_registered_before_a_crash_is_found_again_unless_it_is_a_known_nodes(
    federation: Federation,
) -> None:
    key = federation.directory / "node0" / "node.pub"
    ours, other = federation.nodes
    assert federation.link.register_node(key, known=[other]) == ours
    with pytest.raises(LocalError, match="Public key already in use"):
        federation.link.register_node(key, known=[ours, other])


def test_the_serverapp_ends_when_the_daemon_says_that_the_run_is_over(
    federation: Federation,
) -> None:
    app = federation.serverapp()
    federation.coordinator.orders.put(pb.NextOrderReply(finished=True))
    federation.until(lambda: not app.is_running() or app.status() == psutil.STATUS_ZOMBIE, 30.0)
