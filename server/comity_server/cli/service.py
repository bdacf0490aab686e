"""`comity server start|stop|status|unit|daemon`: Flower, its gate and the daemon, kept running."""

from typing import Any

from comity_common.errors import LocalError, Problem
from comity_host.cli import succeed
from comity_host.options import ForegroundOption, JsonOption
from comity_server.cli.options import DEFAULT_HOME, HomeOption


def run(home: HomeOption = DEFAULT_HOME) -> None:
    """Run the operator's daemon alone, in the foreground, until it is told to end."""
    from comity_server.daemon import serve

    serve(home)


def start(
    home: HomeOption = DEFAULT_HOME, foreground: ForegroundOption = False, json_: JsonOption = False
) -> None:
    """Start Flower, its gate and the daemon, and keep them running until stop."""
    from comity_host import log
    from comity_host.servicetexts import in_words, waiting
    from comity_server import service
    from comity_server.home import Home

    here = Home(home)
    if foreground:
        log.set_up()
        service.run(here)
        return
    with waiting("starting the server"):
        service.start(here)
        state = service.await_server(here)
    data = {"service": state.model_dump(mode="json"), "logs": str(here.logs)}
    succeed(data, as_json=json_, text=f"{in_words(state)}\nlogs: {here.logs}")


def stop(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Stop everything that start has started."""
    from comity_host import service
    from comity_host.servicetexts import waiting
    from comity_server.home import Home

    here = Home(home)
    here.settings()
    with waiting("stopping"):
        ran = service.stop(here.path)
    succeed({"ran": ran}, as_json=json_, text="the server is stopped" if ran else "nothing ran")


def status(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Show where the run is, and how the processes do."""
    from comity_host import service
    from comity_host.servicetexts import in_words
    from comity_server.coordination import ask_status
    from comity_server.home import Home
    from comity_server.service import SERVER, check_socket

    here = Home(home)
    check_socket(here)
    found = service.state(here.path)
    try:
        state = ask_status(here.socket)
    except LocalError as error:
        if found is not None:
            raise service.not_answering(found, SERVER) from None
        raise Problem("COM-SERVER-001", why=error) from None
    state["service"] = None if found is None else found.model_dump(mode="json")
    succeed(state, as_json=json_, text=f"{_in_words(state)}\n{in_words(found)}")


def unit(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Print a systemd unit that starts the server with the machine."""
    from comity_host import service, servicetexts

    command = service.command("server", home)
    text = servicetexts.unit("server", "the operator's server", command)
    succeed({"unit": text}, as_json=json_, text=text.rstrip())


def _in_words(state: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    from comity_server import progress

    lines = [
        f"{state['stage']} · round {state['round']} of at most {state['attempts']}"
        f" · {state['certified']} of {state['of_rounds']} certified"
        + (f" · {state['scored']} of {state['of_scores']} scores" if state["of_scores"] else "")
    ]
    if state["failure"]:
        lines.append(f"stopped: {state['failure']}")
    if state["extended_until"]:
        until = datetime.fromtimestamp(state["extended_until"], UTC).isoformat()
        lines.append(f"uploads are waited for until {until} at least")
    for one in state["institutions"]:
        here = "connected" if one["connected"] else "away"
        lines.append(f"  {one['id']:<24} {here:<10} {progress.in_words(one)}")
    lines += [f"  {progress.round_in_words(one)}" for one in state["rounds"]]
    return "\n".join(lines)
