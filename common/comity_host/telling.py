"""How a problem is told: code, cause and fix in one line, or an envelope for scripts.

Needs nothing but the standard library, so that it can also be told that something else is missing.
"""

import json
import os
import sys

from comity_common.catalogue import CATALOGUES
from comity_common.errors import Problem

LANGUAGE_VARIABLE = "COMITY_LANGUAGE"


def tell(problem: Problem, *, as_json: bool) -> int:
    """Print a problem for people on stderr, or its envelope for scripts.

    An envelope that stdout does not take goes to stderr.

    Returns:
        The exit code that belongs to it.
    """
    language = os.environ.get(LANGUAGE_VARIABLE, "en")
    explanation = CATALOGUES.get(language, CATALOGUES["en"])[problem.code]
    cause = explanation.cause.format(**problem.facts)
    fix = explanation.fix.format(**problem.facts)
    if as_json:
        error = {"code": problem.code, "message": cause, "fix": fix}
        envelope = json.dumps({"ok": False, "error": error})
        try:
            print(envelope, flush=True)
        except OSError:
            print(envelope, file=sys.stderr)
    else:
        line = f"{problem.code} {cause}. Fix: {fix}"
        shown = "".join(sign if sign.isprintable() else "?" for sign in line)
        print(shown, file=sys.stderr)
    return explanation.exit_code
