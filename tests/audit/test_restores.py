"""What a ledger forgets where a person declares that it goes on from a backup is told."""

from collections.abc import Sequence

from comity_audit.ledgers.verification import Verification
from comity_audit.steps import Outcome, Step
from comity_common.ledger.bodies import Body, Restore
from tests.audit.campaign import subjects
from tests.audit.forging import places
from tests.audit.subject import RESTORED, Subject


def restored() -> Subject:
    (one,) = (one for one in subjects() if one.owner == RESTORED)
    return one


def told(of: Subject, bodies: Sequence[Body]) -> Step:
    book = of.written(bodies)
    verification = Verification(of.packed(book.entries, book.raw), anchors=of.anchors)
    steps = list(verification.steps())
    assert [step for step in steps if step.outcome is Outcome.FAILS] == []
    return next(step for step in steps if step.name == "restores")


def test_a_vault_that_counts_all_that_it_may_have_spent_is_told_so() -> None:
    of = restored()
    step = told(of, of.book.bodies)
    assert step.outcome is Outcome.WORD
    assert step.detail.endswith("all that may have been forgotten counts as spent")


def test_a_vault_that_goes_on_as_if_nothing_had_been_spent_is_told_by_name() -> None:
    of = restored()
    bodies = of.book.bodies
    (declared,) = (at for at in places(bodies, Restore) if bodies[at].generation)  # type: ignore[union-attr]
    begun = places(bodies, Restore)[0]
    step = told(of, [*bodies[:begun], *bodies[declared:]])
    name = of.federation.first.digest[:16]
    assert f"what may have been forgotten under {name}… does not count as spent" in step.detail
