"""All targets by name, the table of them for people, and the check that nothing is left out."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from comity.v1 import coordination_pb2, enrolment_pb2, transfer_pb2

from . import files, ledgers, messages, operator, vault
from .target import Target

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "fuzzing.md"
BEGIN, END = "<!-- table:readers -->\n", "<!-- end -->"

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (messages, operator, vault, files, ledgers)
    for target in module.TARGETS
}

PARSERS = frozenset(
    {
        "loads", "FromString", "load_pem_x509_certificate", "load_der_x509_certificate",
        "load_pem_x509_csr", "ZipFile", "frombuffer", "reader", "urlsplit", "b64decode", "readline",
        "from_public_bytes", "model_validate_json", "MergeFromString", "ParseFromString",
    }
)  # fmt: skip
"""Calls that turn bytes or text into something else."""

OWN: dict[str, str] = {
    "client/comity_client/cli/agreement.py:loads": "bytes that `decode` has read",
    "client/comity_client/epochs.py:loads": "the vault's own store",
    "client/comity_client/model/families.py:loads": "the model's own directory",
    "client/comity_client/training/adam.py:frombuffer": "the vault's own moments",
    "common/comity_audit/nextmodel.py:frombuffer": "pieces of a checked size, see stored-round",
    "common/comity_audit/report/evidence.py:loads": "the program's own tables",
    "common/comity_audit/report/page/voice.py:loads": "the program's own tables",
    "common/comity_common/canonical.py:loads": "every message-… target",
    "common/comity_common/canonical.py:b64decode": "every message-… target",
    "common/comity_common/secagg/masking.py:frombuffer": "the own vector",
    "common/comity_common/secagg/packing.py:frombuffer": "where the own lanes are written",
    "common/comity_common/secagg/summing.py:frombuffer": "chunks that their header promised",
    "common/comity_host/checks/certificates.py:load_pem_x509_certificate": "the own certificate",
    "common/comity_host/service.py:loads": "the own process's log",
    "common/comity_host/service.py:model_validate_json": "the own service's record",
    "server/comity_server/authority.py:load_pem_x509_certificate": "own files; client-certificate",
    "server/comity_server/cli/agreement.py:loads": "bytes that `encode` has written",
    "server/comity_server/coordination.py:loads": "the own daemon's answer",
    "server/comity_server/flower/superlink.py:loads": "the own SuperLink's answer",
    "server/comity_server/mailbox.py:FromString": "the own store",
    "server/comity_server/proposing.py:loads": "the own tool's answer",
    "server/comity_server/proposing.py:model_validate_json": "the own tool's file",
}
"""Places that need no target of their own, and why."""


def to_be_covered() -> set[str]:
    """Name everything that must stand in some target's `covers`."""
    places = {place for place in _places() if place not in OWN}
    calls = {
        f"{service.name}.{method.name}"
        for file in (transfer_pb2, enrolment_pb2, coordination_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    parcels = set(transfer_pb2.ParcelKind.keys()) - {"PARCEL_KIND_UNSPECIFIED"}
    return places | calls | parcels | _decoded() | {kind.__name__ for kind in messages.KINDS}


def covered() -> set[str]:
    """Name everything that stands in some target's `covers`."""
    return {name for target in TARGETS.values() for name in target.covers}


def table() -> str:
    """Write the targets as a Markdown table, message kinds in one row."""
    rows = ["| target | reads by | who can send it | the one error |", "|---|---|---|---|"]
    kinds = [one for one in TARGETS.values() if one.name.startswith("message-")]
    others = [one for one in TARGETS.values() if one not in kinds]
    errors = "`PeerError`"
    names = ", ".join(f"`{one.name.removeprefix('message-')}`" for one in kinds)
    rows.append(
        f"| `message-KIND` for {names} | `canonical.decode` | whoever sends it | {errors} |"
    )
    for one in others:
        errors = ", ".join(f"`{error.__name__}`" for error in one.errors)
        rows.append(f"| `{one.name}` | `{one.reader}` | {one.sender} | {errors} |")
    return "\n".join(rows) + "\n"


def rewritten(text: str) -> str:
    """Return the document with the present table in it."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + begin + table() + end + after


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for top in ("client", "common", "server"):
        for path in sorted((ROOT / top).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


@cache
def _calls() -> tuple[tuple[str, str, ast.Call], ...]:
    """Find every call in the code: the file, the name that is called, the call."""
    found = []
    for name, module in _modules():
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                called = node.func.id if isinstance(node.func, ast.Name) else called
                found.append((name, called, node))
    return tuple(found)


def _places() -> set[str]:
    return {f"{name}:{called}" for name, called, _ in _calls() if called in PARSERS}


def _decoded() -> set[str]:
    """Name every type that is given to `canonical.decode` by name."""
    return {
        node.args[0].id
        for _, called, node in _calls()
        if called == "decode" and node.args and isinstance(node.args[0], ast.Name)
        and node.args[0].id[:1].isupper()
    }  # fmt: skip
