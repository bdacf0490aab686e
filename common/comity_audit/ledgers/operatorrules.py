"""Rules about the operator's ledger: what it ran follows from what it wrote before.

They look at kinds of entries that only an operator writes; a ledger without them keeps all rules.
"""

from collections.abc import Iterator

from comity_audit.ledgers.entries import AuditedLedger
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Ingress, Traffic
from comity_common.ledger.controls import CONTROLS, UPLOAD
from comity_common.ledger.operatorbodies import (
    AgreementEnd,
    AgreementStart,
    Ending,
    Head,
    ModelRelease,
    RoundCertificate,
    RoundPlan,
)


def running(ledger: AuditedLedger) -> Iterator[str]:
    """Rounds run under agreements that are running, one after the other, each ended once.

    A void round leaves the model as it was; no agreement has more rounds than were agreed.
    """
    agreements = ledger.parties.agreements
    started: set[Digest] = set()
    over: set[Digest] = set()
    plans: dict[Digest, RoundPlan] = {}
    begun: set[Digest] = set()
    ended: set[Digest] = set()
    models = {digest: one.model.initial_state for digest, one in agreements.items()}
    certified: set[tuple[Digest, int, Digest]] = set()
    for entry in ledger.entries:
        body, where = entry.body, f"entry {entry.sequence}"
        match body:
            case AgreementStart(agreement=agreement):
                if agreement in over or agreement in started:
                    yield f"{where}: an agreement was started that was running, or over"
                started.add(agreement)
            case AgreementEnd(agreement=agreement, ending=ending):
                started.discard(agreement)
                if ending is not Ending.STOPPED:
                    over.add(agreement)
            case RoundPlan(agreement=agreement, round=round, plan=plan):
                last = plans.get(agreement)
                if agreement not in started:
                    yield f"{where}: round {round} of an agreement that was not running"
                if round != (1 if last is None else last.round + 1):
                    yield f"{where}: round {round} was begun out of order"
                if last is not None and body.epoch < last.epoch:
                    yield f"{where}: round {round} is in a key epoch that was over"
                if last is not None and last.plan not in ended:
                    yield f"{where}: round {round} was begun before {last.round} had ended"
                if plan in begun:
                    yield f"{where}: round {round} has the plan of another one"
                if agreement in agreements and round > agreements[agreement].attempts:
                    yield f"{where}: round {round} is one more than was agreed"
                begun.add(plan)
                plans[agreement] = body
            case RoundCertificate(agreement=agreement, plan=plan):
                going = plans.get(agreement)
                if going is None or _which(going) != _which(body) or plan in ended:
                    yield f"{where}: the end of a round that was not going on"
                if body.is_void and body.model != models.get(agreement, body.model):
                    yield f"{where}: a void round moved the model"
                ended.add(plan)
                models[agreement] = body.model
                if not body.is_void:
                    certified.add((agreement, body.round, body.model))
            case ModelRelease(agreement=agreement, round=round, model=model):
                if (agreement, round, model) not in certified:
                    yield f"{where}: a model went out that no certificate names"


def _which(body: RoundPlan | RoundCertificate) -> tuple[int, int, Digest]:
    return body.epoch, body.round, body.plan


def arriving(ledger: AuditedLedger) -> Iterator[str]:
    """What arrived is an upload, or a control message of the closed list within its size."""
    agreements = ledger.parties.agreements.values()
    most = max(len(one.institutions) for one in agreements)
    for entry in ledger.entries:
        body, where = entry.body, f"entry {entry.sequence}"
        if not isinstance(body, Ingress):
            continue
        if body.traffic is Traffic.MECHANISM:
            if body.message != UPLOAD:
                yield f"{where}: {body.message[:40]} arrived as if the budget had covered it"
        elif body.message not in CONTROLS:
            yield f"{where}: {body.message[:40]} is no control message"
        elif body.size_bytes > (limit := CONTROLS[body.message].limit(most)):
            yield f"{where}: {body.message} of {body.size_bytes} bytes, more than {limit}"


def witnessing(ledger: AuditedLedger) -> Iterator[str]:
    """A head that was witnessed after another one of the same ledger goes on from it.

    A new generation may begin once; nobody goes back to an old one.
    """
    newest: dict[InstitutionId, Head] = {}
    generations: set[tuple[InstitutionId, bytes]] = set()
    for entry in ledger.entries:
        body = entry.body
        if not isinstance(body, Head):
            continue
        last, which = newest.get(body.institution), (body.institution, body.generation)
        if last is not None and last.generation == body.generation:
            is_older = body.size < last.size
            is_other = body.size == last.size and body.root != last.root
            goes_back = is_older or is_other
        else:
            goes_back = which in generations
        if goes_back:
            yield f"entry {entry.sequence}: a head of {body.institution} that was put back"
        newest[body.institution] = body
        generations.add(which)
