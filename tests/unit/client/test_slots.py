"""Slots: a vector leaves a whole number of slots after its plan, whatever training took."""

import pytest

from comity_client.slots import Slots


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("took", "waits"), [(0.0, 10.0), (0.1, 9.9), (9.9, 0.1), (10.0, 10.0), (34.0, 6.0)]
)
def test_a_vector_waits_until_the_next_slot_begins(took, waits):
    clock = Clock()
    slots = Slots(10, clock)
    slots.begin()
    clock.now += took
    slots.choose()
    assert slots.wait() == pytest.approx(waits)
    clock.now += waits + 0.001
    assert slots.wait() == 0


def test_vectors_that_took_unlike_times_within_a_slot_leave_at_one_time():
    left = set()
    for took in (0.5, 3.0, 9.5):
        clock = Clock()
        slots = Slots(10, clock)
        slots.begin()
        clock.now += took
        slots.choose()
        left.add(round(clock.now + slots.wait(), 6))
    assert left == {110.0}


def test_a_new_plan_forgets_the_slot_of_the_one_before():
    clock = Clock()
    slots = Slots(10, clock)
    slots.begin()
    slots.choose()
    slots.begin()
    assert slots.wait() == 0


@pytest.mark.parametrize("length", [0, 10])
def test_without_slots_or_without_a_plan_nothing_waits(length):
    clock = Clock()
    slots = Slots(length, clock)
    if not length:
        slots.begin()
    slots.choose()
    assert slots.wait() == 0
