"""The documents say what is so: tables, commands, options, links, and names."""

import ast
import re
import runpy
import shlex
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from typer.main import get_command

from comity_common.ledger.bodies import EntryKind
from comity_host.cli import GROUP

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PACKAGES = (
    ROOT / "client" / "comity_client",
    ROOT / "server" / "comity_server",
    ROOT / "common" / "comity_common",
    ROOT / "common" / "comity_host",
)
README = (ROOT / "README.md").read_text("utf-8")

FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|usr|opt|mnt|srv|var|Users)/")


def commands(text: str) -> list[str]:
    """Return every line of a fence and every span of code that calls make or comity."""
    fences = FENCE.findall(text)
    lines = [line for fence in fences for line in fence.splitlines()[1:-1]]
    spans = [" ".join(span.split()) for span in SPAN.findall(FENCE.sub("", text))]
    called = [line.split("#")[0].strip() for line in lines + spans]
    return [line for line in called if re.match(r"(make|comity) \S", line)]


@cache
def parts() -> dict[str, click.Command]:
    """Return the subcommands of `comity`."""
    return {point.name: get_command(point.load()) for point in entry_points(group=GROUP)}


def options_of(command: click.Command) -> set[str]:
    """Return all spellings of a command's options."""
    return {name for param in command.params for name in (*param.opts, *param.secondary_opts)}


def check_comity(words: list[str]) -> None:
    """Check that a command exists and has the options that are named."""
    name, *rest = words
    if name == "--help":
        return
    assert name in parts()
    command = parts()[name]
    while rest and isinstance(command, click.Group) and command.commands:
        assert rest[0] in command.commands
        command = command.commands[rest.pop(0)]
    assert {word for word in rest if word.startswith("--")} <= options_of(command) | {"--help"}


def check_make(words: list[str]) -> None:
    """Check that targets and variables exist, and what is handed on to the demo."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for word in words:
        variable, equals, value = word.partition("=")
        kind = r"^{} \?=" if equals else r"^{}:"
        assert re.search(kind.format(re.escape(variable)), makefile, re.MULTILINE), word
        if variable == "ARGS" and "demo" in words:
            check_comity(["demo", *shlex.split(value)])


def test_the_tables_of_the_protocol_are_those_of_the_code():
    tables = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    text = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    assert len(tables["MARKED"].findall(text)) == 4
    assert tables["rewritten"](text) == text
    assert tables["rewritten"](text.replace("| **masked** |", "| **asked** |")) == text


def test_the_tables_of_what_a_ledger_says_are_those_of_the_tags():
    tables = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    text = (ROOT / "docs" / "what-a-ledger-says.md").read_text("utf-8")
    assert [name for _, name, _ in tables["MARKED"].findall(text)] == ["entrytags", "messagetags"]
    assert tables["rewritten"](text) == text
    assert tables["rewritten"](text.replace("`released` | random", "`released` | sealed")) == text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_and_comity_command_that_a_document_names_exists(document):
    for line in commands(document.read_text("utf-8")):
        program, *words = shlex.split(line)
        (check_make if program == "make" else check_comity)(words)


def test_the_readme_begins_with_two_commands():
    assert README.split("```")[1].split() == ["make", "demo", "make", "test"]


def test_the_readme_lists_every_option_of_the_demo_and_no_other():
    rows = [line.split("|")[1:3] for line in README.splitlines() if line.startswith("| `--")]
    named = {word for row in rows for word in re.findall(r"--[a-z-]+", row[0])}
    named |= {"--baselines"}  # named beside its negation
    assert named == options_of(parts()["demo"])


def test_every_folder_that_the_readme_explains_is_there():
    folders = re.findall(r"^\| `([a-z_/0-9-]+/)`", README, re.MULTILINE)
    assert len(folders) > 10
    assert all((ROOT / folder).is_dir() for folder in folders)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document):
    for target in LINK.findall(FENCE.sub("", document.read_text("utf-8"))):
        if "://" not in target:
            assert (document.parent / target.split("#")[0]).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_names_a_path_of_a_machine(document):
    assert not MACHINE_PATH.search(document.read_text("utf-8"))


def test_every_name_in_the_life_of_a_delta_exists():
    text = (ROOT / "docs" / "life-of-a-delta.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z_/]+(?:\.[A-Za-z_]+)+)`", text)) - {k.value for k in EntryKind}
    assert len(named) > 30
    assert [name for name in sorted(named) if not is_defined(name)] == []


def is_defined(name: str) -> bool:
    """Tell whether `folder/file.Class.function` stands in one of the packages."""
    file, *path = name.split(".")
    for module in (f"{package}/{file}.py" for package in PACKAGES):
        if Path(module).exists():
            body = ast.parse(Path(module).read_text("utf-8")).body
            for part in path:
                found = [node for node in body if getattr(node, "name", None) == part]
                body = getattr(found[0], "body", []) if found else []
                if not found:
                    break
            else:
                return True
    return False
