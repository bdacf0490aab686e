"""A malicious operator and what it tries on an honest vault, case by case.

Four real vaults have signed an agreement that lies on every bound of the first one's policy. The
operator holds the keys that sign plans, offers and cards, may say what it likes when it likes, and
has its proposals judged by a script that signs whatever `correspondence.sign` lets it sign. What it
hears is what a vault's daemon answers to an order, and what the vault sends.

`CASES` is also a table in docs/attacks.md:

    python -m tests.simulation.malice    # writes it anew
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from comity_client import correspondence
from comity_client.agreements import AgreementState
from comity_client.correspondence import WITHDRAWN, Correspondence
from comity_client.daemon import Daemon
from comity_client.intake import order_answer
from comity_client.limits import JUDGED_A_DAY, REFUSED_ORDERS_A_DAY
from comity_client.model.base import base_digest
from comity_client.policy import Policy, load, save
from comity_client.releases import check_continuation
from comity_client.uplink import AgreementState as Told
from comity_common.agreement import (
    Agreement,
    Continuation,
    Gate,
    Noise,
    PrivateEvaluation,
    TaskKind,
)
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import PeerError, Problem, Refusal
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Body
from comity_common.membership import PROTOCOL_VERSION, OperatorCard, Withdrawal
from comity_common.optimizer import state_digest
from comity_common.secagg.collector import Collector
from comity_common.secagg.masking import vector_bytes
from comity_common.secagg.messages import Plan
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Stage
from comity_common.tuning import Tune

from . import test_vaults as vaults
from .operator import Line
from .test_vaults import Federation, Seat, check_sum

ROUNDS = 400
UNHEARD = "not heard"
DONE_BEFORE = "accepted, and nothing is done"
ATTACKS = Path(__file__).parents[2] / "docs" / "attacks.md"
TABLE = re.compile(r"(<!-- cases -->\n).*?(<!-- end -->)", re.DOTALL)


class Watched(Line):
    """The way out of a vault, with a list of all that leaves by it."""

    def __init__(self, line: Line) -> None:
        super().__init__(line.operator, line.me)
        self.left: list[tuple[int, Signed]] = []
        self.uploads = 0
        self.told: list[Told] = []

    def send(self, agreement: Digest, kind: int, message: Signed) -> None:
        """Take a small message."""
        self.left.append((kind, message))
        super().send(agreement, kind, message)

    def upload(self, *arguments: Any) -> Signed:
        """Take a whole upload."""
        self.uploads += 1
        return super().upload(*arguments)

    def fetch_agreements(self) -> list[Told]:
        """Tell whatever is to be told."""
        return self.told


class Malice:
    """Four vaults under one agreement, of which the first is tried.

    Attributes:
        target: the vault that is tried.
        line: what the operator sees of it.
    """

    def __init__(self, path: Path) -> None:
        self.federation = Federation(path, n=4, rounds=ROUNDS, spare=0, minimum=4)
        self.federation.set_up_keys()
        self.agreement, self.operator = self.federation.agreement, self.federation.operator
        self.roster = list(self.agreement.roster)
        self.target: Seat = self.federation.seats[self.roster[0]]
        self._start()
        self.base = _model_files(path / "base")
        self.dataset = self.inst.agreements.get(self.agreement.digest).dataset
        self.inst.keep_card(self.operator.keys.sign(Purpose.CARD, encode(self._card())))
        save(self.inst.home.policy, self._on_every_bound())
        self.done: list[Plan] = []
        self.honest_round()

    def close(self) -> None:
        """Stop listening."""
        self.daemon.close()

    def restart(self) -> None:
        """End the target's process and start it again."""
        self.daemon.close()
        self.target.wake()
        self._start()

    def _start(self) -> None:
        """Put the target's daemon around its parts, and look at all that leaves it."""
        self.inst = self.target.inst
        self.line = Watched(self.target.line)
        for part in (self.target.vault, self.target.letters, self.target.mailroom):
            part._uplink = self.line  # type: ignore[attr-defined]
        self.daemon = Daemon(self.inst, lambda name, round: None)
        self.daemon._vault = self.target.vault
        self.answer = order_answer(self.daemon._accept, self.daemon._refused)

    def honest_round(self) -> None:
        """Run a round as it should be, in which every vault's delta is counted."""
        plan = self.operator.begin_round(self.roster)
        assert self.order(plan) == ""
        assert self.federation.order(plan, self.roster[1:]) == {}
        for seat in self.federation.seats.values():
            seat.work()
        self.federation.finish(self.roster)
        assert self.operator.collector.stage is Stage.CERTIFIED
        check_sum(self.federation, self.roster)
        self.done.append(plan)

    def takes_part(self) -> None:
        """Let the target alone take part in the next round, up to its upload."""
        plan, trained = self.operator.begin_round(self.roster), self.target.bench.trained
        assert self.order(plan) == ""
        self.target.work()
        assert self.operator.vectors.keys() == {self.inst.me}
        assert self.target.bench.trained == trained + 1

    # what an operator can do

    def order(self, plan: Plan, number: int | None = None, agreement: Digest | None = None) -> str:
        """Bring an order through Flower; return the code of the answer, empty where accepted."""
        answer = self.answer(
            {
                "agreement": agreement or self.agreement.digest,
                "round": plan.round if number is None else number,
                "plan": plan_digest(plan),
            }
        )
        assert set(answer) == {"accepted", "code"}
        assert answer["accepted"] is (answer["code"] == "")
        return str(answer["code"])

    def true_plan(self) -> Plan:
        """Write and publish the plan of the next round, as it should be."""
        return self.operator.begin_round(self.roster)

    def publish(self, plan: Plan, signed: Signed | None = None) -> None:
        """Have a plan at hand when a vault asks for it."""
        self.operator.plans[plan_digest(plan)] = signed or self.sign(Purpose.PLAN, plan)
        self.operator.collector = Collector(self.agreement, plan)

    def order_changed(self, **changes: Any) -> str:
        """Order the next round with a plan of other terms."""
        true = self.true_plan()
        changed = replace(true, **changes)
        self.publish(changed)
        return self.order(changed, true.round)

    def order_signed(self, sign: Callable[[bytes], Signed]) -> str:
        """Order the next round with a plan that is signed or spelled otherwise."""
        plan = self.true_plan()
        self.publish(plan, sign(encode(plan)))
        return self.order(plan)

    def sign(self, purpose: Purpose, message: object) -> Signed:
        """Sign as the operator."""
        return self.operator.keys.sign(purpose, encode(message))

    def draft(self, rounds: int = 1, **changes: Any) -> Agreement:
        """Write a new agreement that the target would sign, but for the changes."""
        fresh = replace(
            self.agreement,
            nonce=os.urandom(16),
            model=replace(self.agreement.model, name=str(self.base), base=base_digest(self.base)),
            schedule=replace(self.agreement.schedule, rounds=rounds),
        )
        return replace(fresh, **changes)

    def tell(self, agreement: Agreement, *signed_by: InstitutionId, **other: bytes) -> None:
        """Let the target look for agreements, and find this one, with some signatures.

        Args:
            other: signatures by name, also false ones.
        """
        raw, operator = encode(agreement), self.agreement.operator.id
        signatures = {operator: self.sign(Purpose.AGREEMENT, agreement).signature}
        for who in signed_by:
            keys = self.federation.seats[who].inst.keys.signing
            signatures[who] = keys.sign(Purpose.AGREEMENT, raw).signature
        signatures |= {InstitutionId(k.replace("_", "-")): v for k, v in other.items()}
        self.line.told = [Told(raw=raw, state="proposed", signatures=signatures, withdrawals=())]
        Correspondence(self.inst, self.line).refresh()  # type: ignore[arg-type]

    def withdraw_offers(self) -> None:
        """Take back what was proposed and is not in force."""
        states = (AgreementState.OFFERED, AgreementState.SIGNED)
        operator = self.agreement.operator.id
        self.line.told = [
            Told(
                raw=one.raw,
                state=WITHDRAWN,
                signatures={operator: self.sign(Purpose.AGREEMENT, one.agreement).signature},
                withdrawals=(),
            )
            for one in self.inst.agreements.known()
            if one.state in states
        ]
        Correspondence(self.inst, self.line).refresh()  # type: ignore[arg-type]

    def propose(self, agreement: Agreement) -> str:
        """Propose an agreement to an institution whose script signs what may be signed."""
        self.tell(agreement)
        known = [one for one in self.inst.agreements.known() if one.agreement == agreement]
        if not known:
            return UNHEARD
        correspondence.sign(self.inst, known[0], self.dataset)
        self.target.work()
        return ""

    def order_under(self, agreement: Agreement) -> str:
        """Order a first round under an agreement."""
        return self.order(self.true_plan(), 1, agreement.digest)

    # what is seen at home

    def length(self) -> int:
        """Return how many entries the target's ledger has."""
        return int(self.inst.store.reading().execute("select count(*) from entries").fetchone()[0])

    def written_since(self, length: int) -> list[Body]:
        """Read what the target's ledger has grown by."""
        return [entry.body for entry in self.inst.ledger.entries()[length:]]

    # what changes at home

    @contextmanager
    def policy(self, **rules: Any) -> Iterator[None]:
        """Change the target's policy for a while, as its people may."""
        before = load(self.inst.home.policy)
        save(self.inst.home.policy, before.changed(rules))
        yield
        save(self.inst.home.policy, before)

    @contextmanager
    def on(self, day: datetime) -> Iterator[None]:
        """Let another day be today, for all."""
        before, vaults.NOW = vaults.NOW, day
        yield
        vaults.NOW = before

    def tomorrow(self) -> None:
        """Let a day go by."""
        vaults.NOW += timedelta(days=1)

    def _on_every_bound(self) -> Policy:
        agreement = self.agreement
        size = vector_bytes(agreement.model.parameters, agreement.aggregation.ring_width)
        return Policy(
            epsilon=agreement.privacy.epsilon,
            delta=agreement.privacy.delta,
            private_evaluation=False,
            min_participants=agreement.aggregation.min_participants,
            tasks=(agreement.task.kind,),
            purposes=(agreement.purpose,),
            models=(agreement.model.name, base_digest(self.base)),
            tune=(agreement.model.tune,),
            operators=(agreement.operator.jurisdiction,),
            institutions=("DE",),
            rounds=agreement.schedule.attempts,
            until=date.fromisoformat(agreement.schedule.expires),
            upload_bytes=size,
        )

    def _card(self) -> OperatorCard:
        return OperatorCard(
            version=PROTOCOL_VERSION,
            operator=self.agreement.operator,
            transfer="127.0.0.1:1",
            gate="",
            institution=self.inst.me,
            jurisdiction="DE",
            expires=2_000_000_000,
            now=1_700_000_000,
        )


@dataclass(frozen=True, slots=True)
class Case:
    """One attempt.

    Attributes:
        code: what both sides see: a refusal code, a problem that is told at home, or that nothing
            is heard at all.
        attempt: returns the answer to the last order; empty where none came or it was accepted.
    """

    what: str
    code: str
    attempt: Callable[[Malice], str]


def _changed(**changes: Any) -> Callable[[Malice], str]:
    return lambda malice: malice.order_changed(**changes)


def _signed(sign: Callable[[Malice, bytes], Signed]) -> Callable[[Malice], str]:
    return lambda malice: malice.order_signed(lambda raw: sign(malice, raw))


def _proposed(amend: Callable[[Malice, Agreement], Agreement], rounds: int = 1,
              ) -> Callable[[Malice], str]:  # fmt: skip
    return lambda malice: malice.propose(amend(malice, malice.draft(rounds)))


def _part(name: str, **changes: Any) -> Callable[[Malice, Agreement], Agreement]:
    """Amend one part of an agreement."""
    return lambda _, agreement: replace(
        agreement, **{name: replace(getattr(agreement, name), **changes)}
    )


def _scaled(factor: str) -> Callable[[Malice, Agreement], Agreement]:
    def amend(_: Malice, agreement: Agreement) -> Agreement:
        noise = agreement.training.noise_multiplier * Decimal(factor)
        return replace(agreement, training=replace(agreement.training, noise_multiplier=noise))

    return amend


def _scored(_: Malice, agreement: Agreement) -> Agreement:
    """Ask for scores that cost next to nothing."""
    terms = PrivateEvaluation(
        share=Decimal("0.1"),
        after=(1,),
        spare=0,
        units=100,
        noise_multiplier=Decimal(5000),
        loss_clip=Decimal(4),
        grid=64,
    )
    return replace(agreement, private_evaluation=terms)


def _without_privacy(_: Malice, agreement: Agreement) -> Agreement:
    none = Decimal(0)
    privacy = replace(
        agreement.privacy, noise=Noise.NONE, gate=Gate.NONE, order=0, epsilon=none, delta=none
    )
    return replace(
        agreement, privacy=privacy, training=replace(agreement.training, noise_multiplier=none)
    )


def _disguised(malice: Malice, agreement: Agreement) -> Agreement:
    """Another base, called by the digest of the one that is permitted."""
    model = replace(agreement.model, name=base_digest(malice.base), base=Digest("9" * 64))
    return replace(agreement, model=model)


def _abroad(_: Malice, agreement: Agreement) -> Agreement:
    *others, last = agreement.institutions
    return replace(agreement, institutions=(*others, replace(last, jurisdiction="US")))


def _moved(_: Malice, agreement: Agreement) -> Agreement:
    return replace(agreement, operator=replace(agreement.operator, jurisdiction="US"))


def _stranger(malice: Malice, agreement: Agreement) -> Agreement:
    """The target's name with another's keys."""
    first, *others = agreement.institutions
    ed25519, mldsa44 = SigningKeys.generate().public()
    false = replace(first.identity, ed25519=ed25519, mldsa44=mldsa44)
    return replace(agreement, institutions=(replace(first, identity=false), *others))


def _continued(malice: Malice, agreement: Agreement) -> Agreement:
    """Go on with the model, as it should be."""
    state = malice.operator.state
    earlier = Continuation(
        agreement=malice.agreement.digest,
        certificate=malice.operator.previous,
        certified=state.round,
    )
    model = replace(agreement.model, initial_state=state_digest(state))
    made = replace(agreement, continues=earlier, model=model)
    check_continuation(malice.inst.progress, made)
    return made


def _falsely_continued(malice: Malice, agreement: Agreement) -> Agreement:
    made = _continued(malice, agreement)
    assert made.continues is not None
    return replace(made, continues=replace(made.continues, certificate=Digest("7" * 64)))


def _never_signed(malice: Malice) -> str:
    agreement = malice.draft()
    malice.tell(agreement, *malice.roster[1:])
    return malice.order_under(agreement)


def _signed_by_fewer(malice: Malice) -> str:
    agreement = malice.draft()
    malice.propose(agreement)
    _begin(malice)
    malice.tell(agreement, *malice.roster[:-1])
    return malice.order_under(agreement)


def _amended_afterwards(malice: Malice) -> str:
    """One byte, under the signatures of what it was before."""
    agreement = malice.draft()
    malice.propose(agreement)
    _begin(malice)
    raw = encode(agreement)
    old = {
        who.replace("-", "_"): malice.federation.seats[who]
        .inst.keys.signing.sign(Purpose.AGREEMENT, raw)
        .signature
        for who in malice.roster
    }
    amended = replace(agreement, purpose="resting")
    assert len(encode(amended)) == len(raw)
    malice.tell(amended, **old)
    return malice.order_under(amended)


def _begin(malice: Malice) -> None:
    """Count what leaves from here on: what came before was in order."""
    malice.line.left.clear()


def _again(malice: Malice) -> str:
    return malice.order(malice.done[-1]) or DONE_BEFORE


def _old_plan_for_a_new_round(malice: Malice) -> str:
    return malice.order(malice.done[-1], malice.true_plan().round)


def _other_plan_for_an_old_round(malice: Malice) -> str:
    last = malice.done[-1]
    other = replace(last, nonce=os.urandom(16))
    malice.publish(other)
    return malice.order(other)


def _twice(malice: Malice) -> str:
    """A first plan is refused; another one for the same round is too late."""
    first = malice.true_plan()
    malice.publish(replace(first, steps=first.steps + 1))
    assert malice.order(replace(first, steps=first.steps + 1)) == ""
    other = replace(first, nonce=os.urandom(16))
    malice.publish(other)
    return malice.order(other)


def _under(**rules: Any) -> Callable[[Malice], str]:
    """Order the true next round under a policy that has become stricter."""

    def attempt(malice: Malice) -> str:
        with malice.policy(**rules):
            return malice.order(malice.true_plan())

    return attempt


def _under_from_then_on(**rules: Any) -> Callable[[Malice], str]:
    """The policy becomes stricter between an order and its plan."""

    def attempt(malice: Malice) -> str:
        assert malice.order(malice.true_plan()) == ""
        with malice.policy(**rules):
            malice.target.work()
        return ""

    return attempt


def _unreadable(malice: Malice) -> str:
    file = malice.inst.home.policy
    before = file.read_bytes()
    file.write_bytes(before + b"\nepsilonn = 80\n")
    answer = malice.order(malice.true_plan())
    file.write_bytes(before)
    return answer


def _too_late(malice: Malice) -> str:
    with malice.on(datetime(2100, 1, 1, tzinfo=UTC)):
        return malice.order(malice.true_plan())


def _too_late_from_then_on(malice: Malice) -> str:
    assert malice.order(malice.true_plan()) == ""
    with malice.on(datetime(2100, 1, 1, tzinfo=UTC)):
        malice.target.work()
    return ""


def _on_other_rows(malice: Malice) -> str:
    file = malice.inst.data.file(malice.dataset)
    before = file.read_bytes()
    file.write_bytes(before + b'{"text": "one row more", "label": "b"}\n')
    try:
        return malice.propose(malice.draft())
    finally:
        file.write_bytes(before)


def _halving(malice: Malice) -> str:
    """Find the ε that is permitted by proposing others; the last one would be within it."""
    asked = [Decimal(8) + Decimal(8) / 2**k for k in range(JUDGED_A_DAY)]
    privacy = malice.agreement.privacy
    for epsilon in asked:
        with suppress(Refusal):
            malice.propose(malice.draft(privacy=replace(privacy, epsilon=epsilon)))
    return malice.propose(malice.draft())


def _asking_again_and_again(malice: Malice) -> str:
    """Ask every minute whether the policy still is what it was."""
    plan = malice.true_plan()
    with malice.policy(epsilon=Decimal(1)):
        codes = [malice.order(plan) for _ in range(REFUSED_ORDERS_A_DAY + 3)]
    assert codes.count("policy") <= REFUSED_ORDERS_A_DAY
    return codes[-1]


IDS = tuple(InstitutionId(f"inst-0{k}") for k in range(4))

PLANS = (
    Case("a plan with more steps", "plan", _changed(steps=6)),
    Case("a plan with less noise", "plan", _changed(noise_multiplier=Decimal("0.5"))),
    Case("a plan without noise", "plan", _changed(noise_multiplier=Decimal(0))),
    Case("a plan that samples more rows (q)", "plan", _changed(sampling_probability=Decimal(1))),
    Case("a plan that clips less", "plan", _changed(clip_norm=Decimal(100))),
    Case("a plan with fewer participants than were agreed", "plan", _changed(participants=IDS[:3])),
    Case(
        "a plan with a participant outside the roster",
        "plan",
        _changed(participants=(*IDS, InstitutionId("stranger"))),
    ),
    Case(
        "a plan with this institution twice", "plan", _changed(participants=(IDS[0], *IDS))
    ),
    Case("a plan without this institution", "plan", _changed(participants=IDS[1:])),
    Case("a plan for another model", "behind", _changed(model=Digest("9" * 64))),
    Case("a plan after another certificate", "behind", _changed(previous=Digest("9" * 64))),
    Case(
        "a plan that scores where only training was agreed", "plan", _changed(kind="evaluate")
    ),
    Case("a plan with more lanes", "plan", _changed(lanes=41)),
    Case("a plan with another ring width", "plan", _changed(ring_width=24)),
    Case("a plan with a larger range", "plan", _changed(range=Decimal(100))),
    Case("a plan with a lower threshold", "plan", _changed(threshold=2)),
    Case("a plan with fewer survivors", "plan", _changed(minimum=2)),
    Case("a plan of another key epoch", "stale-round", _changed(epoch=2)),
    Case("a plan of another agreement", "plan", _changed(agreement=Digest("9" * 64))),
    Case("a plan of a round beyond the schedule", "plan", _changed(round=ROUNDS + 1)),
    Case(
        "a plan with a term that plans do not have (a divisor)",
        "plan",
        _signed(lambda m, raw: m.operator.keys.sign(
            Purpose.PLAN, raw.replace(b'"epoch"', b'"divisor":"1","epoch"')
        )),
    ),
    Case(
        "a plan that is spelled otherwise",
        "plan",
        _signed(lambda m, raw: m.operator.keys.sign(Purpose.PLAN, raw + b"\n")),
    ),
    Case(
        "a plan that nobody signed",
        "plan",
        _signed(lambda m, raw: Signed(body=raw, signature=b"")),
    ),
    Case(
        "a plan that a stranger signed",
        "plan",
        _signed(lambda m, raw: SigningKeys.generate().sign(Purpose.PLAN, raw)),
    ),
    Case(
        "a plan that another institution signed",
        "plan",
        _signed(lambda m, raw: m.federation.seats[IDS[1]].inst.keys.signing.sign(
            Purpose.PLAN, raw
        )),
    ),
    Case(
        "a plan under the signature of a certificate",
        "plan",
        _signed(lambda m, raw: m.operator.keys.sign(Purpose.CERTIFICATE, raw)),
    ),
)  # fmt: skip

ORDERS = (
    Case("the order of a round that is over, again", DONE_BEFORE, _again),
    Case("the plan of an earlier round for a new one", "plan", _old_plan_for_a_new_round),
    Case("another plan for a round that is over", "stale-round", _other_plan_for_an_old_round),
    Case("two plans for one round at once", "stale-round", _twice),
    Case(
        "a round beyond the schedule", "plan", lambda m: m.order(m.true_plan(), ROUNDS + 1)
    ),
    Case("round 0", "plan", lambda m: m.order(m.true_plan(), 0)),
    Case(
        "an order under an agreement that there is not",
        "unknown-agreement",
        lambda m: m.order(m.true_plan(), agreement=Digest("9" * 64)),
    ),
    Case("an order after the agreement's last day", "agreement-expired", _too_late),
    Case(
        "an order that waited until after the last day",
        "agreement-expired",
        _too_late_from_then_on,
    ),
    Case("asking again and again whether the policy has changed", "unavailable",
         _asking_again_and_again),
)  # fmt: skip

TIGHTENED = (
    Case("an order after the policy's ε became less", "policy", _under(epsilon=1)),
    Case("an order after the policy's δ became less", "policy", _under(delta="0.000001")),
    Case("an order after more participants were asked for", "policy", _under(min_participants=5)),
    Case("an order after its purpose was dropped", "policy", _under(purposes=("another",))),
    Case("an order after its base was dropped", "policy", _under(models=("another",))),
    Case("an order after its task was dropped", "policy",
         _under(tasks=(TaskKind.TOKEN_CLASSIFICATION,))),
    Case("an order after its part of the model was dropped", "policy", _under(tune=(Tune.FULL,))),
    Case("an order after persons were to be protected", "policy", _under(unit="person")),
    Case("an order after the operator's country was dropped", "policy", _under(operators=("FR",))),
    Case("an order after the last day was put forward", "policy", _under(until="2026-12-31")),
    Case("an order after the policy lapsed", "policy", _under(expires="2026-01-01")),
    Case("an order while the policy cannot be read", "unavailable", _unreadable),
    Case("an order that waited until the policy was stricter", "policy",
         _under_from_then_on(epsilon=1)),
    Case("an order that waited until the policy lapsed", "policy",
         _under_from_then_on(expires="2026-01-01")),
)  # fmt: skip

NOT_IN_FORCE = (
    Case("an order under an agreement that this institution never signed", "unknown-agreement",
         _never_signed),
    Case("an order under an agreement that not all have signed", "unknown-agreement",
         _signed_by_fewer),
    Case("an order under an agreement of which a byte was amended after signing",
         "unknown-agreement", _amended_afterwards),
)  # fmt: skip

PROPOSED = (
    Case("a new agreement with more ε", "policy",
         _proposed(_part("privacy", epsilon=Decimal("8.000001")))),
    Case("a new agreement with more δ", "policy",
         _proposed(_part("privacy", delta=Decimal("0.000011")))),
    Case("a new agreement without privacy", "policy", _proposed(_without_privacy)),
    Case("a new agreement with scores on rows that are held out", "policy", _proposed(_scored)),
    Case("a new agreement that fewer institutions are enough for", "policy",
         _proposed(_part("aggregation", min_participants=3))),
    Case("a new agreement for another purpose", "policy",
         _proposed(lambda m, agreement: replace(agreement, purpose="testing more"))),
    Case("a new agreement for another task", "policy",
         _proposed(_part("task", kind=TaskKind.TOKEN_CLASSIFICATION))),
    Case("a new agreement with labels that no row here has", "COM-DATA-010",
         _proposed(_part("task", labels=("x", "y")))),
    Case("a new agreement on another base", "policy",
         _proposed(_part("model", base=Digest("9" * 64)))),
    Case("a new agreement on another base that has the name of the permitted digest",
         "policy", _proposed(_disguised)),
    Case("a new agreement that trains more of the model", "policy",
         _proposed(_part("model", tune=Tune.FULL))),
    Case("a new agreement with a larger vector", "policy",
         _proposed(_part("model", parameters=400))),
    Case("a new agreement with an institution abroad", "policy", _proposed(_abroad)),
    Case("a new agreement of an operator that has moved abroad", UNHEARD, _proposed(_moved)),
    Case("a new agreement with other keys for this institution", UNHEARD, _proposed(_stranger)),
    Case("a new agreement with a longer schedule", "policy",
         _proposed(_part("schedule", rounds=ROUNDS + 1))),
    Case("a new agreement with more spare rounds", "policy",
         _proposed(_part("schedule", spare_rounds=ROUNDS))),
    Case("a new agreement that ends later", "policy",
         _proposed(_part("schedule", expires="2100-01-01"))),
    Case("a new agreement with less noise for the same ε", "budget", _proposed(_scaled("0.05"))),
    Case("a new agreement with more steps for the same ε", "budget",
         _proposed(_part("training", local_steps=10_000))),
    Case("a new agreement that samples more rows for the same ε", "budget",
         _proposed(_part("training", sampling_probability=Decimal(1)), rounds=100)),
    Case("a new agreement that claims less ε than it takes", "budget",
         _proposed(_part("privacy", epsilon=Decimal("0.5")), rounds=100)),
    Case("a new agreement at an order that affords nothing", "budget",
         _proposed(_part("privacy", order=2))),
    Case("an agreement that goes on from a false certificate", "COM-AGREE-007",
         _proposed(_falsely_continued)),
    Case("an agreement that goes on, for more rounds than are permitted", "policy",
         _proposed(_continued, rounds=ROUNDS + 1)),
    Case("a new agreement after the rows were changed", "COM-DATA-018", _on_other_rows),
    Case("finding the ε that is permitted by halving", "COM-AGREE-009", _halving),
)  # fmt: skip

GROUPS = (PLANS, ORDERS, TIGHTENED, NOT_IN_FORCE, PROPOSED)
CASES = tuple(case for group in GROUPS for case in group)


def say(malice: Malice, case: Case) -> str:
    """Try a case and return what was said to it, by the vault or to the vault's people."""
    _begin(malice)
    try:
        said = case.attempt(malice)
    except Refusal as refusal:
        said = refusal.code.value
    except Problem as problem:
        said = problem.code
    except PeerError:
        said = UNHEARD
    malice.target.work()
    return said


def withdraw(malice: Malice, who: InstitutionId) -> None:
    """Let an institution leave, and the target hear of it."""
    withdrawal = Withdrawal(agreement=malice.agreement.digest, institution=who, by=who)
    keys = malice.federation.seats[who].inst.keys.signing
    signed = keys.sign(Purpose.WITHDRAWAL, encode(withdrawal))
    malice.inst.agreements.note_withdrawal(malice.agreement, malice.inst.me, signed)


def table() -> str:
    """Draw the cases for docs/attacks.md."""
    rows = ["| the operator tries | and is told |", "|---|---|"]
    rows += [f"| {case.what} | {_shown(case)} |" for case in CASES]
    return "\n".join(rows) + "\n"


def rewritten(text: str) -> str:
    """Return the document with the table as it is now."""
    return TABLE.sub(lambda found: found[1] + table() + found[2], text)


def _shown(case: Case) -> str:
    code = case.code if " " in case.code else f"`{case.code}`"
    return f"no signature; its people: {code}" if case in PROPOSED else code


def _model_files(directory: Path) -> Path:
    """Make what has the digest of a base model."""
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(b"weights")
    return directory


if __name__ == "__main__":
    ATTACKS.write_text(rewritten(ATTACKS.read_text("utf-8")), "utf-8")
