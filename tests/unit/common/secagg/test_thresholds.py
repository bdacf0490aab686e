"""No survivor lists, however they are handed round, expose a sum of fewer than g honest inputs.

The adversary is as strong as the design note allows: c institutions give it every share they hold
and stand in every list; it shows each honest institution a list of its own choice, and one honest
institution answers two. Shares add up secret by secret, across lists, so what is searched here is
not only a list with t answers but every seed that any mixture of answers exposes:

* the self seed of k falls when t shares of it are known; an honest institution gives its share
  when k is in the list that it answers;
* the seed of a pair {j, k} was dealt twice, by j and by k; the sharing of k falls when t shares
  are known; an honest institution gives its share when k is in its list and j is not;
* a set of honest inputs is exposed as a sum when all its self seeds and the seeds of all pairs
  that lead out of it have fallen. (Within the set the masks cancel.)
"""

from collections.abc import Callable
from itertools import accumulate, combinations, product

import pytest

from comity_common.errors import LocalError
from comity_common.secagg.thresholds import thresholds

TABLE = [  # n, c, t, m, g
    (3, 1, 3, 3, 2),
    (4, 1, 4, 4, 3),
    (5, 1, 4, 4, 3),
    (7, 1, 5, 5, 3),
    (7, 2, 6, 6, 4),
    (10, 2, 7, 7, 3),
    (20, 5, 14, 14, 5),
    (100, 33, 68, 68, 5),
]


def safe(n: int, c: int) -> bool:
    try:
        thresholds(n, c)
    except LocalError:
        return False
    return True


SIZES = [(n, c) for n in range(3, 8) for c in range(1, n) if safe(n, c)]
SMALL = [(n, c) for n, c in SIZES if n <= 5]


@pytest.mark.parametrize(("n", "c", "t", "m", "g"), TABLE)
def test_thresholds_are_those_of_the_table(n, c, t, m, g):
    found = thresholds(n, c)
    assert (found.shares, found.survivors, found.honest_inputs) == (t, m, g)


@pytest.mark.parametrize(
    ("n", "c"), [(0, 1), (2, 1), (3, 0), (3, -1), (3, 2), (3, 3), (4, 3), (5, 4), (-5, 1)]
)
def test_thresholds_refuse_what_no_numbers_make_safe(n, c):
    with pytest.raises(LocalError):
        thresholds(n, c)


def test_every_bound_of_the_design_note_holds_up_to_255_participants():
    for n in range(3, 256):
        for c in range(1, n):
            if not safe(n, c):
                assert -(-(n + c) // 2) + 1 > n  # refused only where t itself does not fit
                continue
            found = thresholds(n, c)
            t, m, g = found.shares, found.survivors, found.honest_inputs
            honest = n - c
            assert 2 * t >= n + c + 2  # two quorums meet in more than c + 1 institutions
            assert c + 2 <= m <= n
            assert t <= m  # a full list can be unmasked
            assert min(3, honest) <= g <= honest
            assert g >= 2  # never one institution alone


def lists_of(honest: int, fewest: int, member: int) -> list[frozenset[int]]:
    """The honest part of every list that an honest institution would answer: it is in it."""
    everyone = range(honest)
    return [
        frozenset(chosen)
        for size in range(max(fewest, 1), honest + 1)
        for chosen in combinations(everyone, size)
        if member in chosen
    ]


def smallest_exposed_sum(honest: int, need: int, answers: list[list[frozenset[int]]]) -> int:
    """The fewest honest inputs in a sum that these answers expose; `honest + 1` if none.

    Args:
        need: how many honest shares of a secret expose it: t − c.
        answers: per honest institution the lists that it answered.
    """
    everyone = range(honest)

    def falls(condition) -> bool:
        return sum(any(condition(chosen) for chosen in lists) for lists in answers) >= need

    self_seeds = [falls(lambda s, k=k: k in s) for k in everyone]
    tied = {k: {k} for k in everyone}  # by pair seeds that have not fallen
    for j, k in combinations(everyone, 2):
        by_k = falls(lambda s, j=j, k=k: k in s and j not in s)
        by_j = falls(lambda s, j=j, k=k: j in s and k not in s)
        if not (by_k or by_j):
            joined = tied[j] | tied[k]
            for member in joined:
                tied[member] = joined
    exposed = [len(tied[k]) for k in everyone if all(self_seeds[j] for j in tied[k])]
    return min(exposed, default=honest + 1)


def search_everything(n: int, c: int, t: int, m: int) -> int:
    """Try every assignment of lists; by symmetry the one who answers twice is institution 0."""
    honest = n - c
    choices = [lists_of(honest, m - c, member) for member in range(honest)]
    return min(
        smallest_exposed_sum(honest, t - c, [[chosen[0], second], *([s] for s in chosen[1:])])
        for chosen in product(*choices)
        for second in choices[0]
    )


def exposes(n: int, c: int, t: int, m: int, size: int, *, twice: bool = True) -> bool:
    """Search, cutting dead branches only, for answers that expose the sum of `size` honest inputs.

    The same question as `search_everything`, asked backwards: fix which inputs shall be exposed
    (by symmetry the first ones), follow how many shares of each secret that must fall are known,
    and give up a branch when even every remaining institution could not make up the rest.
    """
    honest, need = n - c, t - c
    inside, outside = range(size), range(size, honest)
    pairs = list(product(inside, outside))
    if need <= 0:
        return True

    def gives(chosen: frozenset[int]) -> int:
        """The secrets of which an answer to this list is a share, as bits."""
        facts = [k in chosen for k in inside]
        facts += [k in chosen and j not in chosen for k, j in pairs]
        facts += [j in chosen and k not in chosen for k, j in pairs]
        return sum(1 << bit for bit, fact in enumerate(facts) if fact)

    def maximal(masks: set[int]) -> list[int]:
        return [a for a in masks if not any(a != b and a & b == a for b in masks)]

    width = size + 2 * len(pairs)

    def alive(counts: tuple[int, ...], left: int) -> bool:
        best = [min(count + left, need) for count in counts]
        return all(count == need for count in best[:size]) and all(
            need in (best[size + p], best[size + len(pairs) + p]) for p in range(len(pairs))
        )

    # who answers twice: one of the exposed, one of the others, or nobody
    for second in {0, honest - 1} if twice else {honest}:
        states = {(0,) * width}
        for member in range(honest):
            single = {gives(chosen) for chosen in lists_of(honest, m - c, member)}
            if member == second:
                single = {a | b for a in single for b in single}
            states = {
                counts
                for state in states
                for mask in maximal(single)
                if alive(
                    counts := tuple(
                        min(count + (mask >> bit & 1), need) for bit, count in enumerate(state)
                    ),
                    honest - member - 1,
                )
            }
        if states:
            return True
    return False


# A twin that deals twice: one honest institution runs twice under the same keys, and each of the
# two masks an upload. Both have the same pair seeds and a self seed of their own; a list names one
# header of the twin, each of its two answers only a list with its own, and a seed of a pair with it
# is dealt three times. In the difference of both uploads the pair masks cancel: it is exposed as
# soon as both self seeds fall.

Listed = tuple[frozenset[int], int]
"""A list, and which header of the twin it names; 0 if it does not name the twin."""


def versions(lists: list[frozenset[int]], twin: int) -> list[Listed]:
    """Every list, with each header of the twin where it is named."""
    return [(s, version) for s in lists for version in ((0, 1) if twin in s else (0,))]


def smallest_exposed_sum_with_twin(honest: int, need: int, answers: list[list[Listed]]) -> int:
    """The fewest honest institutions whose inputs these answers expose; the twin is institution 0.

    Returns:
        1 for the difference of the twin's two inputs; `honest + 1` if nothing is exposed.
    """
    everyone = range(honest)

    def falls(condition) -> bool:
        given = (any(condition(*listed) for listed in lists) for lists in answers)
        return sum(given) >= need

    of_twin = [falls(lambda s, v, version=version: 0 in s and v == version) for version in (0, 1)]
    if all(of_twin):
        return 1
    self_seeds = [any(of_twin), *(falls(lambda s, _, k=k: k in s) for k in everyone[1:])]
    tied = {k: {k} for k in everyone}
    for j, k in combinations(everyone, 2):
        dealt = [(k, j, 0), (j, k, 0), *([(j, k, 1)] if j == 0 else [])]
        if not any(
            falls(lambda s, v, a=a, b=b, w=w: a in s and b not in s and (a != 0 or v == w))
            for a, b, w in dealt
        ):
            joined = tied[j] | tied[k]
            for member in joined:
                tied[member] = joined
    exposed = [len(tied[k]) for k in everyone if all(self_seeds[j] for j in tied[k])]
    return min(exposed, default=honest + 1)


def search_everything_with_twin(n: int, c: int, t: int, m: int) -> int:
    """Try every assignment of lists to a twin that dealt twice and to the others."""
    honest = n - c
    choices = [versions(lists_of(honest, m - c, member), 0) for member in range(honest)]
    first, second = ([one for one in choices[0] if one[1] == version] for version in (0, 1))
    return min(
        smallest_exposed_sum_with_twin(honest, t - c, [[a, b], *([s] for s in rest)])
        for a in first
        for b in second
        for rest in product(*choices[1:])
    )


def exposes_with_twin(n: int, c: int, t: int, m: int, size: int) -> bool:
    """Ask `exposes` of a twin that dealt twice: inside the sum with its first input, or outside."""
    honest = n - c
    return any(_exposes_with_twin(honest, t - c, m - c, size, twin) for twin in {0, honest - 1})


def _exposes_with_twin(honest: int, need: int, fewest: int, size: int, twin: int) -> bool:
    def dealt(dealer: int, other: int) -> list[Callable[[frozenset[int], int], bool]]:
        """The sharings of a pair's seed by one dealer: on which lists a share of it is given."""
        return [
            lambda s, v, w=w: dealer in s and other not in s and (dealer != twin or v == w)
            for w in ((0, 1) if dealer == twin else (0,))
        ]

    inside, outside = range(size), range(size, honest)
    groups = [  # of each one sharing must fall
        *([lambda s, v, k=k: k in s and (k != twin or v == 0)] for k in inside),
        *(dealt(k, j) + dealt(j, k) for k, j in product(inside, outside)),
    ]
    facts = [fact for group in groups for fact in group]
    ends = list(accumulate(len(group) for group in groups))
    spans = list(zip([0, *ends], ends, strict=False))

    def alive(counts: tuple[int, ...], left: int) -> bool:
        return all(max(counts[start:end]) + left >= need for start, end in spans)

    states = {(0,) * len(facts)}
    for member in range(honest):
        lists = versions(lists_of(honest, fewest, member), twin)
        given = {one: sum(1 << k for k, fact in enumerate(facts) if fact(*one)) for one in lists}
        masks = set(given.values())
        if member == twin:
            own = [{given[one] for one in lists if one[1] == version} for version in (0, 1)]
            masks = {a | b for a in own[0] for b in own[1]}
        best = [a for a in masks if not any(a != b and a & b == a for b in masks)]
        states = {
            counts
            for state in states
            for mask in best
            if alive(
                counts := tuple(
                    min(count + (mask >> bit & 1), need) for bit, count in enumerate(state)
                ),
                honest - member - 1,
            )
        }
    return bool(states)


def exposes_difference(n: int, c: int, t: int) -> bool:
    """Can both self seeds of a twin fall? It answers for both, each of the others for one."""
    others, need = n - c - 1, t - c
    return any(1 + k >= need and 1 + others - k >= need for k in range(others + 1))


@pytest.mark.parametrize(("n", "c"), SMALL)
def test_a_twin_that_deals_twice_exposes_no_fewer_than_g_honest_institutions(n, c):
    found = thresholds(n, c)
    assert search_everything_with_twin(n, c, found.shares, found.survivors) >= found.honest_inputs


@pytest.mark.parametrize(("n", "c"), [(3, 1), (4, 1), (4, 2)])
def test_the_quick_search_for_twins_agrees_with_trying_everything(n, c):
    honest = n - c
    for t in range(c + 1, n + 1):
        for m in range(max(t, 3), n + 1):
            sizes = [size for size in range(1, honest + 1) if exposes_with_twin(n, c, t, m, size)]
            first = 1 if exposes_difference(n, c, t) else min(sizes, default=honest + 1)
            assert first == search_everything_with_twin(n, c, t, m), (t, m)


@pytest.mark.parametrize(("n", "c"), SIZES)
def test_no_twin_among_up_to_seven_exposes_fewer_than_g_honest_institutions(n, c):
    found = thresholds(n, c)
    t, m, g = found.shares, found.survivors, found.honest_inputs
    assert not exposes_difference(n, c, t)
    assert not any(exposes_with_twin(n, c, t, m, size) for size in range(1, g))


def test_no_size_lets_both_self_seeds_of_a_twin_fall_and_one_share_less_always_would():
    for n in range(3, 256):
        for c in filter(lambda c, n=n: safe(n, c), range(1, n)):
            t = thresholds(n, c).shares
            assert not exposes_difference(n, c, t)
            assert exposes_difference(n, c, t - 1)


@pytest.mark.parametrize(("n", "c"), [(4, 2), pytest.param(5, 1, marks=pytest.mark.slow)])
def test_one_share_less_would_expose_what_a_twin_dealt_twice(n, c):
    found = thresholds(n, c)
    t = found.shares - 1
    assert search_everything_with_twin(n, c, t, max(t, 3)) == 1


@pytest.mark.parametrize(("n", "c"), SMALL)
def test_no_split_view_exposes_fewer_than_g_honest_inputs(n, c):
    found = thresholds(n, c)
    assert search_everything(n, c, found.shares, found.survivors) == found.honest_inputs


@pytest.mark.parametrize(("n", "c"), SMALL)
def test_the_quick_search_agrees_with_trying_everything_for_every_threshold(n, c):
    honest = n - c
    for t in range(c + 1, n + 1):
        for m in range(max(t, 3), n + 1):
            sizes = range(1, honest + 1)
            first = next((size for size in sizes if exposes(n, c, t, m, size)), honest + 1)
            assert first == search_everything(n, c, t, m), (t, m)


@pytest.mark.parametrize(("n", "c"), SIZES)
def test_no_split_view_of_up_to_seven_exposes_fewer_than_g_and_g_is_exact(n, c):
    found = thresholds(n, c)
    t, m, g = found.shares, found.survivors, found.honest_inputs
    assert not any(exposes(n, c, t, m, size) for size in range(1, g))
    assert exposes(n, c, t, m, g)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "c"), [(6, 1), (6, 2), (6, 3), (6, 4), (7, 2), (7, 3)])
def test_trying_everything_finds_no_smaller_sum_in_larger_rounds(n, c):
    found = thresholds(n, c)
    assert search_everything(n, c, found.shares, found.survivors) == found.honest_inputs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "c"),
    [
        (8, 1),
        (8, 2),
        (8, 3),
        (9, 2),
        (9, 3),
    ],
)
def test_no_split_view_of_eight_or_nine_exposes_fewer_than_g_honest_inputs(n, c):
    found = thresholds(n, c)
    t, m, g = found.shares, found.survivors, found.honest_inputs
    assert not any(exposes(n, c, t, m, size) for size in range(1, g))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "c"), [(8, 1), (8, 2), (8, 3), (9, 2), (9, 3)])
def test_without_a_second_answer_nothing_below_three_or_below_the_count_is_exposed(n, c):
    found = thresholds(n, c)
    t, m, honest = found.shares, found.survivors, n - c
    counted = honest - honest * (n - m) // (t - c)
    assert counted >= 3
    assert not any(exposes(n, c, t, m, size, twice=False) for size in range(1, counted))


EIGHT = {  # n = 8, c = 1, t = m = 6: who of the honest 4, 5 and 6 is missing in whose lists
    0: [{4, 5}, {4, 6}],  # answers twice
    1: [{4, 5}],
    2: [{4, 6}],
    3: [{5, 6}],
    4: [{5, 6}],
    5: [{4, 6}],
    6: [{4, 5}],
}


def test_the_guarantee_of_eight_holds_against_a_known_split_view():
    """Each of 4, 5 and 6 is missing in five lists, so all their seeds with 0 to 3 fall."""
    answers = [[frozenset(range(7)) - missing for missing in EIGHT[k]] for k in range(7)]
    assert all(who in chosen for who, lists in enumerate(answers) for chosen in lists)
    assert smallest_exposed_sum(7, 5, answers) >= thresholds(8, 1).honest_inputs


@pytest.mark.parametrize(("n", "c"), [(4, 1), (5, 1), (6, 2), (7, 1)])
def test_one_share_less_would_expose_a_single_institution(n, c):
    t = thresholds(n, c).shares - 1
    assert exposes(n, c, t, m=t, size=1)


@pytest.mark.parametrize(("n", "c"), [(5, 1), (6, 2), (7, 1), (7, 3)])
def test_one_survivor_less_would_expose_a_single_institution(n, c):
    found = thresholds(n, c)
    assert exposes(n, c, found.shares, found.survivors - 1, size=1)
