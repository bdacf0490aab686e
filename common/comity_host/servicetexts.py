"""What the commands around a service print: how it does, that it is awaited, its systemd unit."""

import contextlib
import re
from collections.abc import Iterator, Sequence

from comity_host.service import ProcessState, State

_UNIT = """\
# Starts Comity's {part} with the machine and keeps it running. Save this text as
#   ~/.config/systemd/user/comity-{part}.service
# and let it begin, also while nobody is logged in:
#   systemctl --user daemon-reload
#   systemctl --user enable --now comity-{part}
#   loginctl enable-linger

[Unit]
Description=Comity: {description}

[Service]
Type=exec
ExecStart={command}
Restart=always
RestartSec=5
# What `comity {part} stop` ended stays ended.
RestartPreventExitStatus=0
# The service ends its own processes; what is left after that is killed.
KillMode=mixed
TimeoutStopSec=30
UMask=0077
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""


def in_words(state: State | None) -> str:
    """Say how a service and its processes do, a line each."""
    if state is None:
        return "no service runs"
    since = state.since.strftime("%Y-%m-%d %H:%M:%S UTC")
    lines = [f"service runs since {since} (process {state.pid})"]
    lines += [f"  {process.name:<10}  {_how(process)}" for process in state.processes]
    return "\n".join(lines)


def unit(part: str, description: str, command: Sequence[str]) -> str:
    """Write a systemd unit, for the user's own manager, that keeps a service running.

    Args:
        part: `client` or `server`.
        command: runs the service in the foreground.
    """
    program, *arguments = command
    # A dollar begins a variable in an argument, and nothing in the name of a program.
    words = [program, *(argument.replace("$", "$$") for argument in arguments)]
    line = " ".join(_quoted(word) for word in words)
    return _UNIT.format(part=part, description=description, command=line)


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show on stderr that something is awaited: moving on a terminal, a plain line elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        console.print(text, soft_wrap=True)
        yield


def _how(process: ProcessState) -> str:
    words = "runs" if process.alive else "is started again soon"
    if process.restarts:
        words += f", started again {process.restarts} ×"
    if process.exit_code is not None:
        code = process.exit_code
        ended = f"by signal {-code}" if code < 0 else f"with status {code}"
        words += f", ended last {ended}; see {process.log}"
    return words


def _quoted(word: str) -> str:
    """Write a word so that systemd reads it back as it is."""
    word = word.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./$-]+", word, re.ASCII):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
