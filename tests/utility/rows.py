"""Real data sets: regions with private rows, dev rows of the regions, and a public test set.

They lie where COMITY_DATA says, or in `shared/data` beside the checkout, and stay there.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from comity_client.rows import Rows
from comity_local.samples import Row, read_folder

NAMES = ("cs_banking77", "multi_afrisenti", "fin_phrasebank")
VARIABLE = "COMITY_DATA"
BESIDE = Path(__file__).parents[3] / "shared" / "data"
FILES = ("train.jsonl", "dev.jsonl", "test.jsonl")
QUICK_ROWS = 200  # of a region, of dev and of test, where a look is enough


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DataSet:
    """Who holds what.

    Attributes:
        labels: sorted; every label of any row is among them.
        regions: private rows by the id of the one institution that holds them, ids sorted.
        dev: rows of all regions, for choosing settings.
        test: public, for the figures alone.
    """

    name: str
    labels: tuple[str, ...]
    regions: Mapping[str, Rows]
    dev: Rows
    test: Rows

    def pooled(self) -> Rows:
        """Put all regions' rows in one place."""
        several = self.regions.values()
        return Rows(
            texts=tuple(text for rows in several for text in rows.texts),
            labels=np.concatenate([rows.labels for rows in several]),
        )

    def small(self) -> "DataSet":
        """Keep the first rows of everything."""
        return DataSet(
            name=self.name,
            labels=self.labels,
            regions={id: rows.first(QUICK_ROWS) for id, rows in self.regions.items()},
            dev=self.dev.first(QUICK_ROWS),
            test=self.test.first(QUICK_ROWS),
        )


def folder() -> Path:
    """Say where the data sets are looked for."""
    return Path(os.environ.get(VARIABLE, BESIDE))


def missing(name: str) -> str:
    """Say what keeps a data set from being read; empty: nothing."""
    absent = [file for file in FILES if not (folder() / name / file).is_file()]
    return f"no {absent[0]} of {name} beside the checkout or in {VARIABLE}" if absent else ""


def read(path: Path) -> DataSet:
    """Read `train.jsonl`, `dev.jsonl` and `test.jsonl` of a folder, in the order of their lines.

    Raises:
        LocalError: a file is not what `comity_local.samples.read_folder` takes.
    """
    samples = read_folder(path)
    return DataSet(
        name=path.name,
        labels=samples.labels,
        regions={one.id: _rows(one.rows, samples.labels) for one in samples.regions},
        dev=_rows(_dev_rows(path / "dev.jsonl"), samples.labels),
        test=_rows(samples.evaluation_rows, samples.labels),
    )


def _dev_rows(path: Path) -> list[Row]:
    return [Row(**json.loads(line)) for line in path.read_text("utf-8").split("\n") if line]


def _rows(several: Iterable[Row], labels: tuple[str, ...]) -> Rows:
    rows = tuple(several)
    classes = {label: number for number, label in enumerate(labels)}
    return Rows(
        texts=tuple(row.text for row in rows),
        labels=np.array([classes[row.label] for row in rows], dtype=np.int64),
    )
