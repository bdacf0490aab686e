"""Who cosigned a head: other institutions, which a quorum counts, and others, which it does not."""

from enum import StrEnum

from comity_audit.report.facts import Report, WitnessFacts


class Cosigner(StrEnum):
    """As what somebody cosigned."""

    INSTITUTION = "institution"  # another one than the owner; only these count
    OPERATOR = "operator"
    OUTSIDE = "outside"  # in no agreement; its key was given to the auditor


def cosigner(one: WitnessFacts, report: Report) -> Cosigner:
    """Tell as what a witness cosigned."""
    if one.counts:
        return Cosigner.INSTITUTION
    operators = {party.id for party in report.parties.parties if party.is_operator}
    return Cosigner.OPERATOR if one.name in operators else Cosigner.OUTSIDE
