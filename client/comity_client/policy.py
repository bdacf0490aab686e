"""The institution's own rules. They are never sent, and the operator cannot overrule them.

Default-deny: an agreement that a rule does not allow is refused with one code for all rules, so
that nobody can search them by asking.
"""

from decimal import Decimal
from pathlib import Path

from pydantic import Field

from comity_common.agreement import Agreement, Tune
from comity_common.errors import Refusal, RefusalCode
from comity_host import settings
from comity_host.settings import Settings


class Policy(Settings):
    """What an institution permits.

    Attributes:
        epsilon, delta: the most that one agreement may claim.
        min_participants: fewer institutions in a round are refused.
        tune: the parts of the model that may be trained.
        operators: jurisdictions in which the operator may sit; empty means any.
    """

    epsilon: Decimal = Field(default=Decimal(8), gt=0)
    delta: Decimal = Field(default=Decimal("0.00001"), gt=0, lt=1)
    min_participants: int = Field(default=3, ge=3)
    tune: tuple[Tune, ...] = (Tune.HEAD, Tune.LORA, Tune.FULL)
    operators: tuple[str, ...] = ()

    def check(self, agreement: Agreement) -> None:
        """Allow an agreement or refuse it.

        Raises:
            Refusal: POLICY, without saying which rule.
        """
        privacy = agreement.privacy
        allowed = (
            privacy.epsilon <= self.epsilon
            and privacy.delta <= self.delta
            and agreement.aggregation.min_participants >= self.min_participants
            and agreement.model.tune in self.tune
            and (not self.operators or agreement.operator.jurisdiction in self.operators)
        )
        if not allowed:
            raise Refusal(RefusalCode.POLICY, "expected an agreement that the policy permits")


def load(path: Path) -> Policy:
    """Read the policy file; without one the defaults hold.

    Raises:
        LocalError: the file is no TOML, or has a wrong or unknown key.
    """
    return settings.load(path, Policy) if path.exists() else Policy()
