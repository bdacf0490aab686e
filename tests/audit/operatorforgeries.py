"""An operator that breaks a rule in a ledger which all institutions have cosigned in time."""

import random
from dataclasses import replace

from comity_common.ids import Digest
from comity_common.ledger.bodies import Ingress, Traffic
from comity_common.ledger.controls import CONTROLS
from comity_common.ledger.operatorbodies import (
    AgreementEnd,
    AgreementStart,
    Ending,
    Head,
    ModelRelease,
    RoundCertificate,
    RoundPlan,
)
from tests.audit.forging import Bodies, Forgery, places, registry
from tests.audit.subject import Subject

Chance = random.Random

FORGERIES: dict[str, Forgery] = {}
forgery = registry(FORGERIES)


@forgery("signatures")
def _an_agreement_that_runs_before_all_have_signed(
    bodies: Bodies, chance: Chance, of: Subject
) -> Bodies:
    end = places(bodies, AgreementEnd, agreement=of.federation.refused.digest)[0]
    bodies.insert(end, AgreementStart(agreement=of.federation.refused.digest))
    return bodies


@forgery("runs")
def _a_round_of_an_agreement_that_did_not_run(
    bodies: Bodies, chance: Chance, of: Subject
) -> Bodies:
    del bodies[chance.choice(places(bodies, AgreementStart))]
    return bodies


@forgery("runs")
def _a_round_after_the_end(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    first = of.federation.first.digest
    at = places(bodies, AgreementEnd, agreement=first)[-1]
    last = [b for b in bodies if isinstance(b, RoundPlan) and b.agreement == first][-1]
    late = replace(last, round=last.round + 1, plan=Digest(chance.randbytes(32).hex()))
    return [*bodies[: at + 1], late, *bodies[at + 1 :]]


@forgery("runs")
def _rounds_out_of_order(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, RoundPlan))
    step = chance.choice((-1, 1, 7) if bodies[at].round else (1,))
    bodies[at] = replace(bodies[at], round=bodies[at].round + step)
    return bodies


@forgery("runs")
def _a_round_that_nobody_ended(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    first = of.federation.first.digest
    del bodies[chance.choice(places(bodies, RoundCertificate, agreement=first)[:-1])]
    return bodies


@forgery("runs")
def _a_round_that_ended_twice(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, RoundCertificate))
    other = replace(bodies[at], certificate=Digest(chance.randbytes(32).hex()))
    bodies.insert(at + 1, other)
    return bodies


@forgery("runs")
def _the_end_of_another_plan(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, RoundCertificate))
    bodies[at] = replace(bodies[at], plan=Digest(chance.randbytes(32).hex()))
    return bodies


@forgery("runs")
def _one_plan_for_two_rounds(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    """The second is never ended, as the first was."""
    first, second, *_ = places(bodies, RoundPlan, agreement=of.federation.first.digest)
    plan = bodies[second].plan
    bodies[second] = replace(bodies[second], plan=bodies[first].plan)
    return [b for b in bodies if not (isinstance(b, RoundCertificate) and b.plan == plan)]


@forgery("runs")
def _the_end_of_another_round(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, RoundCertificate, is_void=False))
    certificate = bodies[at]
    changes = {"round": certificate.round + 9, "epoch": certificate.epoch + 1}
    name = chance.choice(sorted(changes))
    bodies[at] = replace(certificate, **{name: changes[name]})
    for release in places(bodies, ModelRelease, model=certificate.model):
        bodies[release] = replace(bodies[release], round=bodies[at].round)
    return bodies


@forgery("runs")
def _a_key_epoch_that_was_over(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, RoundPlan, round=1))
    for one in (at, *places(bodies, RoundCertificate, plan=bodies[at].plan)):
        bodies[one] = replace(bodies[one], epoch=2)
    return bodies


@forgery("runs")
def _more_rounds_than_agreed(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    second = of.federation.second
    at = places(bodies, AgreementEnd, agreement=second.digest)[-1]
    plan = bodies[places(bodies, RoundPlan, agreement=second.digest)[-1]]
    end = bodies[places(bodies, RoundCertificate, agreement=second.digest)[-1]]
    more = []
    for round in range(plan.round + 1, second.attempts + 2):
        name = Digest(chance.randbytes(32).hex())
        more += [replace(plan, round=round, plan=name), replace(end, round=round, plan=name)]
    return [*bodies[:at], *more, *bodies[at:]]


@forgery("runs")
def _a_void_round_that_moves_the_model(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = places(bodies, RoundCertificate, is_void=True)[0]
    bodies[at] = replace(bodies[at], model=Digest(chance.randbytes(32).hex()))
    return bodies


@forgery("runs")
def _the_model_of_a_void_round(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = places(bodies, RoundCertificate, is_void=True)[0]
    end = bodies[at]
    release = ModelRelease(agreement=end.agreement, round=end.round, model=end.model)
    return [*bodies[: at + 1], release, *bodies[at + 1 :]]


@forgery("runs")
def _an_agreement_that_goes_on_after_it_was_over(
    bodies: Bodies, chance: Chance, of: Subject
) -> Bodies:
    at = places(bodies, AgreementEnd, ending=Ending.STOPPED)[0]
    ending = chance.choice((Ending.FINISHED, Ending.WITHDRAWN))
    bodies[at] = replace(bodies[at], ending=ending)
    return bodies


@forgery("runs")
def _an_agreement_that_was_running_already(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, AgreementStart))
    return [*bodies[:at], bodies[at], *bodies[at:]]


@forgery("runs")
def _a_model_that_no_certificate_names(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, ModelRelease))
    changes = {"model": Digest(chance.randbytes(32).hex()), "round": bodies[at].round + 9}
    name = chance.choice(sorted(changes))
    bodies[at] = replace(bodies[at], **{name: changes[name]})
    return bodies


@forgery("heads")
def _a_head_that_is_smaller(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = _a_later_head(bodies, chance)
    bodies[at] = replace(bodies[at], size=0)
    return bodies


@forgery("heads")
def _two_heads_of_one_size(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, Head))
    bodies.insert(at + 1, replace(bodies[at], root=Digest(chance.randbytes(32).hex())))
    return bodies


@forgery("heads")
def _a_generation_that_was_over(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = _a_later_head(bodies, chance)
    bodies.insert(at, replace(bodies[at], generation=chance.randbytes(16)))
    return bodies


@forgery("arrivals")
def _something_else_as_an_upload(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    return _arrived(bodies, chance, Traffic.MECHANISM, message="rows")


@forgery("arrivals")
def _an_arrival_of_no_known_name(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    name = chance.choice(("upload", "rows", "parcel_kind_rows"))
    return _arrived(bodies, chance, Traffic.CONTROL, message=name)


@forgery("arrivals")
def _an_arrival_that_is_too_large(bodies: Bodies, chance: Chance, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, Ingress, traffic=Traffic.CONTROL))
    most = CONTROLS[bodies[at].message].limit(len(of.federation.keys))
    bodies[at] = replace(bodies[at], size_bytes=most + chance.choice((1, 1 << 30)))
    return bodies


def _a_later_head(bodies: Bodies, chance: Chance) -> int:
    """Return where a head is that follows another one of the same generation."""
    seen, found = set(), []
    for at in places(bodies, Head):
        which = (bodies[at].institution, bodies[at].generation)
        if which in seen:
            found.append(at)
        seen.add(which)
    return chance.choice(found)


def _arrived(bodies: Bodies, chance: Chance, traffic: Traffic, message: str) -> Bodies:
    at = chance.choice(places(bodies, Ingress, traffic=traffic))
    bodies[at] = replace(bodies[at], message=message)
    return bodies
