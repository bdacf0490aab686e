"""The institution's own rules. They are never sent, and the operator cannot overrule them.

Default-deny: an agreement that a rule does not allow is refused with one code for all rules, so
that nobody can search them by asking. They are asked when an agreement is signed, at every order
and once more when its plan has come; what they say is about the agreement alone, never about a
plan, whose terms an operator could vary (see `limits` for how often it is told no).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool, ValidationError

from comity_common.agreement import DIGEST_PATTERN, Agreement, Model, TaskKind, Unit
from comity_common.canonical import encode
from comity_common.crypto.derive import digest
from comity_common.errors import Problem, Refusal, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.masking import vector_bytes
from comity_common.tuning import Tune
from comity_host import settings
from comity_host.files import written_durably
from comity_host.modelterms import Line
from comity_host.settings import Settings, expected, like

MOST = 2**53 - 1  # of a whole number that has a canonical form


def _of_this_century(day: date) -> date:
    if day.year < 2000:  # a bare number would be read as seconds since 1970
        raise expected("a day as YYYY-MM-DD")
    return day


Country = Annotated[str, like(r"[A-Z]{2}", "two capital letters of ISO 3166-1, as in DE")]
Day = Annotated[date, AfterValidator(_of_this_century)]
Count = Annotated[int, Field(ge=1, le=MOST)]

EXPECTED = {
    "epsilon": "a number above 0",
    "delta": "a number above 0 and below 1",
    "without_privacy": "yes or no",
    "private_evaluation": "yes or no",
    "unit": "record or person",
    "min_participants": "a whole number of at least 3",
    "tasks": "sequence-classification or token-classification",
    "purposes": "lines of visible characters, or any alone",
    "models": "names or digests of base models, or any alone",
    "tune": "head, lora, lora-plain, bitfit or full",
    "operators": "countries as two letters each, such as DE, or any alone",
    "institutions": "countries as two letters each, such as DE, or any alone",
    "rounds": "a whole number of at least 1, or any",
    "days": "a whole number of at least 1, or any",
    "until": "a day as YYYY-MM-DD, or any",
    "upload_bytes": "a whole number of at least 1, or any",
    "expires": "a day as YYYY-MM-DD, or never",
}

Asked = tuple[bool, str, object, object]
"""Whether a rule holds, its name, what it permits, and what the agreement has."""


class Policy(Settings):
    """What an institution permits.

    Attributes:
        epsilon, delta: the most that one agreement may claim.
        without_privacy: whether an agreement may promise no privacy at all, ε = ∞.
        private_evaluation: whether models may be scored, with noise, on rows that are held out.
        unit: the least that must be protected; a person is more than a record.
        min_participants: fewer institutions in a round are refused.
        tasks: what a model may be trained for; empty means nothing.
        purposes: the very lines that an agreement may have as its purpose; empty means any.
        models: base models by name or, 64 hexadecimal digits, by digest; empty means any.
        tune: the parts of the model that may be trained; empty means none.
        operators: jurisdictions in which the operator may sit; empty means any.
        institutions: jurisdictions in which every other institution may sit; empty means any.
        rounds: the most rounds of one agreement, spare ones in; None for any.
        days: the most days that an agreement may still run; None for any.
        until: the latest day that may be an agreement's last; None for any.
        upload_bytes: the most that leaves in a round, as one masked vector; None for any.
        expires: the last day of these rules, after which nothing is permitted; None for never.
    """

    epsilon: Decimal = Field(default=Decimal(8), gt=0)
    delta: Decimal = Field(default=Decimal("0.00001"), gt=0, lt=1)
    without_privacy: StrictBool = False
    private_evaluation: StrictBool = True
    unit: Unit = Unit.RECORD
    min_participants: int = Field(default=3, ge=3)
    tasks: tuple[TaskKind, ...] = tuple(TaskKind)
    purposes: tuple[Line, ...] = ()
    models: tuple[Line, ...] = ()
    tune: tuple[Tune, ...] = tuple(Tune)
    operators: tuple[Country, ...] = ()
    institutions: tuple[Country, ...] = ()
    rounds: Count | None = None
    days: Count | None = None
    until: Day | None = None
    upload_bytes: Count | None = None
    expires: Day | None = None

    def check(self, agreement: Agreement, me: InstitutionId, today: date) -> None:
        """Allow an agreement or refuse it.

        Args:
            me: whose rules these are.
            today: in UTC.

        Raises:
            Refusal: POLICY. Its sentence names the rule, for the institution's own eyes; what
                leaves is the code alone.
        """
        if self.expires is not None and today > self.expires:
            raise Refusal(
                RefusalCode.POLICY,
                f"expected a policy that has not lapsed, this one was good until {self.expires}",
            )
        for rules in (
            self._promised(agreement),
            self._who(agreement, me),
            self._what(agreement),
            self._how_long(agreement, today),
        ):
            for holds, rule, permitted, asked in rules:
                if not holds:
                    raise Refusal(
                        RefusalCode.POLICY,
                        f"expected {rule} within the policy's {permitted}, "
                        f"the agreement has {asked}",
                    )

    def _promised(self, agreement: Agreement) -> Iterator[Asked]:
        privacy = agreement.privacy
        yield privacy.is_private or self.without_privacy, "without_privacy", "no", "yes"
        is_scored = agreement.private_evaluation is not None
        yield not is_scored or self.private_evaluation, "private_evaluation", "no", "yes"
        yield privacy.epsilon <= self.epsilon, "ε", self.epsilon, privacy.epsilon
        yield privacy.delta <= self.delta, "δ", self.delta, privacy.delta
        yield self.unit in (Unit.RECORD, privacy.unit), "unit", self.unit, privacy.unit

    def _who(self, agreement: Agreement, me: InstitutionId) -> Iterator[Asked]:
        fewest, operator = agreement.aggregation.min_participants, agreement.operator.jurisdiction
        others = {one.jurisdiction for one in agreement.institutions if one.id != me}
        outside = others - set(self.institutions) if self.institutions else set()
        yield fewest >= self.min_participants, "min_participants", self.min_participants, fewest
        yield _among(operator, self.operators), "operators", _listed(self.operators), operator
        yield not outside, "institutions", _listed(self.institutions), _listed(sorted(outside))

    def _what(self, agreement: Agreement) -> Iterator[Asked]:
        task, purpose, model = agreement.task.kind, agreement.purpose, agreement.model
        size = vector_bytes(model.parameters, agreement.aggregation.ring_width)
        is_base = not self.models or any(_names(entry, model) for entry in self.models)
        base = f"{model.name} ({model.base})"
        yield task in self.tasks, "tasks", _listed(self.tasks), task
        yield _among(purpose, self.purposes), "purposes", _listed(self.purposes), purpose
        yield is_base, "models", _listed(self.models), base
        yield model.tune in self.tune, "tune", _listed(self.tune), model.tune
        yield _at_most(size, self.upload_bytes), "upload_bytes", self.upload_bytes, size

    def _how_long(self, agreement: Agreement, today: date) -> Iterator[Asked]:
        rounds, last = agreement.attempts, agreement.schedule.last_day
        days = (last - today).days + 1  # today and the last day are days on which it runs
        yield _at_most(rounds, self.rounds), "rounds", self.rounds, rounds
        yield _at_most(days, self.days), "days", self.days, days
        yield self.until is None or last <= self.until, "until", self.until, last

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

    def commitment(self, salt: bytes) -> Digest:
        """What the ledger names these rules by.

        Rules are few and their values round: a digest without a salt could be tried out, offline.

        Args:
            salt: 32 bytes that stay at home.
        """
        days = {"until": _day(self.until), "expires": _day(self.expires)}
        return Digest(digest("policy/4", salt, encode(_Rules(**(dict(self) | days)))).hex())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """The canonical form of a policy; a new rule is another field, with a new label above."""

    epsilon: Decimal
    delta: Decimal
    without_privacy: bool
    private_evaluation: bool
    unit: Unit
    min_participants: int
    tasks: tuple[TaskKind, ...]
    purposes: tuple[str, ...]
    models: tuple[str, ...]
    tune: tuple[Tune, ...]
    operators: tuple[str, ...]
    institutions: tuple[str, ...]
    rounds: int | None
    days: int | None
    until: str | None
    upload_bytes: int | None
    expires: str | None


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


def _names(entry: str, model: Model) -> bool:
    """Tell whether an entry of `models` names a base: a digest is never compared with a name."""
    return entry == (model.base if DIGEST_PATTERN.fullmatch(entry) else model.name)


def _among(asked: str, permitted: tuple[str, ...]) -> bool:
    return not permitted or asked in permitted


def _at_most(asked: int, bound: int | None) -> bool:
    return bound is None or asked <= bound


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names) or "nothing"


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
