"""An agreement that goes on with the model of an earlier one, under another roster or other terms.

What must be the same is what the model is: task, base, trained part and the way it moves. The
earlier agreement rests meanwhile, and for good once the new one runs.
"""

from comity_common.agreement import Agreement, Continuation
from comity_common.errors import Problem
from comity_server.agreements import AgreementState
from comity_server.drafting import Continued
from comity_server.operator import Operator
from comity_server.terms import Terms


def continued(operator: Operator, name: str, terms: Terms) -> Continued:
    """Find the end of an earlier agreement, and check that terms can go on from there.

    Raises:
        Problem: there is none of that name, it runs or has no certified round, or the terms are of
            another model.
    """
    record = operator.agreements.find(name)
    earlier = record.agreement
    head = operator.history.head(earlier)
    if record.state is AgreementState.RUNNING or not head.certified:
        why = "it runs" if head.certified else "no round of it is certified"
        raise Problem("COM-TERMS-007", name=earlier.federation, why=why)
    if other := _another(earlier, terms):
        raise Problem("COM-TERMS-007", name=earlier.federation, why=f"{other} would be another")
    state = operator.models.named(earlier.digest, head.model)
    return Continued(
        agreement=earlier,
        continuation=Continuation(
            agreement=earlier.digest, certificate=head.previous, certified=state.round
        ),
        state=state,
    )


def _another(earlier: Agreement, terms: Terms) -> str:
    """Name what would change the model; empty if nothing does."""
    model = earlier.model
    same = {
        "the task": earlier.task == terms.task.task(),
        "model.name": model.name == terms.model.name,
        "model.tune": model.tune == terms.model.tune,
        "model.pooling": model.pooling == terms.model.pooling,
        "model.lora_rank": model.lora_rank == terms.model.lora_rank,
        "model.lora_alpha": model.lora_alpha == terms.model.lora_alpha,
        "aggregation.optimizer": earlier.aggregation.optimizer == terms.aggregation.optimizer,
    }
    return next((name for name, holds in same.items() if not holds), "")
