"""What `doctor` is made of: small checks of a machine, and what each found.

A check looks at one thing, changes nothing, and returns what it found in words for the person at
this machine; what is not right comes with its fix. Nothing that a check does or waits for can keep
the others from their turn: `examine` bounds each in time, and one that raises is itself a finding.

    for finding in examine([Check(name="disk", look=lambda: disk("disk", home, needs=10**9))]):
        print(finding.line(width=12))

What both sides look at is in `certificates`, `files`, `machine` and `network`; what only one of
them knows about is in its own `doctor`. Thresholds are arguments, since only the caller knows what
it needs.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from comity_common.catalogue import ENGLISH
from comity_common.errors import ComityError, Problem

LIMIT_S = 15.0


class Level(StrEnum):
    """How bad it is: a problem stops a round sooner or later, a warning may not."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


MARKS = {Level.OK: "✓", Level.WARNING: "!", Level.PROBLEM: "✗"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        name: what was looked at, one or two words.
        detail: what is there; never a secret, a row or a number of rows.
        fix: what to do; empty where all is well.
    """

    name: str
    level: Level
    detail: str
    fix: str = ""

    def line(self, width: int) -> str:
        """Write it in one line, the name in a column of so many characters."""
        fix = f". Fix: {self.fix}" if self.fix else ""
        return f"{MARKS[self.level]} {self.name:<{width}}  {self.detail}{fix}"

    def data(self) -> dict[str, str]:
        """Write it for scripts."""
        return {
            "name": self.name,
            "level": self.level.value,
            "detail": self.detail,
            "fix": self.fix,
        }


Look = Callable[[], Finding | Sequence[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing to look at.

    Attributes:
        look: finds out; it may raise.
        limit_s: after so long it is given up.
    """

    name: str
    look: Look
    limit_s: float = LIMIT_S


def ok(name: str, detail: str) -> Finding:
    """Find nothing wrong."""
    return Finding(name=name, level=Level.OK, detail=detail)


def warning(name: str, detail: str, fix: str) -> Finding:
    """Find something that may do harm."""
    return Finding(name=name, level=Level.WARNING, detail=detail, fix=fix)


def problem(name: str, detail: str, fix: str) -> Finding:
    """Find something that must be mended."""
    return Finding(name=name, level=Level.PROBLEM, detail=detail, fix=fix)


def told(name: str, error: BaseException) -> Finding:
    """Turn what a check raised into a finding; a stranger's words are not repeated."""
    match error:
        case Problem():
            fix = ENGLISH[error.code].fix.format(**error.facts)
            return problem(name, f"{error.code} {error}", fix)
        case ComityError():
            return problem(name, str(error), "put right what the sentence names")
        case OSError() if error.filename is not None and error.strerror:
            why = f"{error.filename} cannot be used: {error.strerror}"
            return problem(name, why, "look at its owner and permissions")
        case _:
            why = f"this could not be looked at ({type(error).__name__})"
            return problem(name, why, "report what you see, with the versions below")


def examine(checks: Iterable[Check]) -> Iterator[Finding]:
    """Look at one thing after the other, and tell what was found as soon as it is known."""
    for check in checks:
        yield from _look(check)


def _look(check: Check) -> Sequence[Finding]:
    found: list[Finding] = []

    def look() -> None:
        try:
            what = check.look()
            found.extend([what] if isinstance(what, Finding) else what)
        except (Exception, SystemExit) as error:  # a library may try to end us
            found.append(told(check.name, error))

    looking = threading.Thread(target=look, name=f"check {check.name}", daemon=True)
    looking.start()
    looking.join(check.limit_s)
    if looking.is_alive():
        why = f"no answer within {check.limit_s:g} s"
        return [problem(check.name, why, "call again when the machine has less to do")]
    return found
