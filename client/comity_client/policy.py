"""The institution's own rules. They are never sent, and the operator cannot overrule them.

Default-deny: an agreement that a rule does not allow is refused with one code for all rules, so
that nobody can search them by asking.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from comity_common.agreement import Agreement
from comity_common.canonical import encode
from comity_common.crypto.derive import digest
from comity_common.errors import Problem, Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.tuning import Tune
from comity_host import settings
from comity_host.files import written_durably
from comity_host.settings import Settings, like

Country = Annotated[str, like(r"[A-Z]{2}", "two capital letters of ISO 3166-1, as in DE")]

PARTS = {
    Tune.HEAD: "the classifier",
    Tune.LORA: "LoRA (small updates inside the BERT)",
    Tune.LORA_PLAIN: "both factors of LoRA",
    Tune.BITFIT: "the biases of the BERT",
    Tune.FULL: "the whole BERT",
}
EXPECTED = {
    "epsilon": "a number above 0",
    "delta": "a number above 0 and below 1",
    "min_participants": "a whole number of at least 3",
    "tune": "head, lora, lora-plain, bitfit or full",
    "operators": "countries as two letters each, such as DE, or any alone",
}


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
    tune: tuple[Tune, ...] = tuple(Tune)
    operators: tuple[Country, ...] = ()

    def check(self, agreement: Agreement) -> None:
        """Allow an agreement or refuse it.

        Raises:
            Refusal: POLICY. Its sentence names the rule, for the institution's own eyes; what
                leaves is the code alone.
        """
        privacy, tune = agreement.privacy, agreement.model.tune
        fewest, country = agreement.aggregation.min_participants, agreement.operator.jurisdiction
        rules = (
            (privacy.epsilon <= self.epsilon, "ε", self.epsilon, privacy.epsilon),
            (privacy.delta <= self.delta, "δ", self.delta, privacy.delta),
            (fewest >= self.min_participants, "min_participants", self.min_participants, fewest),
            (tune in self.tune, "tune", ", ".join(self.tune), tune),
            (
                not self.operators or country in self.operators,
                *("operators", ", ".join(self.operators), country),
            ),
        )
        for holds, rule, permitted, asked in rules:
            if not holds:
                raise Refusal(
                    RefusalCode.POLICY,
                    f"expected {rule} within the policy's {permitted}, the agreement has {asked}",
                )

    def changed(self, rules: Mapping[str, object]) -> "Policy":
        """Return the policy with some rules changed.

        Args:
            rules: by the names of their fields.

        Raises:
            Problem: a value is out of range.
        """
        try:
            return Policy.model_validate({**dict(self), **rules})
        except ValidationError as error:
            rule = str(error.errors(include_input=False, include_url=False)[0]["loc"][0])
            option = "--" + rule.replace("_", "-")
            raise Problem("COM-POLICY-002", option=option, expected=EXPECTED[rule]) from None

    @property
    def digest(self) -> Digest:
        """What the ledger names these rules by."""
        return Digest(digest("policy", encode(_Rules(**dict(self)))).hex())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """The canonical form of a policy; a new rule is another field, with a new label above."""

    epsilon: Decimal
    delta: Decimal
    min_participants: int
    tune: tuple[Tune, ...]
    operators: tuple[str, ...]


def load(path: Path) -> Policy:
    """Read the policy file; without one the defaults hold.

    Raises:
        Problem: the file is no TOML, or has a wrong or unknown key.
    """
    return settings.load(path, Policy) if path.exists() else Policy()


def save(path: Path, policy: Policy) -> None:
    """Write the policy file so that it is whole and on disk, or as it was before."""
    with written_durably(path) as draft:
        settings.write(Path(draft.name), policy)


def in_words(policy: Policy) -> list[str]:
    """Say what a policy permits, a sentence each."""
    return [
        f"One agreement may claim at most ε = {_plain(policy.epsilon)} "
        f"at δ = {_plain(policy.delta)} for any record.",
        f"There must be at least {policy.min_participants} institutions in every round.",
        _trainable(policy.tune),
        f"The operator may sit in {_either(policy.operators) or 'any country'}.",
    ]


def _trainable(tune: tuple[Tune, ...]) -> str:
    allowed = [words for part, words in PARTS.items() if part in tune]
    barred = [words for part, words in PARTS.items() if part not in tune]
    if not allowed:
        return "Nothing may be trained."
    if not barred:
        return f"Any part of the model may be trained: {_either(allowed)}."
    neither = " nor ".join(barred)
    return f"Only {_either(allowed)} may be trained, not {neither}."


def _either(names: tuple[str, ...] | list[str]) -> str:
    """Join names: "a", "a or b", "a, b or c"; nothing for none."""
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")
