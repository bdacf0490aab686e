"""The masked sum equals the plain integer sum, for every order of events and every dropout."""

import itertools
import random
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comity_common.crypto.sign import Purpose
from comity_common.errors import PeerError
from comity_common.secagg.collector import Collector
from comity_common.secagg.round import Stage

from .federation import World

WORLDS = {n: World.of(n) for n in (3, 4, 5, 7)}


def run_round(world: World, seed: int, dropped: set, silent: set) -> Collector:
    """Run one round with events in a random order."""
    chance = random.Random(seed)
    plan = world.plan()
    collector = Collector(world.agreement, plan)
    order = list(plan.participants)
    chance.shuffle(order)
    for who in order:
        world.deal(plan, who, chance)
        if who not in dropped:
            collector.upload(*world.signed[who], world.dealt[who].boxes)
    if dropped:
        collector.expire()
    if collector.stage is not Stage.REVEALING:
        return collector
    survivors = collector.survivors
    answering = [who for who in survivors.survivors if who not in silent]
    chance.shuffle(answering)
    for who in answering:
        collector.reveal(world.reveal(plan, who, survivors))
    return collector


@settings(max_examples=60, deadline=None)
@given(n=st.sampled_from([3, 4, 5, 7]), seed=st.integers(0, 2**32), data=st.data())
def test_every_dropout_and_silence_within_bounds_gives_the_exact_sum(n, seed, data):
    world = WORLDS[n]
    plan = world.plan()
    roster = list(plan.participants)
    lost = data.draw(st.integers(0, n - plan.minimum))
    dropped = set(random.Random(seed).sample(roster, lost))
    silences = data.draw(st.integers(0, n - lost - plan.threshold))
    rest = [who for who in roster if who not in dropped]
    silent = set(random.Random(seed + 1).sample(rest, silences))

    collector = run_round(world, seed, dropped, silent)

    total, canaries = world.total(collector)
    expected = sum(world.clear[who] for who in rest)
    assert np.array_equal(total, expected)
    assert np.all(canaries == len(rest))


class Patterns:
    """One round in which everybody has dealt, replayed for any set of absent and of silent ones."""

    def __init__(self, n: int, collusion: int) -> None:
        self.world = World.of(n, collusion=collusion, lanes=6)
        self.plan = self.world.plan()
        for who in self.plan.participants:
            self.world.deal(self.plan, who, random.Random(who))

    def dropouts(self) -> list[tuple[str, ...]]:
        """Return every set of institutions whose absence a round survives."""
        most = len(self.plan.participants) - self.plan.minimum
        return [
            absent
            for count in range(most + 1)
            for absent in itertools.combinations(self.plan.participants, count)
        ]

    def silences(self, survivors: Sequence[str]) -> list[tuple[str, ...]]:
        """Return every set of |S| − t survivors, so that the others are any t."""
        return list(itertools.combinations(survivors, len(survivors) - self.plan.threshold))

    def survivors(self, absent: tuple[str, ...]) -> list[str]:
        """Return who is there."""
        return [who for who in self.plan.participants if who not in absent]

    def check(self, absent: tuple[str, ...], silences: Iterable[tuple[str, ...]]) -> int:
        """Open the sum over those who are there for each set of silent ones; return how many."""
        survivors, reveals, count = self.survivors(absent), {}, 0
        expected = sum(self.world.clear[who] for who in survivors)
        for silent in silences:
            collector = Collector(self.world.agreement, self.plan)
            for who in survivors:
                collector.upload(*self.world.signed[who], self.world.dealt[who].boxes)
            if absent:
                collector.expire()
            for who in survivors:
                if who not in silent:
                    if who not in reveals:
                        reveals[who] = self.world.reveal(self.plan, who, collector.survivors)
                    assert collector.stage is Stage.REVEALING  # not with one reveal less
                    collector.reveal(reveals[who])
            total, canaries = self.world.total(collector)
            assert np.array_equal(total, expected), (absent, silent)
            assert np.all(canaries == len(survivors)), (absent, silent)
            count += 1
        return count


@pytest.mark.parametrize(
    ("n", "c", "patterns"), [(3, 1, 1), (4, 1, 1), (5, 1, 10), (7, 1, 84), (7, 2, 14)]
)
def test_every_pattern_of_dropouts_and_silences_gives_the_exact_sum(n, c, patterns):
    rounds = Patterns(n, c)
    assert patterns == sum(
        rounds.check(absent, rounds.silences(rounds.survivors(absent)))
        for absent in rounds.dropouts()
    )


def test_a_sample_of_the_patterns_of_ten_gives_the_exact_sum():
    rounds, chance = Patterns(10, 2), random.Random(10)
    for absent in chance.sample(rounds.dropouts(), 12):
        silences = rounds.silences(rounds.survivors(absent))
        rounds.check(absent, chance.sample(silences, min(2, len(silences))))


@pytest.mark.slow
@pytest.mark.parametrize("c", [1, 2])
def test_every_pattern_of_dropouts_and_silences_among_ten_gives_the_exact_sum(c):
    rounds = Patterns(10, c)
    assert (
        sum(
            rounds.check(absent, rounds.silences(rounds.survivors(absent)))
            for absent in rounds.dropouts()
        )
        == 960
    )


def test_losing_two_of_five_voids_the_round_and_no_reveal_is_ever_asked_for():
    world = WORLDS[5]
    for dropped in itertools.combinations(world.agreement.roster, 2):
        collector = run_round(world, 1, set(dropped), set())
        assert collector.stage is Stage.VOID
        assert collector.survivors is None
        assert collector.reason == "3 of 5 uploads arrived, 4 are needed"
        assert collector.certificate(b"").void


def test_fewer_than_t_reveals_void_the_round():
    world = WORLDS[5]
    roster = world.agreement.roster
    collector = run_round(world, 2, set(), set(roster[:2]))
    assert collector.stage is Stage.REVEALING
    collector.expire()
    assert collector.stage is Stage.VOID
    assert collector.reason == "3 of 4 reveals arrived"


def test_a_second_upload_with_another_header_is_refused_for_ever():
    world = WORLDS[3]
    plan = world.plan()
    who = plan.participants[0]
    collector = Collector(world.agreement, plan)
    world.deal(plan, who, random.Random(1))
    collector.upload(*world.signed[who], world.dealt[who].boxes)
    collector.upload(*world.signed[who], world.dealt[who].boxes)  # the same again changes nothing
    world.deal(plan, who, random.Random(2))
    with pytest.raises(PeerError, match="another is refused"):
        collector.upload(*world.signed[who], world.dealt[who].boxes)
    assert list(collector.uploads) == [who]


def test_a_false_share_names_its_dealer_and_a_false_complaint_names_nobody():
    from comity_common.canonical import decode, encode
    from comity_common.crypto.derive import digest
    from comity_common.crypto.seal import close_box
    from comity_common.secagg.messages import Complaint, Reveal, Upload
    from comity_common.secagg.participant import _box_key

    world = World.of(5)
    plan = world.plan()
    collector = Collector(world.agreement, plan)
    chance = random.Random(3)
    liar, helper = plan.participants[0], plan.participants[1]
    for who in plan.participants:
        world.deal(plan, who, chance)
    dealt = world.dealt[liar]
    named = bytes.fromhex(dealt.header.plan)
    key = _box_key(
        world.chains[liar][helper].turn_to(plan.round).round_key(named),
        liar,
        helper,
        dealt.held.header,
    )
    boxes = list(dealt.boxes)
    boxes[1] = close_box(key, bytes(32 * 5), bytes.fromhex(dealt.held.header))
    upload = Upload(
        header=dealt.upload.header,
        boxes=(b"", digest("box", boxes[1]), *dealt.upload.boxes[2:]),
        keys=dealt.upload.keys,
    )
    object.__setattr__(dealt, "boxes", tuple(boxes))
    world.signed[liar] = (
        world.signed[liar][0],
        world.keys[liar].sign(Purpose.UPLOAD, encode(upload)),
    )
    for who in plan.participants:
        collector.upload(*world.signed[who], world.dealt[who].boxes)
    survivors = collector.survivors

    framer = plan.participants[2]
    honest = decode(Reveal, world.reveal(plan, framer, survivors).body)
    false = Reveal(
        survivors=honest.survivors,
        institution=framer,
        shares=(b"", *honest.shares[1:]),
        complaints=(Complaint(dealer=liar, box_key=bytes(32)),),
    )
    collector.reveal(world.keys[framer].sign(Purpose.REVEAL, encode(false)))
    assert collector.stage is Stage.REVEALING  # nobody is framed by a key that was never signed

    collector.reveal(world.reveal(plan, helper, survivors))
    assert collector.stage is Stage.VOID
    assert collector.reason == f"{liar} dealt a false share to {helper}"
