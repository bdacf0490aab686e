"""Rows of the demo: a function of the seed, skewed by country, never in train and test at once."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from comity_common.agreement import ID_PATTERN, JURISDICTION_PATTERN
from comity_common.errors import LocalError
from comity_local.samples import (
    Row,
    Samples,
    generate,
    guess_jurisdiction,
    into_institutions,
    read_folder,
    write_rows,
)

REAL_DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(scope="module")
def samples() -> Samples:
    return generate(1)


def all_ids(samples: Samples) -> list[str]:
    return sorted(row.id for region in samples.regions for row in region.rows)


def test_the_same_seed_makes_the_same_rows_in_another_process(samples: Samples) -> None:
    program = (
        "import hashlib; from comity_local.samples import generate;"
        "print(hashlib.sha256(repr(generate(1)).encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", program],
            env={**environment, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )
    assert first == second
    assert generate(1) == samples


def test_another_seed_makes_other_rows(samples: Samples) -> None:
    texts = {row.text for region in samples.regions for row in region.rows}
    others = {row.text for region in generate(2).regions for row in region.rows}
    assert len(texts & others) < len(texts) / 2


def test_sizes_and_names_fit_an_agreement(samples: Samples) -> None:
    assert len(samples.regions) == 5
    for region in samples.regions:
        assert 500 <= len(region.rows) <= 2000
        assert ID_PATTERN.fullmatch(region.id)
        assert JURISDICTION_PATTERN.fullmatch(region.jurisdiction)
    assert len({region.jurisdiction for region in samples.regions}) == 5
    assert 900 <= len(samples.evaluation_rows) <= 1100


def test_no_text_comes_twice_anywhere(samples: Samples) -> None:
    rows = [row for region in samples.regions for row in region.rows]
    rows += samples.evaluation_rows
    assert len({row.text for row in rows}) == len(rows)
    assert len({row.id for row in rows}) == len(rows)


def test_every_region_lacks_labels_and_every_label_has_two_strong_regions(
    samples: Samples,
) -> None:
    strong: Counter[str] = Counter()
    for region in samples.regions:
        counts = Counter(row.label for row in region.rows)
        weak = [label for label in samples.labels if counts[label] < len(region.rows) * 0.02]
        assert len(weak) >= 3
        assert any(counts[label] == 0 for label in weak)
        strong.update(label for label, n in counts.items() if n > len(region.rows) * 0.05)
    assert all(strong[label] >= 2 for label in samples.labels)


def test_the_evaluation_set_has_every_label_in_every_style_equally_often(
    samples: Samples,
) -> None:
    cells = Counter((row.region, row.label) for row in samples.evaluation_rows)
    assert len(cells) == 5 * len(samples.labels)
    assert len(set(cells.values())) == 1


def test_texts_have_no_slot_or_bracket_left(samples: Samples) -> None:
    rows = [row for region in samples.regions for row in region.rows]
    assert not [r.text for r in (*rows, *samples.evaluation_rows) if set(r.text) & set("[]{}|")]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 13])
def test_into_institutions_gives_n_and_keeps_every_row_once(samples: Samples, n: int) -> None:
    changed = into_institutions(samples, n)
    assert len(changed.regions) == n
    assert len({region.id for region in changed.regions}) == n
    assert all(ID_PATTERN.fullmatch(region.id) for region in changed.regions)
    assert all_ids(changed) == all_ids(samples)
    assert changed.evaluation_rows == samples.evaluation_rows
    assert changed == into_institutions(samples, n)


def test_merging_joins_the_two_smallest_under_the_larger_ones_id(samples: Samples) -> None:
    before = sorted(samples.regions, key=lambda region: len(region.rows))
    merged = {region.id: region for region in into_institutions(samples, 4).regions}
    assert before[0].id not in merged
    joined = merged[before[1].id]
    assert len(joined.rows) == len(before[0].rows) + len(before[1].rows)
    assert joined.jurisdiction == before[1].jurisdiction


def test_splitting_cuts_the_largest_into_similar_parts(samples: Samples) -> None:
    largest = max(samples.regions, key=lambda region: len(region.rows))
    parts = [r for r in into_institutions(samples, 6).regions if r.id.startswith(largest.id)]
    assert len(parts) == 2
    assert min(len(part.rows) for part in parts) > len(largest.rows) * 0.4


def test_into_institutions_refuses_none_and_more_than_the_rows_allow(samples: Samples) -> None:
    with pytest.raises(LocalError, match="at least one institution"):
        into_institutions(samples, 0)
    few = Samples(
        regions=(samples.regions[0].__class__(
            id="a", name="a", jurisdiction="DE", rows=samples.regions[0].rows[:2]
        ),),
        evaluation_rows=samples.evaluation_rows,
        labels=samples.labels,
    )  # fmt: skip
    with pytest.raises(LocalError, match="enough rows"):
        into_institutions(few, 3)


@pytest.mark.parametrize(
    ("region", "country"),
    [
        ("us", "US"),
        ("in", "IN"),
        ("eu", "EU"),
        ("cn", "CN"),
        ("ke-tz-swahili", "KE"),
        ("ng-pidgin", "NG"),
        ("bank-fr", "FR"),
        ("swahili", "ZZ"),
        ("de1", "ZZ"),
        ("north-xx", "ZZ"),
    ],
)
def test_a_country_is_read_from_a_regions_id(region: str, country: str) -> None:
    assert guess_jurisdiction(region) == country


def write_folder(path: Path, train: list[object], test: list[object]) -> Path:
    for name, rows in (("train", train), ("test", test)):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (path / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def a_row(id: str, region: str = "de", label: str = "a", **changes: object) -> dict[str, object]:
    return {"id": id, "region": region, "text": f"text {id}", "label": label, **changes}


def test_a_folder_becomes_regions_labels_and_an_evaluation_set(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path,
        [a_row("1", "us"), a_row("2", "ng-pidgin", "b"), a_row("3", "us", "b", extra=1)],
        [a_row("4", "us", "c"), a_row("5", "us", "b"), a_row("6", "us", "a")],
    )
    samples = read_folder(folder)
    assert [(r.id, r.jurisdiction, len(r.rows)) for r in samples.regions] == [
        ("ng-pidgin", "NG", 1),
        ("us", "US", 2),
    ]
    assert samples.labels == ("a", "b", "c")
    assert [row.id for row in samples.evaluation_rows] == ["4", "5", "6"]


def test_a_label_that_stands_in_private_rows_alone_is_refused_and_not_shown(
    tmp_path: Path,
) -> None:
    private = [a_row("1"), a_row("2", label="secret-diagnosis")]
    folder = write_folder(tmp_path, private, [a_row("3"), a_row("4", label="b")])
    with pytest.raises(LocalError, match=r"the row '2' of train\.jsonl") as error:
        read_folder(folder)
    assert "secret-diagnosis" not in str(error.value)


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    rows = (
        Row(id="1", region="de", text='Grüße "\u2028 \\ 50 €', label="a"),
        Row(id="2", region="fr", text="x", label="b"),
    )
    for name in ("train", "test"):
        write_rows(tmp_path / f"{name}.jsonl", rows)
    assert read_folder(tmp_path).evaluation_rows == rows
    first = (tmp_path / "test.jsonl").read_text(encoding="utf-8").split("\n")[0]
    assert list(json.loads(first)) == ["id", "region", "text", "label"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "9", "region": "de", "tokens": ["a"], "tags": ["O"]}, "token classification"),
        (a_row("9", label=3), "'label'"),  # type: ignore[arg-type]
        (a_row("9", text=""), "'text'"),
        ({"id": "9", "text": "x", "label": "a"}, "'region'"),
        ("not json", "one JSON object"),
        ([1, 2], "one JSON object"),
        (a_row("1"), "every id once"),
        (a_row("9", "The Bank"), "lower-case"),
    ],
)
def test_a_bad_row_is_refused_with_its_reason(tmp_path: Path, row: object, message: str) -> None:
    folder = write_folder(tmp_path, [a_row("1"), row], [a_row("2", label="b")])
    with pytest.raises(LocalError, match=message):
        read_folder(folder)


def test_a_missing_an_empty_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"train\.jsonl"):
        read_folder(tmp_path)
    write_folder(tmp_path, [], [a_row("1")])
    with pytest.raises(LocalError, match="got none"):
        read_folder(tmp_path)
    (tmp_path / "train.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LocalError, match="UTF-8"):
        read_folder(tmp_path)


def test_one_label_is_too_few(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [a_row("1")], [a_row("2")])
    with pytest.raises(LocalError, match="at least two labels"):
        read_folder(folder)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real data at {REAL_DATA}")
def test_real_sets_are_read_and_token_classification_is_refused() -> None:
    banking = read_folder(REAL_DATA / "cs_banking77")
    assert [(r.id, r.jurisdiction) for r in banking.regions] == [
        ("cn", "CN"),
        ("eu", "EU"),
        ("in", "IN"),
        ("us", "US"),
    ]
    assert len(banking.labels) == 77
    assert {r.jurisdiction for r in read_folder(REAL_DATA / "multi_afrisenti").regions} == {
        "GH", "KE", "MZ", "NG", "RW",
    }  # fmt: skip
    with pytest.raises(LocalError, match="token classification"):
        read_folder(REAL_DATA / "med_bc5cdr")
