"""Who must have signed an agreement that a ledger names, as its entries tell.

A package holds these signatures and no others. So what it says of signatures is bound by the
ledger's head like everything else, although they stand beside the entries: nobody can add a true
one later, or leave one out.
"""

from collections.abc import Iterable, Mapping

from comity_common.agreement import Agreement
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import AgreementSign, Body, RoundJoin
from comity_common.ledger.operatorbodies import AgreementStart, RoundPlan


def signers(
    owner: InstitutionId, bodies: Iterable[Body], agreements: Mapping[Digest, Agreement]
) -> dict[Digest, frozenset[InstitutionId]]:
    """Return for each agreement whose signatures belong under it.

    Those of all parties once a round was run under it or it was started, before that the owner's
    alone if the owner signed it, else none.

    Args:
        owner: whose ledger it is, an institution's or the operator's.
        bodies: of its entries.
    """
    found = {digest: frozenset[InstitutionId]() for digest in agreements}
    for body in bodies:
        match body:
            case AgreementSign(agreement=digest) if digest in agreements:
                found[digest] |= {owner}
            case (
                RoundJoin(agreement=digest)
                | RoundPlan(agreement=digest)
                | AgreementStart(agreement=digest)
            ) if digest in agreements:
                found[digest] = agreements[digest].everybody
    return found
