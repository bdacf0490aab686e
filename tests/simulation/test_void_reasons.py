"""Every reason for which a round is void is on the ledger of every vault, in the operator's words.

Real vaults with their real ledgers; the round is played at the operator in memory. A vault that saw
more than the certificate says has that on its ledger too.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace

import pytest

from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose
from comity_common.errors import RefusalCode
from comity_common.ledger.bodies import Refused, RoundComplaint, RoundVoid
from comity_common.secagg import reasons
from comity_common.secagg.messages import Header, Upload
from comity_common.secagg.participant import box_digest, header_digest
from comity_common.secagg.round import Stage

from .operator import Line
from .test_vaults import Federation

LIAR = "inst-04"
COMPLAINING = {"false_share": ["inst-00"], "false_reveals": ["inst-00", "inst-01"]}


class Bent(Line):
    """The line of an institution that signs another upload than its vault made."""

    def __init__(self, federation: Federation, bend: Callable) -> None:
        super().__init__(federation.operator, LIAR)
        self.keys = federation.seats[LIAR].inst.keys.signing
        self.bend = bend

    def upload(self, agreement, stored, file):
        """Send another upload."""
        return super().upload(agreement, self.bend(self.keys, stored), file)


def as_it_is(_keys, stored):
    return stored


def signed_again(keys, stored, header=None, boxes=None, keys_of_boxes=None):
    """Sign an upload anew with another header, other boxes or other digests of their keys."""
    old = decode(Upload, stored.upload)
    header = header or decode(Header, stored.header)
    boxes = boxes or stored.boxes
    upload = encode(
        replace(
            old,
            header=header_digest(header),
            boxes=tuple(box_digest(box) for box in boxes),
            keys=keys_of_boxes or old.keys,
        )
    )
    return replace(
        stored,
        header=encode(header),
        header_signature=keys.sign(Purpose.HEADER, encode(header)).signature,
        upload=upload,
        upload_signature=keys.sign(Purpose.UPLOAD, upload).signature,
        boxes=boxes,
    )


def other_seed(keys, stored):
    header = decode(Header, stored.header)
    commitments = (bytes(32), *header.commitments[1:])
    return signed_again(keys, stored, header=replace(header, commitments=commitments))


def false_box(keys, stored):
    boxes = (bytes(len(stored.boxes[0])), *stored.boxes[1:])
    return signed_again(keys, stored, boxes=boxes)


def false_boxes_and_keys(keys, stored):
    boxes = (*(bytes(len(box)) for box in stored.boxes[:2]), *stored.boxes[2:])
    old = decode(Upload, stored.upload)
    return signed_again(
        keys, stored, boxes=boxes, keys_of_boxes=(bytes(32), bytes(32), *old.keys[2:])
    )


CASES = {  # reason: what is done to an upload, how many upload, how many reveal, in which words
    "too_few_uploads": (as_it_is, 3, 5, "3 of 5 uploads arrived, 4 are needed"),
    "unlike_seeds": (other_seed, 5, 5, "the seeds of inst-00 and inst-04 differ"),
    "too_few_reveals": (as_it_is, 5, 3, "3 of 4 reveals arrived"),
    "false_share": (false_box, 5, 5, "inst-04 dealt a false share to inst-00"),
    "false_reveals": (
        false_boxes_and_keys,
        5,
        5,
        "the reveals do not fit the commitments of inst-04; "
        "complaints without proof: inst-00, inst-01 about inst-04",
    ),
}


def test_every_reason_has_a_case():
    public = {
        name
        for name, made in inspect.getmembers(reasons, inspect.isfunction)
        if made.__module__ == reasons.__name__ and not name.startswith("_")
    }
    assert public == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_a_void_round_is_on_every_ledger_with_its_reason(tmp_path, case):
    bend, uploading, revealing, words = CASES[case]
    federation = Federation(tmp_path)
    federation.set_up_keys()
    operator, roster = federation.operator, list(federation.agreement.roster)
    line = Bent(federation, bend)
    liar = federation.seats[LIAR]
    liar.line = line
    liar.vault._uplink = liar.letters._uplink = liar.mailroom._uplink = line

    plan = operator.begin_round(roster)
    federation.order(plan, roster[-uploading:])
    for who in roster[-uploading:]:
        federation.seats[who].work()
    collector = operator.collector
    if collector.stage is Stage.COLLECTING:
        collector.expire()
    if collector.stage is Stage.REVEALING:
        operator.ask_reveals()
        for who in roster[:revealing]:
            federation.seats[who].work()
        if collector.stage is Stage.REVEALING:
            collector.expire()
    assert collector.stage is Stage.VOID
    assert collector.reason == words
    operator.certify()
    for seat in federation.seats.values():
        seat.work()
        (void,) = seat.entries(RoundVoid)
        assert (void.round, void.reason) == (1, words)
        complains = seat.inst.me in COMPLAINING.get(case, ())
        told = [one.dealers for one in seat.entries(RoundComplaint)]
        assert told == ([(LIAR,)] if complains else [])
        refused = [one.code for one in seat.entries(Refused)]
        changed = case == "unlike_seeds" and seat is liar  # the receipt is not of what it made
        assert refused == ([RefusalCode.UPLOAD] if changed else [])
