"""Which ServerApp is ours, on a clock that only moves when told to."""

from comity_server.orders import SILENT_AFTER_S, Orders


class Clock:
    """Seconds that stand still."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


PLAN = "aa" * 32


def test_nobody_is_online_before_and_after_a_serverapp_lives() -> None:
    clock = Clock()
    orders = Orders(clock)
    assert orders.online == frozenset()
    assert orders.heard("1", [7, 8])
    assert orders.online == {7, 8}
    clock.now += SILENT_AFTER_S
    assert orders.online == frozenset()
    assert not orders.is_alive


def test_a_second_run_is_told_to_end_while_the_first_lives_and_taken_when_it_is_dead() -> None:
    clock = Clock()
    orders = Orders(clock)
    assert orders.heard("1", [])
    assert not orders.heard("2", [])
    clock.now += SILENT_AFTER_S
    assert orders.heard("2", [])
    assert not orders.heard("1", [])


def test_after_a_new_run_was_started_the_old_one_is_told_to_end() -> None:
    orders = Orders(Clock())
    assert orders.heard("1", [7])
    orders.expect_new_run()
    assert orders.online == frozenset()
    assert not orders.heard("1", [7])
    assert orders.heard("2", [7])


def test_an_order_is_given_once_to_a_run_and_again_to_the_next() -> None:
    clock = Clock()
    orders = Orders(clock)
    orders.heard("1", [7, 8])
    orders.give(PLAN, [7])
    assert orders.not_yet_given(PLAN, [7, 8]) == [8]
    assert orders.not_yet_given("bb" * 32, [7, 8]) == [7, 8]
    clock.now += SILENT_AFTER_S
    orders.heard("2", [7, 8])
    assert orders.not_yet_given(PLAN, [7, 8]) == [7, 8]


def test_answers_are_only_waited_for_while_the_serverapp_that_has_the_order_lives() -> None:
    clock = Clock()
    orders = Orders(clock)
    orders.heard("1", [7])
    assert orders.waited(PLAN) == 0
    orders.give(PLAN, [7])
    clock.now += 15
    assert orders.waited(PLAN) == 15
    clock.now += 15
    assert orders.waited(PLAN) == 0
