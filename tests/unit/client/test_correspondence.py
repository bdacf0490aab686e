"""What an institution signs, and that what it does not sign leaves its budget as it was."""

from dataclasses import replace
from decimal import Decimal

import pytest
from tests.unit.client.test_rehearsal import Place, place  # noqa: F401

from comity_client import correspondence
from comity_common.agreement import Agreement, TaskKind
from comity_common.crypto.sign import SigningKeys
from comity_common.dp.accountant import calibrate
from comity_common.dp.terms import Guarantee
from comity_common.errors import PeerError, Refusal, RefusalCode
from comity_common.ledger.bodies import DatasetId

CEILING = Guarantee(epsilon=Decimal(3), delta=Decimal("0.00001"))


def register(here: Place) -> DatasetId:
    return here.inst.data.register(
        here.rows, name="rows", task=TaskKind.SEQUENCE_CLASSIFICATION, ceiling=CEILING
    )


def claiming(here: Place, epsilon: int) -> Agreement:
    """Write an agreement that claims so much, at the order that needs the least noise for it."""
    draft = here.write(name=f"claims-{epsilon}")
    q, steps = draft.training.sampling_probability, 40 * draft.schedule.attempts
    noise, order = calibrate(q, steps, epsilon, CEILING.delta)
    privacy = replace(draft.privacy, epsilon=Decimal(epsilon), delta=CEILING.delta, order=order)
    training = replace(draft.training, noise_multiplier=noise)
    return replace(draft, privacy=privacy, training=training)


def sign(here: Place, agreement: Agreement, dataset: DatasetId) -> None:
    here.offer(agreement)
    known = here.inst.agreements.find(agreement.digest)
    correspondence.sign(here.inst, known, dataset)


def test_an_agreement_that_claims_more_than_the_ceiling_does_not_fix_the_order_of_the_budget(
    place: Place,  # noqa: F811
) -> None:
    dataset, budget = register(place), place.inst.ledger.budget
    greedy, modest = claiming(place, 4), claiming(place, 3)
    assert greedy.privacy.order != modest.privacy.order
    with pytest.raises(Refusal, match="within what is left of ε = 3"):
        sign(place, greedy, dataset)
    assert budget().grants(dataset) == ()
    sign(place, modest, dataset)
    (grant,) = budget().grants(dataset)
    assert (grant.order, grant.guarantee) == (modest.privacy.order, CEILING)


def test_an_agreement_with_others_keys_under_my_name_grants_nothing(place: Place) -> None:  # noqa: F811
    dataset, good = register(place), claiming(place, 3)
    keys = SigningKeys.generate()
    first, *others = good.institutions
    identity = replace(first.identity, ed25519=keys.public()[0])
    stranger = replace(good, institutions=(replace(first, identity=identity), *others))
    with pytest.raises(PeerError, match="own keys"):
        sign(place, stranger, dataset)
    assert place.inst.ledger.budget().grants(dataset) == ()


def test_an_agreement_whose_last_day_is_over_is_not_signed(place: Place) -> None:  # noqa: F811
    dataset, good = register(place), claiming(place, 3)
    over = replace(good, schedule=replace(good.schedule, expires="2026-01-01"))
    with pytest.raises(Refusal, match="a day until 2026-01-01") as refusal:
        sign(place, over, dataset)
    assert refusal.value.code is RefusalCode.AGREEMENT_EXPIRED
    assert place.inst.ledger.budget().grants(dataset) == ()
    assert list(place.inst.outbox.waiting()) == []
