"""One run of the demo, made by hand, with a void round and an absence."""

from pathlib import Path

import pytest

from comity_local.results import DemoResult, InstitutionResult, RoundResult, Score


def _score(accuracy: float) -> Score:
    return Score(accuracy=accuracy, macro_f1=accuracy - 0.01)


@pytest.fixture
def result() -> DemoResult:
    ids = ("spree-bank", "banco-ipe", "ziwa-sacco")
    rounds = (
        RoundResult(n=1, void=False, survivors=ids, seconds=6.2, accuracy=0.5, macro_f1=0.4),
        RoundResult(
            n=2, void=True, survivors=ids[:1], seconds=9.0, accuracy=None, macro_f1=None,
            reason="1 upload came, 3 are needed",
        ),
        RoundResult(n=3, void=False, survivors=ids[1:], seconds=6.1, accuracy=0.8, macro_f1=0.79),
    )  # fmt: skip
    institutions = tuple(
        InstitutionResult(
            id=id, name=id.title(), jurisdiction=code, rows=1200, epsilon=spent,
            epsilon_reserved=7.9, epsilon_cap=8.0, delta=1e-5, rounds=done, bytes_sent=46_200,
            bytes_received=80_000,
        )
        for id, code, spent, done in zip(
            ids, ("DE", "BR", "KE"), (4.25, 6.5, 6.5), (1, 2, 2), strict=True
        )
    )  # fmt: skip
    return DemoResult(
        workdir=Path("/tmp/run"),
        model_dir=Path("/tmp/run/model"),
        report=Path("/tmp/run/report.html"),
        seconds=187.4,
        full_model_bytes=90_868_224,
        baseline=_score(0.083),
        federated=_score(0.8),
        without_dp=_score(0.88),
        alone={id: _score(0.6 + k / 100) for k, id in enumerate(ids)},
        rounds=rounds,
        institutions=institutions,
        agreement="3f" * 32,
        ledger=Path("/tmp/run/ledger"),
        logs=Path("/tmp/run/logs"),
        model="all-MiniLM-L6-v2",
        tune="head",
        data="generated messages",
        evaluation_rows=1020,
        labels=12,
    )
