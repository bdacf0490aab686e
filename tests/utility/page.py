"""Tables as Markdown, for a terminal and for docs/utility.md, and as JSON."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.utility.measuring import GOAL_EPSILON, GOAL_POINTS, Line, Table

PAGE = Path(__file__).parents[2] / "docs" / "utility.md"
MARKED = re.compile(r"(<!-- table:(\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
HEAD = ("model", "accuracy", "", "lowest to highest", "macro F1", "σ", "chosen on dev")
BAR = 20  # blocks for an accuracy of 1


def write(tables: Sequence[Table]) -> None:
    """Replace the tables of these data sets on the page."""
    PAGE.write_text(rewritten(PAGE.read_text("utf-8"), tables), "utf-8")


def rewritten(text: str, tables: Sequence[Table]) -> str:
    """Return a page with new tables of some data sets, and the others as they are."""
    new = {table.name: as_markdown([table]) for table in tables}
    return MARKED.sub(
        lambda found: f"{found[1]}{new[found[2]]}{found[4]}" if found[2] in new else found[0], text
    )


def as_markdown(tables: Sequence[Table]) -> str:
    """Draw every table with its heading, the noise and what is said of the goal."""
    return "\n".join(map(_section, tables))


def as_json(tables: Sequence[Table]) -> str:
    """Write everything for a script."""
    return json.dumps([_plain(table) for table in tables], indent=1, default=str)


def _plain(table: Table) -> dict[str, object]:
    goal = {"behind": table.points_behind, "above": table.points_above, "met": table.met}
    lines = [
        asdict(line) | {"accuracy": line.accuracy, "macro_f1": line.macro_f1}
        for line in table.lines
    ]
    return asdict(table) | {"lines": lines, "goal": goal}


def _section(table: Table) -> str:
    rows = ", ".join(f"{id} {count}" for id, count in table.rows.items())
    runs = len(table.lines[0].scores)
    head = (
        f"### {table.name}\n\n"
        f"{table.labels} labels; private rows: {rows}; {table.test_rows} public test rows; "
        f"{runs} {'run' if runs == 1 else 'runs'} of each.\n\n"
    )
    body = [HEAD, ("---",) * len(HEAD), *map(_cells, table.lines)]
    return head + "".join(f"| {' | '.join(row)} |\n" for row in body) + f"\n{_goal(table)}\n"


def _cells(line: Line) -> tuple[str, ...]:
    low, high = line.spread
    noise = f"{line.noise} ({line.fixed_noise})" if line.noise else ""
    return (
        line.arm.words,
        f"{line.accuracy:.3f}",
        "█" * round(BAR * line.accuracy),
        f"{low:.3f} to {high:.3f}",
        f"{line.macro_f1:.3f}",
        noise,
        _chosen(line),
    )


def _chosen(line: Line) -> str:
    one = line.settings
    words = [f"{one.rounds} × {one.local_steps} steps", f"rate {one.learning_rate}"]
    if line.arm.epsilon is not None:
        words.append(f"C {one.clip_norm}")
    if one.momentum:
        words.append(f"momentum {one.momentum}")
    return ", ".join(words)


def _goal(table: Table) -> str:
    behind, above = table.points_behind, table.points_above
    said = (
        f"Federated at ε = {GOAL_EPSILON}: {behind:.1f} points of accuracy behind all rows in one "
        f"place without DP, {above:.1f} above the best region alone without DP "
        f"({table.best_alone.arm.region})."
    )
    if table.met is None:
        return said
    met = "met" if table.met else "not met"
    return f"{said} The goal, at most {GOAL_POINTS:.0f} behind and above every region, is {met}."
