"""Asks a running vault on the socket that is for the institution's own tools."""

import json
import socket
from pathlib import Path

from comity_common.errors import Problem

TIMEOUT_S = 2.0
MAX_ANSWER_BYTES = 65_536


def ask(control: Path) -> dict[str, object]:
    """Ask a vault for its status.

    Raises:
        Problem: nobody answers, or what came is no status.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(str(control))
            connection.sendall(b"{}\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline(MAX_ANSWER_BYTES))
        if not isinstance(answer, dict):
            raise ValueError("expected a status")
    except (OSError, ValueError, RecursionError) as error:
        raise Problem("COM-CLIENT-001", why=error) from None
    return answer
