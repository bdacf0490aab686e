"""A certificate is believed for what it proves, and a forged history moves no model.

Five vaults, the fifth asleep for a round of the other four. Seat 0 answered the survivor list and
has not seen the certificate yet; seat 4 was not in the sum. The operator, who holds the keys that
sign plans and certificates, forges; colluding institutions endorse whatever they are told.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.simulation.test_vaults import Federation, Seat

from comity_client.models import ModelFiles
from comity_client.progress import Progress
from comity_client.releases import accept_certificate
from comity_common import chunks
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.optimizer import state_digest
from comity_common.secagg.masking import sections
from comity_common.secagg.messages import CertificateBody, Endorsement, Plan
from comity_common.secagg.participant import certificate_digest
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Phase, Stage

T = 4  # shares of five, hence endorsements


class Ended:
    """A federation whose first round has just ended, and an operator who wants it otherwise."""

    def __init__(self, path: Path) -> None:
        self.federation = Federation(path, n=5)
        self.federation.set_up_keys()
        roster = list(self.federation.agreement.roster)
        operator = self.operator = self.federation.operator
        self.plan: Plan = operator.begin_round(roster)
        assert self.federation.order(self.plan, roster[:4]) == {}
        self.seats: list[Seat] = list(self.federation.seats.values())
        for seat in self.seats[:4]:
            seat.work()
        operator.collector.expire()
        operator.ask_reveals()
        for seat in self.seats[:4]:
            seat.work()
        operator.certify()
        assert operator.collector.stage is Stage.CERTIFIED
        self.survivor, self.absent = self.seats[0], self.seats[4]
        self.model = state_digest(operator.state)
        self.total = operator.totals[1]
        self.body: CertificateBody = operator.collector.certificate(total_root(self.total))

    def certificate(self, body: CertificateBody | None = None) -> Signed:
        return self.operator.keys.sign(Purpose.CERTIFICATE, encode(body or self.body))

    def signed_plan(self, plan: Plan | None = None) -> Signed:
        return self.operator.keys.sign(Purpose.PLAN, encode(plan or self.plan))

    def endorse(self, seat: Seat, body: CertificateBody | None = None, **changes: Any) -> Signed:
        body = body or self.body
        endorsement = Endorsement(
            agreement=body.agreement,
            epoch=body.epoch,
            round=body.round,
            institution=seat.inst.me,
            certificate=certificate_digest(body),
            model=self.model,
        )
        signing = seat.inst.keys.signing
        return signing.sign(Purpose.ENDORSEMENT, encode(replace(endorsement, **changes)))

    def endorsements(self, body: CertificateBody | None = None, **changes: Any) -> list[Signed]:
        return [self.endorse(seat, body, **changes) for seat in self.seats[:4]]

    def truth(self) -> list[Signed]:
        return [self.certificate(), self.signed_plan(), *self.endorsements()]

    def accept(self, seat: Seat, messages: list[Signed]) -> Any:
        return accept_certificate(seat.inst, self.federation.agreement, seat.line, messages)

    def refuse(self, seat: Seat, messages: list[Signed], match: str = "expected") -> None:
        """Check that a history is refused and leaves no trace."""
        before = self.trace(seat)
        with pytest.raises(PeerError, match=match):
            self.accept(seat, messages)
        assert self.trace(seat) == before

    def trace(self, seat: Seat) -> list[Any]:
        inst, agreement = seat.inst, self.federation.agreement.digest
        reading = inst.store.reading()
        return [
            inst.progress.get(agreement),
            inst.ledger.entries(),
            [tuple(row) for row in reading.execute("select * from outbox")],
            [tuple(row) for row in reading.execute("select * from rounds")],
            state_digest(inst.models.load(agreement, inst.progress.get(agreement).model)),
        ]


def total_root(total: bytes) -> bytes:
    leaves = [
        chunks.leaf(total[k : k + chunks.CHUNK_BYTES])
        for k in range(0, len(total), chunks.CHUNK_BYTES)
    ]
    return chunks.root(len(total), leaves)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return Ended(tmp_path_factory.mktemp("ended"))


@pytest.fixture
def ended(once: Ended) -> Iterator[Ended]:
    """Share the round, as a refusal leaves no trace; where one did, only its own test fails."""
    agreement = once.federation.agreement.digest
    seats = (once.survivor, once.absent)
    before = [seat.inst.progress.get(agreement) for seat in seats]
    states = [
        seat.inst.models.load(agreement, progress.model)
        for seat, progress in zip(seats, before, strict=True)
    ]
    yield once
    once.operator.totals[1] = once.total
    for seat, progress, state in zip(seats, before, states, strict=True):
        seat.inst.models.save(agreement, state)
        with seat.inst.store.transaction() as tx:
            seat.inst.progress.set(tx, agreement, progress)
            tx.execute("delete from outbox")


@pytest.fixture
def fresh(tmp_path: Path) -> Ended:
    """A round of its own, for the tests that accept something."""
    return Ended(tmp_path)


def publish(ended: Ended, change: Any) -> CertificateBody:
    """Publish another sum, with a certificate that names it."""
    total = bytearray(ended.total)
    change(*sections(total, ended.plan.lanes, 32))
    ended.operator.totals[1] = bytes(total)
    return replace(ended.body, total=total_root(bytes(total)))


# the truth


def test_survivor_and_absent_vault_come_to_the_operators_model(fresh: Ended) -> None:
    for seat, messages in ((fresh.survivor, fresh.truth()[:2]), (fresh.absent, fresh.truth())):
        state = fresh.accept(seat, messages)
        assert state_digest(state) == fresh.model
        progress = seat.inst.progress.get(fresh.federation.agreement.digest)
        assert progress == Progress(
            model=fresh.model,
            certificate=certificate_digest(fresh.body),
            newest=1,
            certified=1,
            scored=0,
        )
        (waiting,) = list(seat.inst.outbox.waiting())
        assert waiting.message == fresh.endorse(seat)
    round = fresh.survivor.inst.rounds.get(fresh.federation.agreement.digest, 1)
    assert (round.phase, round.held, round.upload) == (Phase.CLOSED, None, None)


def test_the_same_certificate_again_is_passed_over(fresh: Ended) -> None:
    fresh.accept(fresh.absent, fresh.truth())
    before = fresh.trace(fresh.absent)
    assert fresh.accept(fresh.absent, fresh.truth()) is None
    assert fresh.trace(fresh.absent) == before


def test_the_model_that_was_overtaken_is_forgotten(fresh: Ended) -> None:
    agreement = fresh.federation.agreement
    files: ModelFiles = fresh.absent.inst.models
    fresh.accept(fresh.absent, fresh.truth())
    states = sorted(fresh.absent.inst.home.models.glob("*.state"))
    assert len(states) == 1
    assert state_digest(files.load(agreement.digest, fresh.model)) == fresh.model


def test_more_endorsements_than_needed_and_one_of_a_stranger_do_no_harm(fresh: Ended) -> None:
    stranger = SimpleNamespace(
        inst=SimpleNamespace(
            me=InstitutionId("stranger"), keys=SimpleNamespace(signing=SigningKeys.generate())
        )
    )
    messages = [*fresh.truth(), fresh.endorse(stranger), fresh.endorse(fresh.seats[4])]
    assert state_digest(fresh.accept(fresh.absent, messages)) == fresh.model


# endorsements


@pytest.mark.parametrize("count", range(T))
def test_fewer_than_t_endorsements_are_not_enough(ended: Ended, count: int) -> None:
    messages = [ended.certificate(), ended.signed_plan(), *ended.endorsements()[:count]]
    ended.refuse(ended.absent, messages, f"expected {T} endorsements of one model")


def test_one_institution_endorsing_often_counts_once(ended: Ended) -> None:
    three = ended.endorsements()[:3]
    ended.refuse(
        ended.absent, [ended.certificate(), ended.signed_plan(), *three, *three], "4 endorsements"
    )


def test_endorsements_of_strangers_do_not_count(ended: Ended) -> None:
    strangers = [
        SimpleNamespace(
            inst=SimpleNamespace(
                me=InstitutionId(f"stranger-{k}"),
                keys=SimpleNamespace(signing=SigningKeys.generate()),
            )
        )
        for k in range(4)
    ]
    forged = [ended.endorse(stranger) for stranger in strangers]  # type: ignore[arg-type]
    ended.refuse(ended.absent, [ended.certificate(), ended.signed_plan(), *forged])


def test_endorsements_that_do_not_agree_are_not_enough(ended: Ended) -> None:
    mixed = [
        ended.endorse(seat, model=Digest(str(k % 2) * 64)) for k, seat in enumerate(ended.seats[:4])
    ]
    ended.refuse(ended.absent, [ended.certificate(), ended.signed_plan(), *mixed], "of one model")


def test_endorsements_of_a_model_that_i_do_not_compute_are_refused(ended: Ended) -> None:
    lying = ended.endorsements(model=Digest("7" * 64))
    ended.refuse(
        ended.absent, [ended.certificate(), ended.signed_plan(), *lying], "others endorsed"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"certificate": Digest("0" * 64)},
        {"round": 2},
        {"epoch": 2},
        {"agreement": Digest("0" * 64)},
    ],
    ids=str,
)
def test_endorsements_of_another_certificate_are_refused(
    ended: Ended, changes: dict[str, Any]
) -> None:
    other = ended.endorsements(**changes)
    ended.refuse(ended.absent, [ended.certificate(), ended.signed_plan(), *other])


def test_endorsements_without_their_owners_signature_are_refused(ended: Ended) -> None:
    one, two, three, four = ended.endorsements()
    for forged in (
        Signed(body=four.body, signature=three.signature),
        Signed(body=four.body, signature=b""),
        ended.seats[0].inst.keys.signing.sign(Purpose.ENDORSEMENT, four.body),
        ended.seats[3].inst.keys.signing.sign(Purpose.DECLINE, four.body),
        Signed(body=four.body + b" ", signature=four.signature),
    ):
        messages = [ended.certificate(), ended.signed_plan(), one, two, three, forged]
        ended.refuse(ended.absent, messages)


# certificates


@pytest.mark.parametrize("who", ["survivor", "absent"])
def test_a_certificate_of_anybody_else_is_refused(ended: Ended, who: str) -> None:
    seat, body = getattr(ended, who), encode(ended.body)
    for forged in (
        ended.seats[1].inst.keys.signing.sign(Purpose.CERTIFICATE, body),
        ended.operator.keys.sign(Purpose.PLAN, body),
        Signed(body=body, signature=bytes(64)),
        Signed(body=body + b"\n", signature=ended.certificate().signature),
    ):
        ended.refuse(seat, [forged, *ended.truth()[1:]])


@pytest.mark.parametrize("who", ["survivor", "absent"])
@pytest.mark.parametrize(
    "changes",
    [
        {"agreement": Digest("0" * 64)},
        {"plan": Digest("0" * 64)},
        {"round": 2},
        {"epoch": 2},
        {"total": bytes(32)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_certificate_with_a_changed_field_is_refused(
    ended: Ended, who: str, changes: dict[str, Any]
) -> None:
    body = replace(ended.body, **changes)
    messages = [ended.certificate(body), ended.signed_plan(), *ended.endorsements(body)]
    ended.refuse(getattr(ended, who), messages)


def test_a_certificate_over_other_survivors_than_i_answered_is_refused(ended: Ended) -> None:
    roster = ended.federation.agreement.roster
    for survivors in (roster, roster[1:], roster[:3]):
        body = replace(ended.body, survivors=survivors)
        ended.refuse(ended.survivor, [ended.certificate(body), ended.signed_plan()], "answered")


@pytest.mark.parametrize("count", [0, 1])
def test_a_parcel_without_certificate_and_plan_is_refused(ended: Ended, count: int) -> None:
    ended.refuse(ended.survivor, ended.truth()[:count], "a certificate and its plan")


def test_a_void_certificate_leaves_the_model_and_goes_into_the_chain(fresh: Ended) -> None:
    body = replace(fresh.body, survivors=(), total=b"", reason="no sum")
    agreement = fresh.federation.agreement.digest
    before = fresh.absent.inst.progress.get(agreement)
    for seat in (fresh.absent, fresh.survivor):
        assert fresh.accept(seat, [fresh.certificate(body), fresh.signed_plan()]) is None
        after = seat.inst.progress.get(agreement)
        assert (after.model, after.certified) == (before.model, before.certified)
        assert (after.certificate, after.newest) == (certificate_digest(body), 1)
        plan, second = forged_plan(fresh, round=2)  # as if there had been no void round
        second = replace(second, round=2)
        messages = [fresh.certificate(second), fresh.signed_plan(plan)]
        fresh.refuse(seat, [*messages, *fresh.endorsements(second)], "follows the last one")
    round = fresh.survivor.inst.rounds.get(agreement, 1)
    assert (round.phase, round.held) == (Phase.CLOSED, None)


def test_after_a_void_round_the_true_certificate_of_it_changes_nothing(fresh: Ended) -> None:
    body = replace(fresh.body, survivors=(), total=b"", reason="no sum")
    fresh.accept(fresh.absent, [fresh.certificate(body), fresh.signed_plan()])
    before = fresh.trace(fresh.absent)
    assert fresh.accept(fresh.absent, fresh.truth()) is None
    assert fresh.trace(fresh.absent) == before


# the chain


@pytest.mark.parametrize(
    "changes",
    [{"previous": Digest("0" * 64)}, {"model": Digest("0" * 64)}],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.parametrize(
    ("round", "why"), [(1, "the first round to begin"), (2, "follows the last one that I know")]
)
def test_a_round_that_does_not_follow_my_last_one_is_refused(
    ended: Ended, changes: dict[str, Any], round: int, why: str
) -> None:
    plan = replace(ended.plan, round=round, **changes)
    body = replace(ended.body, round=round, plan=plan_digest(plan))
    messages = [ended.certificate(body), ended.signed_plan(plan), *ended.endorsements(body)]
    ended.refuse(ended.absent, messages, why)


def test_the_first_rounds_history_cannot_be_told_twice_under_another_number(fresh: Ended) -> None:
    fresh.accept(fresh.absent, fresh.truth())
    plan = replace(fresh.plan, round=2)  # the same sum once more
    body = replace(fresh.body, round=2, plan=plan_digest(plan))
    fresh.operator.totals[2] = fresh.total
    messages = [fresh.certificate(body), fresh.signed_plan(plan), *fresh.endorsements(body)]
    fresh.refuse(fresh.absent, messages, "follows the last one that I know")


# the plan, which an absent vault gets from the operator alone


def forged_plan(ended: Ended, **changes: Any) -> tuple[Plan, CertificateBody]:
    plan = replace(ended.plan, **changes)
    return plan, replace(ended.body, plan=plan_digest(plan))


@pytest.mark.parametrize("threshold", [0, 1, 3])
def test_a_plan_that_lowers_the_number_of_endorsements_is_refused(
    ended: Ended, threshold: int
) -> None:
    """The operator and one institution alone would choose the model of an absent vault."""
    plan, body = forged_plan(ended, threshold=threshold)
    colluders = ended.endorsements(body)[: max(threshold, 1)]
    ended.refuse(ended.absent, [ended.certificate(body), ended.signed_plan(plan), *colluders])


def test_a_plan_of_fewer_participants_with_its_own_low_threshold_is_refused(ended: Ended) -> None:
    three = ended.federation.agreement.roster[:3]  # below the agreement's minimum of four
    plan, body = forged_plan(ended, participants=three, threshold=3, minimum=3)
    colluders = ended.endorsements(body)[:3]
    ended.refuse(ended.absent, [ended.certificate(body), ended.signed_plan(plan), *colluders])


def test_a_plan_with_participants_outside_the_roster_is_refused(ended: Ended) -> None:
    ghosts = [InstitutionId(f"ghost-{k}") for k in range(5)]
    plan, body = forged_plan(ended, participants=tuple(ghosts))
    keys = SigningKeys.generate()
    forged = [
        keys.sign(
            Purpose.ENDORSEMENT,
            encode(
                Endorsement(
                    agreement=body.agreement,
                    epoch=body.epoch,
                    round=body.round,
                    institution=ghost,
                    certificate=certificate_digest(body),
                    model=ended.model,
                )
            ),
        )
        for ghost in ghosts
    ]
    ended.refuse(ended.absent, [ended.certificate(body), ended.signed_plan(plan), *forged])


@pytest.mark.parametrize(
    "changes",
    [
        {"lanes": -1},
        {"lanes": 39},
        {"lanes": 1 << 28},
        {"agreement": Digest("0" * 64)},
        {"participants": ()},
        {"lane_bound": 7},
        {"range": Decimal(1000)},
    ],
    ids=str,
)
def test_a_plan_that_the_agreement_does_not_prescribe_is_refused_before_anything_else(
    ended: Ended, changes: dict[str, Any]
) -> None:
    plan, body = forged_plan(ended, **changes)
    messages = [ended.certificate(body), ended.signed_plan(plan), *ended.endorsements(body)]
    ended.refuse(ended.absent, messages)


def test_a_plan_of_anybody_else_is_refused(ended: Ended) -> None:
    for forged in (
        ended.seats[1].inst.keys.signing.sign(Purpose.PLAN, encode(ended.plan)),
        ended.operator.keys.sign(Purpose.CERTIFICATE, encode(ended.plan)),
    ):
        ended.refuse(ended.absent, [ended.certificate(), forged, *ended.endorsements()])


# the sum


@pytest.mark.parametrize("who", ["survivor", "absent"])
def test_a_sum_that_is_not_the_one_of_the_certificate_is_refused(ended: Ended, who: str) -> None:
    changed = bytearray(ended.total)
    changed[17] ^= 1
    for total in (bytes(changed), ended.total[:-8], ended.total + bytes(8), b""):
        ended.operator.totals[1] = total
        ended.refuse(getattr(ended, who), ended.truth())


@pytest.mark.parametrize("who", ["survivor", "absent"])
@pytest.mark.parametrize("lane", [0, 1, 2, 3, "z"])
@pytest.mark.parametrize("counted", [3, 5, 0])
def test_a_sum_whose_canaries_do_not_count_the_survivors_is_refused(
    ended: Ended, who: str, lane: int | str, counted: int
) -> None:
    def change(q: np.ndarray, z: np.ndarray) -> None:
        if lane == "z":
            z[0] = counted
        else:
            q[-4 + int(lane)] = counted

    body = publish(ended, change)
    messages = [ended.certificate(body), ended.signed_plan(), *ended.endorsements(body)]
    ended.refuse(getattr(ended, who), messages)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_that_is_larger_than_its_survivors_can_make_it_is_refused(
    ended: Ended, sign: int
) -> None:
    most = 4 * ended.plan.lane_bound

    def change(q: np.ndarray, z: np.ndarray) -> None:
        q[5] = (sign * (most + 1)) % 2**32

    body = publish(ended, change)
    ended.refuse(ended.survivor, [ended.certificate(body), ended.signed_plan()], "at most")


def test_a_false_sum_is_not_endorsed_by_an_absent_vault_against_the_others(ended: Ended) -> None:
    def change(q: np.ndarray, z: np.ndarray) -> None:
        q[5] += 1 << 20  # far below what a person would notice, far above a float's last bit

    body = publish(ended, change)
    messages = [ended.certificate(body), ended.signed_plan(), *ended.endorsements(body)]
    ended.refuse(ended.absent, messages, "others endorsed")


def test_a_state_that_was_changed_on_disk_is_noticed(fresh: Ended) -> None:
    from comity_common.errors import LocalError

    (file,) = fresh.absent.inst.home.models.glob("*.state")
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(bytes(raw))
    with pytest.raises(LocalError, match="digest that the store names"):
        fresh.accept(fresh.absent, fresh.truth())


def test_an_agreement_is_over_after_its_rounds_or_all_its_attempts(ended: Ended) -> None:
    agreement = ended.federation.agreement  # three rounds, two spare ones
    start = Progress(
        model=ended.model, certificate=Digest("0" * 64), newest=0, certified=0, scored=0
    )
    assert not replace(start, newest=4, certified=2).is_over(agreement)
    assert replace(start, newest=3, certified=3).is_over(agreement)
    assert replace(start, newest=5, certified=0).is_over(agreement)
