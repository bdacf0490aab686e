"""Which ServerApp carries our orders, what it sees, and what it was given.

Flower's parts may die at any time. One run of Flower is ours: the first that asks after a new one
was started. Others are told to end. A ServerApp that has not asked for a while is taken for dead:
nobody is online then, and what it was given is given again to the next.
"""

from collections.abc import Callable, Collection, Sequence

from comity_common.ids import Digest

SILENT_AFTER_S = 20.0  # the ServerApp asks every two seconds


class Orders:
    """The road through Flower; its owner's lock guards it.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._run: str | None = None
        self._ended_runs: set[str] = set()
        self._heard_at = 0.0
        self._online: frozenset[int] = frozenset()
        self._plan: Digest | None = None
        self._given: set[int] = set()
        self._given_at = 0.0

    def heard(self, run: str, online: Collection[int]) -> bool:
        """Note that a ServerApp asked, and what it sees.

        Returns:
            whether it is ours; another should end.
        """
        if run in self._ended_runs:
            return False
        if run != self._run:
            if self._run is not None and self.is_alive:
                return False
            self._run = run
            self._plan = None
        self._heard_at = self._clock()
        self._online = frozenset(online)
        return True

    def expect_new_run(self) -> None:
        """Note that a new run was started: the old one is not ours any more."""
        if self._run is not None:
            self._ended_runs.add(self._run)
        self._run = None
        self._online = frozenset()

    @property
    def is_alive(self) -> bool:
        """Whether our ServerApp asked lately."""
        return self._run is not None and self._clock() - self._heard_at < SILENT_AFTER_S

    @property
    def online(self) -> frozenset[int]:
        """The Flower nodes that our ServerApp sees."""
        return self._online if self.is_alive else frozenset()

    def not_yet_given(self, plan: Digest, nodes: Sequence[int]) -> list[int]:
        """Return the nodes whose order for this plan our ServerApp was not given."""
        given = self._given if plan == self._plan else set()
        return [node for node in nodes if node not in given]

    def give(self, plan: Digest, nodes: Sequence[int]) -> None:
        """Note that our ServerApp was given the order of a plan for these nodes."""
        if plan != self._plan:
            self._plan, self._given = plan, set()
        self._given.update(nodes)
        self._given_at = self._clock()

    def waited(self, plan: Digest) -> float:
        """Return for how long answers to a plan's order are outstanding at a living ServerApp."""
        if plan != self._plan or not self.is_alive:
            return 0.0
        return self._clock() - self._given_at
