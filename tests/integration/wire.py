"""A wire between an institution and its operator that counts what passes, on its own.

It ends the TLS of both sides, with the operator's key towards the institution and the institution's
key towards the operator, which only a test has. It knows of the protocol what it must to give a
message its name and to put an upload together, and nothing of any ledger: sizes and digests are
computed here by hand from the bytes of each request.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from comity.v1 import transfer_pb2 as pb
from comity_common.membership import USER_AGENT
from comity_server.home import Home

NAMES = {
    "Follow": "follow",
    "FetchPlan": "fetch-plan",
    "FetchTotal": "fetch-total",
    "FetchModel": "fetch-model",
    "FetchAgreements": "fetch-agreements",
}
Passed = tuple[str, int, str]
"""Name, size in bytes, and digest in hexadecimal."""


class CountingWire(grpc.GenericRpcHandler):
    """One institution's way to the operator.

    Attributes:
        passed: every message, as often as it passed.
        port: where the institution calls.
    """

    def __init__(self, home: Home, institution: Path, operator: str) -> None:
        self.passed: Counter[Passed] = Counter()
        self._home, self._institution, self._operator = home, institution, operator
        self._lock = threading.Lock()
        self._vectors: dict[str, tuple[bytes, list[bytes], dict[int, int]]] = {}
        self._channel: grpc.Channel | None = None
        self._server = grpc.server(ThreadPoolExecutor(32), handlers=[self])
        credentials = grpc.ssl_server_credentials(
            [(home.tls_key.read_bytes(), home.certificate.read_bytes())],
            root_certificates=home.authority.read_bytes(),
            require_client_auth=True,
        )
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def close(self) -> None:
        """Cut it."""
        self._server.stop(0)
        if self._channel is not None:
            self._channel.close()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Carry any method, as bytes."""
        path = details.method
        name = path.rsplit("/", 1)[-1]

        def carry(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            upstream = self._upstream().stream_stream(path)(self._counted(name, requests))
            context.add_callback(upstream.cancel)
            try:
                context.send_initial_metadata(())
                yield from upstream
            except grpc.RpcError as error:
                if not isinstance(error, grpc.Call):  # the institution has gone
                    return
                context.abort(error.code(), error.details())

        return grpc.stream_stream_rpc_method_handler(carry)

    def _counted(self, name: str, requests: Iterator[bytes]) -> Iterator[bytes]:
        for raw in requests:
            with self._lock:
                self._count(name, raw)
            yield raw

    def _count(self, name: str, raw: bytes) -> None:
        if name in NAMES:
            self.passed[(NAMES[name], len(raw), _digest("egress", raw))] += 1
        elif name == "Send":
            kind = pb.ParcelKind.Name(pb.Parcel.FromString(raw).kind).lower()
            self.passed[(kind, len(raw), _digest("egress", raw))] += 1
        elif name == "BeginUpload":
            request = pb.BeginUploadRequest.FromString(raw)
            header, upload = request.header.body, request.upload.body
            parts = [header, upload, *request.boxes, *request.leaves]
            named = _digest("header", header)
            self._vectors.setdefault(named, (header, parts, {}))
        elif name == "PutChunks":
            chunk = pb.Chunk.FromString(raw)
            self._vectors[chunk.header][2][chunk.offset] = len(chunk.data)
        elif name == "FinishUpload":
            named = pb.FinishUploadRequest.FromString(raw).header
            _, parts, pieces = self._vectors[named]
            size = sum(map(len, parts)) + sum(pieces.values())
            key = ("upload", size, _digest("egress-upload", *parts))
            self.passed[key] = 1  # told twice, it is the same upload

    def _upstream(self) -> grpc.Channel:
        with self._lock:
            if self._channel is None:
                keys = self._institution / "keys"
                credentials = grpc.ssl_channel_credentials(
                    self._home.authority.read_bytes(),
                    (keys / "tls.key").read_bytes(),
                    (keys / "tls.pem").read_bytes(),
                )
                options = (
                    ("grpc.primary_user_agent", USER_AGENT),
                    ("grpc.ssl_target_name_override", "localhost"),
                )
                self._channel = grpc.secure_channel(self._operator, credentials, options=options)
            return self._channel


def _digest(label: str, *parts: bytes) -> str:
    """SHA-256 over the label and each part, every one after its length."""
    whole = hashlib.sha256()
    for part in (b"comity-sum/1/" + label.encode(), *parts):
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()
