"""The split is fixed by the vault's key and the unit alone."""

import math
import os
from fractions import Fraction

import pytest

from comity_client.holdout import Holdout
from comity_common.errors import LocalError

UNITS = [str(k).encode() for k in range(4000)]


@pytest.mark.parametrize("share", [Fraction(1, 10), Fraction(1, 2), Fraction(9, 10)])
def test_about_the_share_is_held_out(share):
    split = Holdout(os.urandom(32), share)
    held = sum(split.holds(unit) for unit in UNITS)
    deviation = math.sqrt(len(UNITS) * float(share * (1 - share)))

    assert abs(held - len(UNITS) * float(share)) < 6 * deviation


def test_the_same_key_splits_alike_and_another_key_independently():
    key, share = os.urandom(32), Fraction(1, 2)
    one, again, other = Holdout(key, share), Holdout(key, share), Holdout(os.urandom(32), share)

    assert [one.holds(unit) for unit in UNITS] == [again.holds(unit) for unit in UNITS]
    agree = sum(one.holds(unit) == other.holds(unit) for unit in UNITS)
    assert abs(agree - len(UNITS) / 2) < 6 * math.sqrt(len(UNITS)) / 2


def test_a_larger_share_holds_out_more_and_gives_nobody_back():
    key = os.urandom(32)
    few, many = Holdout(key, Fraction(1, 10)), Holdout(key, Fraction(1, 5))

    assert all(many.holds(unit) for unit in UNITS if few.holds(unit))


def test_the_key_does_not_show():
    key = os.urandom(32)
    assert key.hex() not in repr(Holdout(key, Fraction(1, 2)))


@pytest.mark.parametrize(
    ("key", "share"),
    [(bytes(31), Fraction(1, 2)), (bytes(32), Fraction(0)), (bytes(32), Fraction(1))],
)
def test_a_split_needs_a_whole_key_and_a_true_share(key, share):
    with pytest.raises(LocalError):
        Holdout(key, share)
