"""What leaves a vault, byte by byte: a closed list, on the ledger first, and nothing of a row.

Three real daemons train a real BERT on planted rows and speak gRPC over mutual TLS to listeners
that write down every request. One key epoch, one whole round, and one order that is declined.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from tests.integration.loopback import WORDS, Federation, Request, egress_name, until

import comity_client.contributions
import comity_client.daemon
from comity.v1 import transfer_pb2 as pb
from comity_client.workbench import Workbench
from comity_common import chunks
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, verify
from comity_common.errors import RefusalCode
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import BudgetReserve, Egress, Traffic
from comity_common.ledger.witness import Cosignature, HeadRequest
from comity_common.secagg.masking import vector_bytes
from comity_common.secagg.messages import (
    Decline,
    Endorsement,
    EpochHalves,
    EpochKey,
    EpochView,
    Header,
    Reveal,
    Upload,
)
from comity_common.secagg.participant import header_digest
from comity_common.secagg.plan import plan_digest
from comity_common.tuning import Tune

ROWS = {"inst-00": 1409, "inst-01": 1523, "inst-02": 1637}
SMALL_MESSAGES = {
    pb.PARCEL_KIND_EPOCH_KEYS: (EpochKey, Purpose.EPOCH_KEY),
    pb.PARCEL_KIND_EPOCH_HALVES: (EpochHalves, Purpose.EPOCH_HALVES),
    pb.PARCEL_KIND_EPOCH_VIEWS: (EpochView, Purpose.EPOCH_VIEW),
    pb.PARCEL_KIND_REVEAL: (Reveal, Purpose.REVEAL),
    pb.PARCEL_KIND_ENDORSEMENT: (Endorsement, Purpose.ENDORSEMENT),
    pb.PARCEL_KIND_DECLINE: (Decline, Purpose.DECLINE),
    pb.PARCEL_KIND_HEAD: (HeadRequest, Purpose.HEAD),
    pb.PARCEL_KIND_COSIGNATURE: (Cosignature, Purpose.COSIGNATURE),
}
HEX = re.compile("[0-9a-f]{64}")


def planted(id: str, count: int) -> list[str]:
    """Write rows of known words, so that their token ids say something."""
    chance = np.random.default_rng(count)
    return [" ".join(chance.choice(WORDS, 6)) + f" {id} row {k}" for k in range(count)]


class Seen(SimpleNamespace):
    """What the spies inside the vaults saw: deltas, quantised lanes, token ids."""


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Run the federation once; every test looks at the same crossing."""
    seen = Seen(deltas=[], lanes=[], tokens=[])
    train, quantised = Workbench.train, comity_client.contributions.quantised

    def spying_train(self: Workbench, *arguments: Any) -> Any:
        delta, moments = train(self, *arguments)
        seen.deltas.append(delta.copy())
        return delta, moments

    def spying_quantised(*arguments: Any) -> Any:
        windows = [window.copy() for window in quantised(*arguments)]
        seen.lanes.append(np.concatenate(windows))
        return iter(windows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workbench, "train", spying_train)
        patch.setattr(comity_client.contributions, "quantised", spying_quantised)
        patch.setattr(comity_client.daemon, "IDLE_S", 0.02)
        rows = {InstitutionId(id): planted(id, count) for id, count in ROWS.items()}
        federation = Federation(tmp_path_factory.mktemp("v"), rows, Tune.FULL)
        for id in rows:
            federation.start(id)
        try:
            federation.set_up_keys()
            federation.run_round()
            _order_what_nobody_may_accept(federation)
        finally:
            federation.close()
    seen.tokens = _token_ids(federation, rows)
    return SimpleNamespace(
        federation=federation,
        rows=rows,
        seen=seen,
        sent=federation.sent(),
        everything=[r for listener in federation.listeners.values() for r in listener.requests],
        patterns=planted_patterns(rows, seen.tokens),
    )


def _order_what_nobody_may_accept(federation: Federation) -> None:
    operator, victim = federation.operator, federation.agreement.roster[0]
    plan = operator.begin_round(list(federation.agreement.roster))
    greedy = replace(plan, noise_multiplier=Decimal("0.001"))
    operator.plans[plan_digest(greedy)] = operator.keys.sign(Purpose.PLAN, encode(greedy))
    requests = federation.listeners[victim].requests
    before = len(requests)
    assert federation.order(victim, greedy)["accepted"]
    until("the refusal", lambda: pb.PARCEL_KIND_DECLINE in map(_kind, requests[before:]))
    assert federation.order(victim, replace(plan, round=1000)) == {
        "accepted": False,
        "code": "plan",
    }
    others = [r for r in requests[before:] if _kind(r) != pb.PARCEL_KIND_COSIGNATURE]
    assert [(r.method, _kind(r)) for r in others] == [
        ("FetchPlan", None),
        ("Send", pb.PARCEL_KIND_DECLINE),
    ]


def _kind(request: Request) -> int | None:
    return request.message.kind if request.method == "Send" else None


def _token_ids(federation: Federation, rows: dict[InstitutionId, list[str]]) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(federation.path / "base", local_files_only=True)
    return [ids for texts in rows.values() for ids in tokenizer(texts)["input_ids"]]


def the_vectors(sent: dict[str, list[Request]]) -> list[bytes]:
    """Put the masked vectors of one institution together."""
    vectors: dict[str, dict[int, bytes]] = defaultdict(dict)
    for request in sent["PutChunks"]:
        vectors[request.message.header][request.message.offset] = request.message.data
    return [b"".join(data for _, data in sorted(taken.items())) for taken in vectors.values()]


def bodies(request: Request) -> list[tuple[Any, Any, Purpose]]:
    """Decode what is signed in a request: the message, its envelope and its purpose."""
    if request.method == "Send":
        kind, purpose = SMALL_MESSAGES[request.message.kind]
        (item,) = request.message.envelopes
        return [(decode(kind, item.body), item, purpose)]
    if request.method == "BeginUpload":
        return [
            (decode(Header, request.message.header.body), request.message.header, Purpose.HEADER),
            (decode(Upload, request.message.upload.body), request.message.upload, Purpose.UPLOAD),
        ]
    return []


def values(tree: Any) -> Iterator[Any]:
    """Go through every value of a decoded message."""
    if is_dataclass(tree):
        for item in fields(tree):
            yield from values(getattr(tree, item.name))
    elif isinstance(tree, tuple | list):
        for item in tree:
            yield from values(item)
    elif isinstance(tree, dict):
        for key, item in tree.items():
            yield key
            yield from values(item)
    else:
        yield tree


def carried(message: Any) -> Iterator[Any]:
    """Go through every plain value of a protobuf message."""
    for descriptor, value in message.ListFields():
        items = value if descriptor.is_repeated else [value]
        for item in items:
            if descriptor.type == descriptor.TYPE_MESSAGE:
                yield from carried(item)
            else:
                yield item


def unknown_fields(message: Any) -> int:
    """Count fields that the schema does not know, at any depth."""
    count = len(UnknownFieldSet(message))
    for descriptor, value in message.ListFields():
        if descriptor.type == descriptor.TYPE_MESSAGE:
            items = value if descriptor.is_repeated else [value]
            count += sum(unknown_fields(item) for item in items)
    return count


# (a) a closed list


def test_the_walk_sent_every_kind_of_request_and_message(crossing: SimpleNamespace) -> None:
    assert {request.method for request in crossing.everything} == {
        "Follow", "Send", "FetchPlan", "BeginUpload", "PutChunks", "FinishUpload", "FetchTotal",
    }  # fmt: skip
    kinds = {r.message.kind for r in crossing.everything if r.method == "Send"}
    assert kinds == set(SMALL_MESSAGES)


def test_no_request_has_a_field_that_the_schema_does_not_know(crossing: SimpleNamespace) -> None:
    for request in crossing.everything:
        assert unknown_fields(request.message) == 0, request.method
        canonical = type(request.message).FromString(request.raw)
        assert canonical.SerializeToString(deterministic=True) == request.raw


def test_a_field_that_the_schema_does_not_know_would_be_seen() -> None:
    raw = pb.FollowRequest(after=1).SerializeToString() + b"\x92\x06\x09row count"
    assert unknown_fields(pb.FollowRequest.FromString(raw)) == 1
    nested = pb.Parcel(envelopes=[pb.Envelope.FromString(b"\x92\x06\x04rows")])
    assert unknown_fields(nested) == 1


def test_every_small_message_is_one_of_the_known_ones_and_signed(crossing: SimpleNamespace) -> None:
    agreement = crossing.federation.agreement
    for id, sent in crossing.sent.items():
        identity = agreement.party(id).identity
        for request in (*sent["Send"], *sent["BeginUpload"]):
            assert request.message.agreement == agreement.digest
            for message, item, purpose in bodies(request):
                verify(identity.ed25519, identity.mldsa44, purpose, item)
                assert getattr(message, "institution", id) == id
        for request in sent["Send"]:
            assert not request.message.boxes
            assert request.message.sequence == 0


def test_what_names_things_is_a_digest_or_a_number_of_the_operator(
    crossing: SimpleNamespace,
) -> None:
    federation = crossing.federation
    plans = set(federation.operator.plans)
    for id, sent in crossing.sent.items():
        headers = {header_digest(bodies(request)[0][0]) for request in sent["BeginUpload"]}
        for request in sent["FetchPlan"]:
            assert request.message.agreement == federation.agreement.digest
            assert request.message.plan in plans
        for request in (*sent["PutChunks"], *sent["FinishUpload"]):
            assert request.message.header in headers
        for request in sent["Follow"]:
            assert request.message.after <= len(federation.operator.mail[id])
        for request in sent["FetchTotal"]:
            assert (request.message.round, request.message.offset) == (1, 0)


def test_opaque_bytes_are_of_the_kinds_and_sizes_that_the_protocol_names(
    crossing: SimpleNamespace,
) -> None:
    n, lanes = len(ROWS), crossing.federation.agreement.model.parameters
    for id, sent in crossing.sent.items():
        me = list(crossing.federation.agreement.roster).index(id)
        for request in sent["Send"]:
            ((message, _, _),) = bodies(request)
            if isinstance(message, EpochKey):
                assert len(message.key) == 1216
            if isinstance(message, EpochHalves):
                sizes = {len(sealed) for k, sealed in enumerate(message.sealed) if k != me}
                assert sizes == {1120 + 32 + 16}
            if isinstance(message, HeadRequest):
                assert {len(node) for growth in message.growths for node in growth.path} <= {32}
                assert len(message.log) == 64
            if isinstance(message, Cosignature):
                assert [len(signature) for signature in message.timed] == [72, 2428]
            if isinstance(message, HeadRequest | Cosignature):
                assert (len(message.head.generation), len(message.head.root)) == (16, 32)
            if isinstance(message, Reveal):
                assert message.complaints == ()
                assert {len(share) for share in message.shares} == {32}
        (vector,), (begun,) = the_vectors(sent), sent["BeginUpload"]
        (header, _, _), (upload, _, _) = bodies(begun)
        assert len(vector) == header.size == vector_bytes(lanes, 32)
        leaves = [
            chunks.leaf(vector[start : start + chunks.CHUNK_BYTES])
            for start in range(0, len(vector), chunks.CHUNK_BYTES)
        ]
        assert list(begun.message.leaves) == leaves
        assert chunks.root(len(vector), leaves) == header.root
        boxes = [len(box) for k, box in enumerate(begun.message.boxes) if k != me]
        assert boxes == [32 * n + 16] * (n - 1)
        assert {len(item) for item in (*header.commitments, *header.shares)} == {32}
        for hashes in (upload.boxes, upload.keys):
            assert {len(item) for k, item in enumerate(hashes) if k != me} == {32}


def test_messages_of_vaults_with_other_rows_have_the_same_sizes(crossing: SimpleNamespace) -> None:
    """But for heads, whose proofs are as long as a ledger's number of entries makes them."""
    declined, head = pb.PARCEL_KIND_DECLINE, pb.PARCEL_KIND_HEAD
    sizes = []
    for sent in crossing.sent.values():
        plain = [
            (
                request.method,
                kind := getattr(request.message, "kind", 0),
                len(request.raw) if kind != head else 0,
            )
            for method in sent
            for request in sent[method]
            if method not in ("Follow", "FetchPlan")
            and getattr(request.message, "kind", 0) != declined
        ]
        sizes.append(Counter(plain))
    assert sizes[0] == sizes[1] == sizes[2]


def test_a_decline_says_a_code_of_the_closed_list(crossing: SimpleNamespace) -> None:
    declines = [
        bodies(request)[0][0]
        for request in crossing.everything
        if request.method == "Send" and request.message.kind == pb.PARCEL_KIND_DECLINE
    ]
    assert [decline.code for decline in declines] == [RefusalCode.PLAN]


def test_the_metadata_of_a_call_names_grpc_and_nothing_else(crossing: SimpleNamespace) -> None:
    for request in crossing.everything:
        assert {name for name, _ in request.metadata} <= {"user-agent"}
        assert all(value.startswith("comity/1 grpc-python/") for _, value in request.metadata)


def test_the_unix_sockets_say_a_closed_list_of_things(crossing: SimpleNamespace) -> None:
    agreement = crossing.federation.agreement
    steps = agreement.training.local_steps
    fractions = {None, *(done / steps for done in range(steps + 1))}
    doing = {
        "starting", "loading model and data", "waiting", "ordered", "training", "masking", "masked",
        "uploading", "uploaded", "revealed", "up to date", "done", "stopping", "refused: plan",
        "waiting for witnesses",
    }  # fmt: skip
    heard = [json.loads(line) for line in crossing.federation.answers]
    orders = [answer for answer in heard if "accepted" in answer]
    states = [answer for answer in heard if "accepted" not in answer]
    assert {(order["accepted"], order["code"]) for order in orders} == {(True, ""), (False, "plan")}
    assert all(order.keys() == {"accepted", "code"} for order in orders)
    assert all(state.keys() == {"id", "doing", "fraction", "away", "until"} for state in states)
    assert {state["id"] for state in states} == set(agreement.roster)
    assert {state["doing"] for state in states} <= doing
    assert {state["away"] for state in states} <= {"", "not connected yet"}
    assert {state["fraction"] for state in states} <= fractions


# (b) nothing of a row


def windows(data: bytes) -> np.ndarray:
    """View every run of 8 bytes, at every offset, as one number each."""
    return np.concatenate(
        [np.frombuffer(data[k : k + (len(data) - k) // 8 * 8], "<u8") for k in range(8)]
    )


def runs_of_two(vector: np.ndarray) -> np.ndarray:
    """Write every two neighbours, little- and big-endian, as the 8 bytes that they are."""
    patterns = []
    for form in (vector.astype("<u4"), vector.astype(">u4")):
        raw = form.tobytes()
        patterns += [raw[: len(raw) // 8 * 8], raw[4 : 4 + (len(raw) - 4) // 8 * 8]]
    found = np.concatenate([np.frombuffer(pattern, "<u8") for pattern in patterns])
    plain = np.sort(found.view(np.uint8).reshape(-1, 8), axis=1)
    different = 1 + (np.diff(plain, axis=1) != 0).sum(axis=1)
    return np.unique(found[different >= 4])  # runs of zeros plant nothing


def haystacks(crossing: SimpleNamespace) -> list[bytes]:
    """Everything that crossed, as it was and with base64 undone, and what the sockets said."""
    hay = [request.raw for request in crossing.everything]
    hay += [vector for sent in crossing.sent.values() for vector in the_vectors(sent)]
    for request in crossing.everything:
        for message, _, _ in bodies(request):
            hay += [value for value in values(message) if isinstance(value, bytes)]
    return [*hay, b"".join(crossing.federation.answers)]


def planted_patterns(rows: dict[InstitutionId, list[str]], tokens: list[list[int]]) -> set[bytes]:
    """Write the planted rows in every form that is looked for."""
    patterns = set()
    for texts in rows.values():
        for text in texts:
            patterns |= {text.encode(), text[:24].encode(), text[-20:].encode()}
    for ids in tokens:
        for start in range(len(ids) - 3):
            run = np.asarray(ids[start : start + 4])
            patterns |= {run.astype(kind).tobytes() for kind in ("<i2", "<i4", "<i8")}
            text = [str(number) for number in run.tolist()]
            patterns |= {glue.join(text).encode() for glue in (", ", " ") if len("".join(text)) > 5}
    return {pattern for pattern in patterns if len(pattern) >= 8}


def hits(patterns: set[bytes], hay: list[bytes]) -> list[bytes]:
    """Find patterns by their first 8 bytes, then in full."""
    heads: dict[int, list[bytes]] = {}
    for pattern in patterns:
        heads.setdefault(int.from_bytes(pattern[:8], "little"), []).append(pattern)
    keys = np.array(list(heads), dtype=np.uint64)
    seen = np.unique(np.concatenate([windows(data) for data in hay if len(data) >= 8]))
    suspects = [p for head in np.intersect1d(seen, keys).tolist() for p in heads[head]]
    return [pattern for pattern in suspects if any(pattern in data for data in hay)]


def test_no_text_and_no_token_ids_of_a_planted_row_cross(crossing: SimpleNamespace) -> None:
    assert len(crossing.patterns) > 10_000
    assert hits(crossing.patterns, haystacks(crossing)) == []


def test_a_planted_row_that_crossed_would_be_found(crossing: SimpleNamespace) -> None:
    text = crossing.rows["inst-01"][77].encode()
    ids = np.asarray(crossing.seen.tokens[5][1:6], "<i4").tobytes()
    for leaked in (b"x" + text + b"y", b"abc" + ids + b"abc", b'{"doing": "' + text[:24] + b'"}'):
        assert hits(crossing.patterns, [b"something else", leaked])


def test_no_two_neighbours_of_a_delta_or_of_its_lanes_cross(crossing: SimpleNamespace) -> None:
    seen = crossing.seen
    assert len(seen.deltas) == len(seen.lanes) == len(ROWS)
    secret = np.concatenate(
        [
            *(runs_of_two(delta.view(np.uint32)) for delta in seen.deltas),
            *(runs_of_two(lanes) for lanes in seen.lanes),
        ]
    )
    assert len(secret) > 50_000
    hay = np.concatenate([windows(data) for data in haystacks(crossing) if len(data) >= 8])
    assert not np.isin(hay, secret).any()
    unmasked = seen.lanes[1].tobytes()
    assert np.isin(windows(b"?" + unmasked[400:416]), secret).any()  # it would be found


def test_the_canaries_of_the_sum_do_not_show_through_the_masks(crossing: SimpleNamespace) -> None:
    for sent in crossing.sent.values():
        for vector in the_vectors(sent):
            assert np.frombuffer(vector[-24:], "<u4").tolist().count(1) == 0


def counts_as(value: Any, number: int) -> bool:
    """Tell whether a value is a number, or a text with it as a word."""
    if isinstance(value, bool | bytes) or value is None:
        return False
    if isinstance(value, int | float | Decimal):
        return value == number
    return re.search(rf"(?<![0-9a-zA-Z]){number}(?![0-9a-zA-Z])", str(value)) is not None


def test_no_number_of_rows_is_a_value_of_any_field(crossing: SimpleNamespace) -> None:
    crossed: list[Any] = []
    for request in crossing.everything:
        crossed += carried(request.message)
        crossed += [value for _, value in request.metadata]
        for message, item, _ in bodies(request):
            crossed += [*values(message), *values(json.loads(item.body))]
    for line in crossing.federation.answers:
        crossed += values(json.loads(line))
    numbers = [*ROWS.values(), sum(ROWS.values())]
    assert [v for v in crossed for number in numbers if counts_as(v, number)] == []
    assert counts_as("412 of 1409 rows", 1409)
    assert counts_as(1523, 1523)
    assert not counts_as("ab1409cd", 1409)


def test_the_ledgers_of_vaults_with_other_rows_differ_in_random_names_alone(
    crossing: SimpleNamespace,
) -> None:
    shapes = []
    for id in list(ROWS)[1:]:
        entries = crossing.federation.parts[InstitutionId(id)].ledger.entries()
        shapes.append(Counter((entry.kind, len(encode(entry.body))) for entry in entries))
    assert shapes[0] == shapes[1]


# (c) on the ledger first


def test_the_ledger_had_every_request_before_it_arrived(crossing: SimpleNamespace) -> None:
    assert [r.method for r in crossing.everything if not r.recorded] == []


def test_the_ledger_has_an_egress_entry_for_each_request_and_no_other(
    crossing: SimpleNamespace,
) -> None:
    for id, sent in crossing.sent.items():
        left = Counter(
            egress_name(method, request.raw, request.message)
            for method, requests in sent.items()
            for request in requests
            if method not in ("PutChunks", "FinishUpload")  # they are parts of one upload
        )
        egress = crossing.federation.listeners[id].egress()
        assert Counter((entry.digest, entry.size_bytes) for entry in egress) == left


def test_an_upload_is_a_mechanism_with_its_reserve_and_all_else_is_control(
    crossing: SimpleNamespace,
) -> None:
    federation = crossing.federation
    for part in federation.parts.values():
        entries = [entry.body for entry in part.ledger.entries()]
        (reserve,) = [body for body in entries if isinstance(body, BudgetReserve)]
        egress = [body for body in entries if isinstance(body, Egress)]
        mechanisms = [body for body in egress if body.traffic is Traffic.MECHANISM]
        (upload,) = mechanisms
        assert (upload.message, upload.nonce, upload.round) == ("upload", reserve.nonce, 1)
        assert entries.index(reserve) < entries.index(upload)
        assert reserve.event.steps == federation.agreement.training.local_steps
        assert {body.message for body in egress if body.traffic is Traffic.CONTROL} <= {
            "follow", "fetch-plan", "fetch-total", "parcel_kind_epoch_keys",
            "parcel_kind_epoch_halves", "parcel_kind_epoch_views", "parcel_kind_reveal",
            "parcel_kind_endorsement", "parcel_kind_decline", "parcel_kind_head",
            "parcel_kind_cosignature",
        }  # fmt: skip
        for body in egress:
            assert body.receiver == federation.agreement.operator.id
            assert body.jurisdiction == federation.agreement.operator.jurisdiction


# (d) the masked vector is uniform


def byte_chi_square(data: bytes) -> float:
    """Compute χ² of bytes against the uniform distribution: 255 degrees of freedom."""
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
    expected = len(data) / 256
    return float(((counts - expected) ** 2 / expected).sum())


MOST = 255 + 7 * 510**0.5  # a false alarm about once in 10⁹


def test_the_bytes_of_masked_vectors_are_uniform(crossing: SimpleNamespace) -> None:
    vectors = [vector for sent in crossing.sent.values() for vector in the_vectors(sent)]
    for vector in vectors:
        assert len(vector) > 20_000
        assert byte_chi_square(vector) < MOST
        for byte in range(4):  # and so is every byte of a lane
            assert byte_chi_square(vector[byte::4]) < MOST
    for one, other in ((0, 1), (0, 2), (1, 2)):
        difference = np.frombuffer(vectors[one], "<u4") - np.frombuffer(vectors[other], "<u4")
        assert byte_chi_square(difference.tobytes()) < MOST


def test_the_same_lanes_without_masks_are_far_from_uniform(crossing: SimpleNamespace) -> None:
    assert all(byte_chi_square(lanes.tobytes()) > 10 * MOST for lanes in crossing.seen.lanes)
