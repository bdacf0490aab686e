"""An auditor's work on a long ledger is measured whole: what is measured alone is in the sum."""

from tests.audit.longledger import BAR_S, measure


def test_the_sum_is_of_export_verification_epsilons_and_report() -> None:
    size, *parts, whole = measure(60, lambda words: None)
    assert size.unit == "MB"
    assert [one.measured.split(": ", 1)[1].split(",")[0] for one in parts] == [
        "export",
        "verify",
        "ε again",
        "the report and its page in both languages",
    ]
    assert all(one.value > 0 for one in parts)
    assert whole.value == sum(one.value for one in parts)
    assert whole.at_most == BAR_S
