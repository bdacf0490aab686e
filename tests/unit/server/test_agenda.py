"""A score comes when it is due, and training does not wait for one that cannot be had."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.federation import make_agreement

from comity_common.agreement import Agreement
from comity_common.crypto.sign import SigningKeys
from comity_common.ids import Digest
from comity_common.secagg.kinds import RoundKind
from comity_server.agenda import next_kind
from comity_server.history import Head
from comity_server.waiting import Stopped

KEYS = {f"inst-{k}": SigningKeys.generate() for k in range(3)}
OPERATOR = SigningKeys.generate()
TRAIN, EVALUATE = RoundKind
TODAY, AFTERWARDS = date(2099, 12, 31), date(2100, 1, 1)
START = Head(
    begun=0,
    begun_scores=0,
    certified=0,
    scored=0,
    previous=Digest("0" * 64),
    model=Digest("1" * 64),
)


def agreed(after: tuple[int, ...] = (), spare: int = 0, **terms: int) -> Agreement:
    return make_agreement(KEYS, OPERATOR, scored_after=after, spare_scores=spare, **terms)


def told(agreement: Agreement, ends: str) -> str:
    """Play rounds that end as one letter each says: c for certified, v for void.

    Returns:
        what came, t or e for each round; with a dot once the schedule is done.
    """
    head, kinds = START, ""
    for end in ends:
        kind = next_kind(agreement, head, TODAY)
        if kind is None:
            return kinds + "."
        kinds += kind.value[0]
        is_score = kind is EVALUATE
        head = replace(
            head,
            begun=head.begun + 1,
            begun_scores=head.begun_scores + is_score,
            certified=head.certified + (end == "c" and not is_score),
            scored=head.scored + (end == "c" and is_score),
        )
    return kinds + ("." if next_kind(agreement, head, TODAY) is None else "")


@pytest.mark.parametrize(
    ("after", "spare", "ends", "kinds"),
    [
        ((), 0, "ccc", "ttt."),
        ((3,), 0, "cccc", "ttte."),
        ((1, 2, 3), 0, "cccccc", "tetete."),
        ((1,), 0, "vcvcc", "ttett."),  # the score's only attempt is void
        ((1,), 1, "cvccc", "teett."),
        ((1, 2), 1, "cvvvccc", "teeett."),  # the first took them all
        ((1, 2), 1, "cvvccvc", "teeettt."),
        ((3,), 2, "cccvvv", "ttteee."),
    ],
)
def test_scores_come_when_they_are_due(after, spare, ends, kinds):
    assert told(agreed(after, spare, spare_rounds=1), ends) == kinds


def test_spare_rounds_are_for_training_and_spare_scores_for_scores():
    agreement = agreed((1,), 1, spare_rounds=1)
    assert told(agreement, "cvvvcc") == "teettt."
    with pytest.raises(Stopped, match="2 of 3 rounds are certified and all 4 attempts are used"):
        told(agreement, "cvvvcv")


@given(
    st.lists(st.sampled_from("cv"), min_size=12, max_size=12),
    st.sets(st.integers(1, 3)),
    st.integers(0, 2),
)
def test_no_more_rounds_of_a_kind_are_begun_than_may_be(ends, after, spare):
    agreement = agreed(tuple(sorted(after)), spare, spare_rounds=1)
    kinds = ""
    for count in range(len(ends) + 1):
        try:
            kinds = told(agreement, "".join(ends[:count]))
        except Stopped:
            break
        if kinds.endswith("."):
            break
    else:
        raise AssertionError("expected an end")
    assert kinds.count("t") <= agreement.schedule.attempts
    assert kinds.count("e") <= (len(after) + spare if after else 0)


def test_a_score_is_owed_until_it_is_certified():
    agreement = agreed((2,))
    assert not agreement.owes_score(certified=1, scored=0)
    assert agreement.owes_score(certified=2, scored=0)
    assert not agreement.owes_score(certified=2, scored=1)
    assert not agreed().owes_score(certified=3, scored=0)


def test_an_agreement_that_is_over_neither_trains_nor_scores():
    agreement, trained = agreed((3,)), replace(START, begun=3, certified=3)
    assert next_kind(agreement, trained, TODAY) is EVALUATE
    assert next_kind(agreement, trained, AFTERWARDS) is None
    assert next_kind(agreement, START, TODAY) is TRAIN
    with pytest.raises(Stopped, match="the agreement expired on 2099-12-31"):
        next_kind(agreement, START, AFTERWARDS)
