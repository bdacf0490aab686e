"""What only a person does to a budget: grant a part of a ceiling, raise it, or give up privacy.

Signing an agreement grants all that is left (`Registrations.grant`); who wants to keep something
back for another gate or a later agreement grants a part before.
"""

import os
from dataclasses import replace
from decimal import Decimal

from comity_client.institution import Institution
from comity_common.dp.terms import Gate, Guarantee
from comity_common.errors import Problem
from comity_common.ledger.bodies import NONCE_BYTES, BudgetGrant, DatasetId


def grant_part(
    institution: Institution, dataset: DatasetId, guarantee: Guarantee, gate: Gate, order: int
) -> BudgetGrant:
    """Grant a part of the ceiling of a data set's budget, at terms that never change.

    Args:
        order: α of the Rényi filter, 2 to 256; 0 for other gates.

    Raises:
        Refusal: BUDGET: all grants together would pass the ceiling, or this one affords nothing.
    """
    grant = BudgetGrant(
        grant=os.urandom(NONCE_BYTES),
        namespace=institution.ledger.budget().namespace(dataset),
        guarantee=guarantee,
        gate=gate,
        order=order,
    )
    return _written(institution, grant)


def top_up(
    institution: Institution, dataset: DatasetId, name: str, epsilon: Decimal
) -> BudgetGrant:
    """Raise the ε of a grant, at the terms that it has.

    Args:
        name: the beginning of the grant's name, in hexadecimal.
        epsilon: what it is to have in all.

    Raises:
        Problem: there is no such grant, or several.
        Refusal: BUDGET: it has as much already, or all grants would pass the ceiling.
    """
    found = [
        one
        for one in institution.ledger.budget().grants(dataset)
        if name and one.grant.hex().startswith(name)
    ]
    if len(found) != 1 or found[0].guarantee is None:
        raise Problem("COM-BUDGET-006", name=name[:32], count=len(found) or "no")
    raised = replace(found[0].guarantee, epsilon=epsilon)
    return _written(institution, replace(found[0], guarantee=raised))


def grant_without_privacy(institution: Institution, dataset: DatasetId) -> BudgetGrant:
    """Allow agreements that promise nothing; the first of them makes ε infinite for good.

    Raises:
        Problem: the policy does not allow it.
    """
    if not institution.policy.without_privacy:
        raise Problem("COM-BUDGET-007")
    grant = BudgetGrant(
        grant=os.urandom(NONCE_BYTES),
        namespace=institution.ledger.budget().namespace(dataset),
        guarantee=None,
        gate=Gate.NONE,
        order=0,
    )
    return _written(institution, grant)


def _written(institution: Institution, grant: BudgetGrant) -> BudgetGrant:
    with institution.store.transaction() as tx:
        institution.ledger.budget().check_grant(grant)  # or it would spoil the ledger for good
        institution.ledger.append(tx, grant)
    return grant
