"""`comity client start|stop|status|unit|daemon`: vault and SuperNode, kept running."""

from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import ForegroundOption, JsonOption


def run(home: HomeOption = DEFAULT_HOME) -> None:
    """Run the vault alone, in the foreground, until it is told to stop."""
    from comity_client.daemon import serve
    from comity_host import log

    log.set_up()
    serve(home)


def start(
    home: HomeOption = DEFAULT_HOME, foreground: ForegroundOption = False, json_: JsonOption = False
) -> None:
    """Start vault and SuperNode, and keep them running until stop."""
    from comity_client import service
    from comity_client.home import Home
    from comity_host import log
    from comity_host.servicetexts import in_words, waiting

    here = Home(home)
    if foreground:
        log.set_up()
        service.run(here)
        return
    with waiting("starting the vault"):
        service.start(here)
        state = service.await_vault(here)
    lines = [in_words(state)]
    if not service.has_joined(here):
        lines.append("  supernode   is started as soon as the institution has joined")
    text = "\n".join([*lines, f"logs: {here.logs}"])
    data = {"service": state.model_dump(mode="json"), "logs": str(here.logs)}
    succeed(data, as_json=json_, text=text)


def stop(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Stop vault and SuperNode."""
    from comity_client.home import Home
    from comity_host import service
    from comity_host.servicetexts import waiting

    here = Home(home)
    here.settings()
    with waiting("stopping"):
        ran = service.stop(here.path)
    text = "vault and SuperNode are stopped" if ran else "nothing ran"
    succeed({"ran": ran}, as_json=json_, text=text)


def status(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Show what vault and SuperNode do."""
    from datetime import UTC, datetime

    from comity_client.control import ask
    from comity_client.home import Home
    from comity_client.service import VAULT
    from comity_common.errors import Problem
    from comity_host import service
    from comity_host.servicetexts import in_words

    here = Home(home)
    found = service.state(here.path)
    try:
        answer = ask(here.settings().control)
    except Problem as problem:
        if found is None or problem.code != "COM-CLIENT-001":
            raise
        raise service.not_answering(found, VAULT) from None
    answer["service"] = None if found is None else found.model_dump(mode="json")
    operator = f"{answer['away']}; trying again" if answer["away"] else "connected"
    if isinstance(until := answer["until"], int):
        waits = datetime.fromtimestamp(until, UTC).isoformat()
        operator += f"; waits for the upload until {waits} at least"
    text = f"{answer['id']}: {answer['doing']}\noperator: {operator}\n{in_words(found)}"
    succeed(answer, as_json=json_, text=text)


def unit(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Print a systemd unit that starts vault and SuperNode with the machine."""
    from comity_host import service, servicetexts

    command = service.command("client", home)
    text = servicetexts.unit("client", "vault and SuperNode of an institution", command)
    succeed({"unit": text}, as_json=json_, text=text.rstrip())
