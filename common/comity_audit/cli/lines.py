"""How a step of an audit is told: in a line for people, as data for scripts."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comity_audit.steps import Step

NAME_WIDTH = 13
MARKS = {
    "holds": "✓",
    "fails": "✗",
    "word": "~",
    "absent": "-",
    "unanchored": "!",
    "inapplicable": "·",
}


def line(step: "Step") -> str:
    """Tell a step to people."""
    mark = MARKS[step.outcome.value]
    return f"{mark} {step.number:>2} {step.name:<{NAME_WIDTH}} {step.detail}"


def data(step: "Step") -> dict[str, Any]:
    """Tell a step to a script."""
    return {
        "number": step.number,
        "name": step.name,
        "outcome": step.outcome.value,
        "detail": step.detail,
    }
