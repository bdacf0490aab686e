"""`comity-verify.pyz` as an auditor runs it: another Python, in which no Comity is installed."""

import json
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from tests.commands import comity
from tests.unit.audit.reported import Ledger, full, operators

from comity_common.words import agreement_words

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deployments" / "verifier"
MAKER = FOLDER / "make_verifier.py"
MAKING: dict[str, Any] = runpy.run_path(str(MAKER))
NATIVE: tuple[str, ...] = MAKING["OUTSIDE"]
INSTALLED = Path(distribution("click").locate_file("")).resolve()  # here inside.txt's packages are


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the verifier answered."""

    exit_code: int
    output: str
    error: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The last line of stdout."""
        found: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A Python of its own with the verifier beside it.

    Attributes:
        venv: a virtual environment, made without pip.
    """

    venv: Path
    verifier: Path

    @property
    def packages(self) -> Path:
        """Where its packages are."""
        (found,) = self.venv.glob("lib/python3.*/site-packages")
        return found

    def comity(self, *words: object) -> Said:
        """Call the verifier, isolated from this process's environment and folder."""
        done = subprocess.run(
            [self.venv / "bin" / "python", "-I", self.verifier, *map(str, words)],
            capture_output=True,
            text=True,
            env={},
            cwd=self.venv,
            timeout=120,
        )
        return Said(exit_code=done.returncode, output=done.stdout, error=done.stderr)


def make(parts: Path, folder: Path) -> Path:
    """Make the verifier in another process, and return it."""
    subprocess.run([sys.executable, "-I", MAKER, parts, folder], check=True, capture_output=True)
    return folder / MAKING["NAME"]


def closure(*names: str) -> Iterator[str]:
    """List packages and all that pip would install with them."""
    for name in names:
        yield name
        for requirement in map(Requirement, distribution(name).requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                yield from closure(requirement.name)


def lend(name: str, there: Path) -> None:
    """Let another environment see an installed package, and nothing else."""
    files = distribution(name).files or ()
    for top in {path.parts[0] for path in files} - {"..", "__pycache__"}:
        link = there / top
        if not link.exists():
            link.symlink_to(Path(distribution(name).locate_file(top)).resolve())


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(INSTALLED, tmp_path_factory.mktemp("made"))


def new_machine(path: Path, verifier: Path) -> Machine:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    return Machine(venv=path, verifier=verifier)


@pytest.fixture
def bare(tmp_path: Path, verifier: Path) -> Machine:
    """A Python with nothing but its standard library."""
    return new_machine(tmp_path / "venv", verifier)


@pytest.fixture(scope="module")
def auditor(tmp_path_factory: pytest.TempPathFactory, verifier: Path) -> Machine:
    """A Python with just what the verifier asks to be installed."""
    machine = new_machine(tmp_path_factory.mktemp("auditor") / "venv", verifier)
    for name in closure(*NATIVE):
        lend(name, machine.packages)
    lent = {path.name for path in machine.packages.iterdir()}
    assert not any(re.match("comity|typer|click|rich|mnemonic|rfc8785", name) for name in lent)
    return machine


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return full()


@pytest.fixture
def package(ledger: Ledger, tmp_path: Path) -> Path:
    file = tmp_path / "bank.zip"
    file.write_bytes(ledger.package().to_bytes())
    return file


def anchor(ledger: Ledger) -> tuple[str, str]:
    return "--agreement", agreement_words(ledger.agreement.digest)


def test_the_same_sources_give_the_same_bytes(verifier: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for name in MAKING["inside"]():
        for path in distribution(name).files or ():
            if path.parts[0] != ".." and "__pycache__" not in path.parts:
                (parts / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path.locate(), parts / path)  # with another date
    assert make(parts, tmp_path / "again").read_bytes() == verifier.read_bytes()


def test_every_name_stands_once_and_in_order_with_the_same_date(verifier: Path) -> None:
    with zipfile.ZipFile(verifier) as packed:
        found = packed.infolist()
    names = [one.filename for one in found]
    assert names == sorted(set(names))
    assert {one.date_time for one in found} == {(1980, 1, 1, 0, 0, 0)}
    assert {one.compress_type for one in found} == {zipfile.ZIP_STORED}
    assert not any(name.endswith((".so", ".pyc", ".pyd")) for name in names)


def test_its_digest_is_beside_it_as_sha256sum_reads_it(verifier: Path, tmp_path: Path) -> None:
    asked = ["sha256sum", "--strict", "-c", f"{verifier.name}.sha256"]
    subprocess.run(asked, cwd=verifier.parent, check=True, capture_output=True)
    for name in (verifier.name, f"{verifier.name}.sha256"):
        shutil.copyfile(verifier.with_name(name), tmp_path / name)
    with (tmp_path / verifier.name).open("ab") as file:
        file.write(b"\n")
    assert subprocess.run(asked, cwd=tmp_path, capture_output=True).returncode == 1


def test_a_part_that_is_not_there_stops_the_making(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected click to be installed"):
        MAKING["contents"](tmp_path)


def test_what_is_inside_is_pinned_within_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = {one.name: one for one in map(Requirement, project["dependencies"])}
    lines = (FOLDER / "inside.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line.split(" --hash=")[0]) for line in lines if line[0] != "#"]
    assert {pin.name for pin in pins} == set(MAKING["inside"]())
    for pin in pins:
        (exact,) = pin.specifier
        assert exact.version in asked.get(pin.name, Requirement("click>=8.1,<9")).specifier
    # Rich is what the daemons' terminals show; Typer brings Click.
    assert asked.keys() == {pin.name for pin in pins} - {"click"} | {*NATIVE, "rich"}


def test_it_says_what_the_installed_command_says(
    auditor: Machine, ledger: Ledger, package: Path, tmp_path: Path
) -> None:
    other = tmp_path / "operator.zip"
    other.write_bytes(operators(ledger).package().to_bytes())
    for words in (
        ("verify", package, *anchor(ledger), "--json"),
        ("verify", package, *anchor(ledger), "--operator", other, "--json"),
        ("verify", package, *anchor(ledger)),
        ("verify", package, "--json"),
        ("verify", package),
        ("show", package, "--json"),
        ("show", package, "--kind", "egress"),
    ):
        here, there = comity("audit", *words), auditor.comity("audit", *words)
        assert there.exit_code == here.exit_code, there.error
        assert (there.output, there.error) == (here.output, here.error)
    assert auditor.comity("--version").output == f"comity {version('comity')}\n"


def test_its_exit_codes_are_those_of_the_command(
    auditor: Machine, ledger: Ledger, package: Path, tmp_path: Path
) -> None:
    assert auditor.comity("audit", "verify", package, *anchor(ledger)).exit_code == 0
    assert auditor.comity("audit", "verify", package).exit_code == 3
    raw = list(ledger.raw)
    raw[7] = raw[7].replace(b'"sig":"', b'"sig":"A', 1)
    assert raw[7] != ledger.raw[7]
    tampered, cut = tmp_path / "tampered.zip", tmp_path / "cut.zip"
    tampered.write_bytes(replace(ledger.package(), entries=tuple(raw)).to_bytes())
    cut.write_bytes(package.read_bytes()[:-100])
    found = auditor.comity("audit", "verify", tampered, *anchor(ledger), "--json")
    assert (found.exit_code, found.envelope["data"]["verdict"]) == (3, "false")
    assert auditor.comity("audit", "verify", cut, *anchor(ledger)).exit_code == 4
    assert auditor.comity("audit", "verify").exit_code == 2
    assert auditor.comity("audit", "verify", package, "--agreement", "one two").exit_code == 2


def test_it_computes_epsilon_and_writes_report_page_and_proof(
    auditor: Machine, ledger: Ledger, package: Path, tmp_path: Path
) -> None:
    spent = auditor.comity("audit", "epsilon", package, *anchor(ledger), "--json")
    assert spent.exit_code == 0, spent.error
    assert spent.envelope["data"]["second_implementation"] is False
    page, original, again = (tmp_path / name for name in ("a.html", "a.json", "b.html"))
    made = auditor.comity(
        *("audit", "report", package, "-o", page, "--json-out", original, *anchor(ledger))
    )
    assert made.exit_code == 0, made.error
    assert auditor.comity("audit", "page", original, "-o", again).exit_code == 0
    assert again.read_bytes() == page.read_bytes()
    assert '<article lang="zh-Hans"' in page.read_text("utf-8")
    proof, terms = tmp_path / "fact.tlog-proof", tmp_path / "agreement.json"
    terms.write_bytes(ledger.package().agreements[ledger.agreement.digest])
    assert auditor.comity("audit", "prove", package, 3, proof).exit_code == 0
    fact = ("audit", "verify", proof, "--terms", terms, *anchor(ledger))
    assert auditor.comity(*fact).exit_code == 0


def test_it_names_what_is_missing_and_the_line_that_installs_it(bare: Machine) -> None:
    document = (ROOT / "docs" / "audit.md").read_text("utf-8")
    found = bare.comity("audit", "verify", "bank.zip")
    assert (found.exit_code, found.output) == (1, "")
    assert found.error.startswith("COM-AUDIT-018 ")
    assert found.error.count("\n") == 1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for name in NATIVE:
        (asked,) = (one for one in project["dependencies"] if Requirement(one).name == name)
        assert f"{name} is not there" in found.error
        assert f"'{asked}'" in found.error.split("-m pip install ")[1]
        assert f'"{asked}"' in document
    told = bare.comity("audit", "verify", "bank.zip", "--json")
    assert (told.exit_code, told.envelope["error"]["code"]) == (1, "COM-AUDIT-018")


def test_it_names_a_version_that_does_not_fit(bare: Machine) -> None:
    for name, has in (("cryptography", "43.0.1"), ("pydantic", "3.0"), ("numpy", "10.0")):
        about = bare.packages / f"{name}-{has}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {has}\n")
    error = bare.comity("audit").error
    assert "cryptography 43.0.1 is not >=50,<51" in error
    assert "pydantic 3.0 is not >=2.14,<3" in error
    assert "numpy" not in error.split("Fix:")[0]


def test_another_comity_on_the_machine_is_not_asked(
    bare: Machine, ledger: Ledger, package: Path
) -> None:
    for name in closure(*NATIVE):
        lend(name, bare.packages)
    for name in (*MAKING["OURS"], "click", "typer"):
        (bare.packages / name).mkdir()
        (bare.packages / name / "__init__.py").write_text("raise SystemExit(0)\n")
    about = bare.packages / "comity-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: comity\nVersion: 9.9\n")
    (about / "entry_points.txt").write_text("[comity.commands]\naudit = click:no\n")
    assert bare.comity("--version").output == f"comity {version('comity')}\n"
    assert bare.comity("audit", "verify", package, "--json").exit_code == 3
