"""The tables of a round: what is not in them raises and changes nothing."""

from itertools import product

import pytest
from tests.simulation.federation import World

from comity_common.errors import PeerError
from comity_common.secagg.collector import Collector
from comity_common.secagg.round import INSTITUTION, OPERATOR, Event, Phase, Stage, Step, advance

LEGAL_PHASES = {
    "ordered": {"join": "joined", "close": "closed"},
    "joined": {"start": "started", "close": "closed"},
    "started": {"mask": "masked", "close": "closed"},
    "masked": {"receipt": "uploaded", "reveal": "revealed", "close": "closed"},
    "uploaded": {"receipt": "uploaded", "reveal": "revealed", "close": "closed"},
    "revealed": {"reveal": "revealed", "close": "closed"},
    "closed": {},
}
LEGAL_STAGES = {
    "collecting": {"enough": "revealing", "fail": "void"},
    "revealing": {"unmasked": "summing", "fail": "void"},
    "summing": {"summed": "certified", "fail": "void"},
    "certified": {},
    "void": {},
}


@pytest.mark.parametrize(("phase", "step"), product(Phase, Step))
def test_an_institution_moves_as_the_table_says_and_no_other_way(phase, step):
    expected = LEGAL_PHASES[phase].get(step)
    if expected is None:
        with pytest.raises(PeerError, match=f"expected no {step} of a round that is {phase}"):
            advance(INSTITUTION, phase, step)
    else:
        assert advance(INSTITUTION, phase, step) is Phase(expected)


@pytest.mark.parametrize(("stage", "event"), product(Stage, Event))
def test_the_operator_moves_as_the_table_says_and_no_other_way(stage, event):
    expected = LEGAL_STAGES[stage].get(event)
    if expected is None:
        with pytest.raises(PeerError, match=f"expected no {event} of a round that is {stage}"):
            advance(OPERATOR, stage, event)
    else:
        assert advance(OPERATOR, stage, event) is Stage(expected)


def reachable(table, start):
    seen = {start}
    while True:
        more = seen | {end for (state, _), end in table.items() if state in seen}
        if more == seen:
            return seen
        seen = more


@pytest.mark.parametrize(
    ("table", "states", "start", "ends"),
    [
        (INSTITUTION, Phase, Phase.ORDERED, {Phase.CLOSED}),
        (OPERATOR, Stage, Stage.COLLECTING, {Stage.CERTIFIED, Stage.VOID}),
    ],
)
def test_every_state_is_reached_and_every_state_comes_to_an_end(table, states, start, ends):
    assert reachable(table, start) == set(states)
    for state in states:
        assert reachable(table, state) & ends


def test_nothing_masks_twice_and_nothing_reveals_before_a_masked_file_is_durable():
    assert [state for (state, step) in INSTITUTION if step is Step.MASK] == [Phase.STARTED]
    for phase in (Phase.ORDERED, Phase.JOINED, Phase.STARTED, Phase.CLOSED):
        assert (phase, Step.REVEAL) not in INSTITUTION
    for phase in (Phase.MASKED, Phase.UPLOADED, Phase.REVEALED, Phase.CLOSED):
        assert not reachable(INSTITUTION, phase) & {Phase.JOINED, Phase.STARTED}


def test_the_operator_certifies_only_what_it_summed_after_unmasking():
    assert [state for state, end in OPERATOR.items() if end is Stage.CERTIFIED] == [
        (Stage.SUMMING, Event.SUMMED)
    ]
    assert [state for state, end in OPERATOR.items() if end is Stage.SUMMING] == [
        (Stage.REVEALING, Event.UNMASKED)
    ]


@pytest.mark.parametrize("stage", Stage)
def test_an_illegal_event_leaves_a_collector_as_it_was(stage):
    world = World.of(3)
    collector = Collector(world.agreement, world.plan())
    collector.stage = stage
    if (stage, Event.SUMMED) not in OPERATOR:
        before = dict(vars(collector))
        with pytest.raises(PeerError):
            collector.summed()
        assert vars(collector) == before
    if (stage, Event.FAIL) not in OPERATOR:
        before = dict(vars(collector))
        with pytest.raises(PeerError):
            collector.fail("some reason")
        assert vars(collector) == before
