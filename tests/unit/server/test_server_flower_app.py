"""The ServerApp's closed lists: what an order's message holds and which answers are read."""

import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from comity.v1 import coordination_pb2 as pb
from comity_common.errors import LocalError, PeerError
from comity_server.flower_app import order_content, read_answer

DIGEST = "0f" * 32


def test_an_orders_message_holds_agreement_round_and_plan_and_nothing_else() -> None:
    order = pb.Order(agreement=DIGEST, round=7, plan=DIGEST, nodes=[1, 2], acknowledge_within_s=3.0)
    content = order_content(order)
    assert {name: dict(record) for name, record in content.items()} == {
        "order": {"agreement": DIGEST, "round": 7, "plan": DIGEST}
    }


@pytest.mark.parametrize("digest", ["", DIGEST[:-1], DIGEST.upper(), "weights: 0.25"])
def test_an_order_whose_digests_are_none_is_not_sent(digest: str) -> None:
    with pytest.raises(LocalError):
        order_content(pb.Order(agreement=digest, plan=DIGEST))
    with pytest.raises(LocalError):
        order_content(pb.Order(agreement=DIGEST, plan=digest))


def test_an_acceptance_and_a_refusal_are_read() -> None:
    accepted = RecordDict({"answer": ConfigRecord({"accepted": True, "code": ""})})
    refused = RecordDict({"answer": ConfigRecord({"accepted": False, "code": "budget"})})
    assert read_answer(accepted) == (True, "")
    assert read_answer(refused) == (False, "budget")


@pytest.mark.parametrize(
    "records",
    [
        {},
        {"answer": ConfigRecord({"accepted": True})},
        {"answer": ConfigRecord({"accepted": True, "code": "", "loss": 0.5})},
        {"answer": ConfigRecord({"accepted": 1, "code": ""})},
        {"answer": ConfigRecord({"accepted": True, "code": "budget"})},
        {"answer": ConfigRecord({"accepted": False, "code": ""})},
        {"answer": ConfigRecord({"accepted": False, "code": "n=412"})},
        {"answer": ConfigRecord({"accepted": False, "code": ["budget"]})},
        {"answer": MetricRecord({"accepted": 1, "code": 0})},
        {"answer": ConfigRecord({"accepted": True, "code": ""}), "delta": ArrayRecord()},
    ],
)
def test_an_answer_beyond_the_closed_list_is_not_read(records: dict[str, ConfigRecord]) -> None:
    with pytest.raises(PeerError):
        read_answer(RecordDict(records))
