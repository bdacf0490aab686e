"""All rules, and every way in which a dishonest owner breaks one from the beginning."""

import random

from tests.audit import institutionforgeries, operatorforgeries
from tests.audit.federation import OPERATOR
from tests.audit.forging import Forgery
from tests.audit.meaning import Tampered
from tests.audit.subject import Subject

FORGERIES: dict[str, Forgery] = institutionforgeries.FORGERIES | operatorforgeries.FORGERIES


def of_owner(of: Subject) -> dict[str, Forgery]:
    """Return those of an institution, or of the operator."""
    module = operatorforgeries if of.owner == OPERATOR else institutionforgeries
    return module.FORGERIES


def forge(of: Subject, chance: random.Random) -> Tampered:
    """Break one rule of those that its owner's ledger is under."""
    return chance.choice(list(of_owner(of).values())).package(of, chance)
