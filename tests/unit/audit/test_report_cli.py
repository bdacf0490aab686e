"""`comity audit report` and `comity audit page` as a terminal and a script see them."""

import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.commands import comity
from tests.unit.audit.reported import Ledger, operators
from tests.unit.audit.test_audit_cli import HEAVY

from comity_audit.cli.outputs import write_out
from comity_audit.report.original import read_original
from comity_common.catalogue import ENGLISH
from comity_common.errors import Problem
from comity_common.words import agreement_words

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return Ledger().begin()


@pytest.fixture
def package(ledger: Ledger, tmp_path: Path) -> Path:
    file = tmp_path / "bank's.zip"
    file.write_bytes(ledger.package().to_bytes())
    return file


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def test_a_report_of_a_true_ledger_ends_with_zero(
    ledger: Ledger, package: Path, page: Path, tmp_path: Path
) -> None:
    original = tmp_path / "report.json"
    words = agreement_words(ledger.agreement.digest)
    found = comity(
        "audit", "report", package, "-o", page, "--json-out", original, "--agreement", words
    )
    assert found.exit_code == 0, found.error
    digest = sha256(original.read_bytes()).hexdigest()
    assert f"a report with SHA-256 {digest}, not signed" in found.output
    assert found.output.splitlines()[-1].startswith("Nothing was found.")
    text = page.read_text("utf-8")
    assert digest in text
    assert '<article lang="en"' in text
    assert '<article lang="zh-Hans"' in text
    report = read_original(original.read_bytes()).report
    assert report.integrity.package.name == "bank's.zip"
    assert report.integrity.package.sha256 == sha256(package.read_bytes()).hexdigest()
    assert report.summary.made


def test_a_report_by_one_implementation_alone_says_so(
    ledger: Ledger, package: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)  # as if it were not installed
    anchor = ("--agreement", ledger.agreement.digest)
    found = comity("audit", "report", package, "-o", page, *anchor)
    assert found.exit_code == 0, found.error
    assert "by one implementation" in found.error
    assert "One implementation computed every ε" in found.output
    assert "two implementations" not in found.output + found.error


@pytest.mark.parametrize(("language", "tag"), [("en", "en"), ("zh", "zh-Hans")])
def test_a_page_is_in_the_language_that_was_asked_for(
    package: Path, page: Path, language: str, tag: str
) -> None:
    comity("audit", "report", package, "-o", page, "--language", language)
    text = page.read_text("utf-8")
    assert f'<html lang="{tag}">' in text
    assert text.count("<article ") == 1


def test_an_unanchored_report_is_written_and_ends_with_three(package: Path, page: Path) -> None:
    found = comity("audit", "report", package, "-o", page)
    assert found.exit_code == 3
    assert "COM-AUDIT-009" in found.error
    assert "UNANCHORED" in page.read_text("utf-8")


def test_a_report_with_findings_is_written_and_ends_with_three(tmp_path: Path, page: Path) -> None:
    ledger = Ledger().begin()
    ledger.control("made-up")
    file = tmp_path / "audit.zip"
    file.write_bytes(ledger.package().to_bytes())
    anchor = ("--agreement", ledger.agreement.digest)
    found = comity("audit", "report", file, "-o", page, *anchor)
    assert found.exit_code == 3
    assert "traffic, does not hold: entry 7: made-up is no control message" in found.error
    assert "1 finding" in page.read_text("utf-8")
    page.unlink()
    told = comity("audit", "report", file, "-o", page, *anchor, "--json")
    assert told.exit_code == 3
    assert len(told.envelope["data"]["findings"]) == 1
    assert told.envelope["data"]["anchored"] is True


def test_a_ledger_without_foundations_gets_no_report(
    ledger: Ledger, tmp_path: Path, page: Path
) -> None:
    file = tmp_path / "audit.zip"
    short = replace(ledger.package(), entries=tuple(ledger.raw[:-1]))
    file.write_bytes(short.to_bytes())
    found = comity("audit", "report", file, "-o", page)
    assert found.exit_code == 3
    assert "COM-AUDIT-008 step 4, head, does not hold" in found.error
    assert not page.exists()


def test_what_is_no_package_gets_no_report(tmp_path: Path, page: Path) -> None:
    file = tmp_path / "audit.zip"
    file.write_bytes(b"PK\x03\x04 and no more")
    found = comity("audit", "report", file, "-o", page)
    assert found.exit_code == 4
    assert "COM-AUDIT-007" in found.error
    assert not page.exists()


def test_a_report_is_held_against_the_operators_ledger(
    ledger: Ledger, package: Path, page: Path, tmp_path: Path
) -> None:
    other = tmp_path / "operator.zip"
    other.write_bytes(operators(ledger).package().to_bytes())
    anchor = ("--agreement", ledger.agreement.digest)
    found = comity("audit", "report", package, "-o", page, "--operator", other, *anchor)
    assert found.exit_code == 0, found.error
    assert "with the same digest and size: messages 1, bytes 3,000" in page.read_text("utf-8")


def test_a_signed_report_gives_its_page_again_to_whoever_has_the_key(
    ledger: Ledger, package: Path, page: Path, tmp_path: Path
) -> None:
    key, original = tmp_path / "report.key", tmp_path / "report.json"
    key.write_bytes(KEY.private_bytes(*PEM))
    anchor = ("--agreement", ledger.agreement.digest)
    signing = ("--json-out", original, "--sign-with", key, *anchor)
    data = comity("audit", "report", package, "-o", page, *signing, "--json").data
    assert data["key"] == KEY.public_key().public_bytes_raw().hex()
    again = tmp_path / "again.html"
    found = comity("audit", "page", original, "-o", again, "--key", data["key"])
    assert found.exit_code == 0, found.error
    assert data["sha256"] in found.output
    assert again.read_bytes() == page.read_bytes()
    for wrong in ((), ("--key", "00" * 32)):
        refused = comity("audit", "page", original, "-o", tmp_path / "no.html", *wrong)
        assert refused.exit_code == 4
        assert "COM-AUDIT-015" in refused.error
    assert not (tmp_path / "no.html").exists()


def test_what_cannot_be_is_refused_before_anything_is_read(
    package: Path, page: Path, tmp_path: Path
) -> None:
    for options, code, number in (
        (("--language", "de"), 2, "016"),
        (("--sign-with", package, "--json-out", tmp_path / "o.json"), 2, "014"),
        (("--sign-with", tmp_path / "none", "--json-out", tmp_path / "o.json"), 2, "024"),
        (("--agreement", "one two"), 2, "004"),
        (("--sign-with", page), 2, "028"),
        (("--json-out", package), 2, "012"),
        (("--json-out", tmp_path / "nowhere" / "report.json"), 2, "012"),
    ):
        found = comity("audit", "report", package, "-o", page, *options)
        assert (found.exit_code, f"COM-AUDIT-{number}" in found.error) == (code, True), options
    curve = tmp_path / "curve.key"
    curve.write_bytes(generate_private_key(SECP256R1()).private_bytes(*PEM))
    signed = ("--sign-with", curve, "--json-out", tmp_path / "o.json")
    found = comity("audit", "report", package, "-o", page, *signed)
    assert "it is no Ed25519 key" in found.error
    for key in ("abc", ""):
        found = comity("audit", "page", package, "-o", page, "--key", key)
        assert (found.exit_code, "COM-AUDIT-017" in found.error) == (2, True)
    twice = ("--key", "0" * 64, "--key", "1" * 64)
    found = comity("audit", "page", package, "-o", page, *twice)
    assert (found.exit_code, "--key was given more than once" in found.error) == (2, True)
    found = comity("audit", "page", tmp_path / "none", "-o", page)
    assert (found.exit_code, "COM-AUDIT-024" in found.error) == (2, True)
    assert not page.exists()


def test_all_files_of_a_report_are_written_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    with pytest.raises(Problem) as caught:
        write_out((first, b"one"), (second, b"two"))
    assert caught.value.code == "COM-AUDIT-012"
    assert not first.exists()
    too_long = tmp_path / ("x" * 300)
    with pytest.raises(Problem) as caught:
        write_out((first, b"one"), (too_long, b"two"))
    assert caught.value.code == "COM-AUDIT-012"
    assert list(tmp_path.iterdir()) == [second]


def test_what_lies_where_a_draft_would_be_is_kept(tmp_path: Path) -> None:
    mine = tmp_path / "page.draft"
    mine.write_text("mine")
    with pytest.raises(Problem) as caught:
        write_out((tmp_path / "page", b"one"))
    assert caught.value.code == "COM-AUDIT-012"
    assert "page.draft" in str(caught.value.facts["why"])
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


def test_nothing_is_written_over_a_link_that_leads_nowhere(package: Path, page: Path) -> None:
    page.symlink_to(page.parent / "nowhere")
    found = comity("audit", "report", package, "-o", page)
    assert (found.exit_code, "COM-AUDIT-012" in found.error) == (2, True)
    assert page.is_symlink()


def test_no_file_is_written_over(package: Path, page: Path) -> None:
    page.write_text("mine")
    found = comity("audit", "report", package, "-o", page)
    assert (found.exit_code, "COM-AUDIT-012" in found.error) == (2, True)
    assert page.read_text() == "mine"


@pytest.mark.parametrize("spelled", ["both", "sub/../both", "elsewhere/both", "link"])
def test_a_page_and_a_json_in_the_same_file_are_a_mistake_of_the_caller(
    package: Path, tmp_path: Path, spelled: str
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "both")
    before = sorted(tmp_path.iterdir())
    files = ("-o", tmp_path / "both", "--json-out", tmp_path / spelled)
    found = comity("audit", "report", package, *files)
    assert (found.exit_code, "COM-AUDIT-027" in found.error) == (2, True), found.error
    assert sorted(tmp_path.iterdir()) == before


def test_a_page_and_a_json_of_one_name_in_here_are_the_same_file(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = comity("audit", "report", package, "-o", "both", "--json-out", tmp_path / "both")
    assert (found.exit_code, "COM-AUDIT-027" in found.error) == (2, True), found.error
    assert not (tmp_path / "both").exists()


def test_what_is_read_is_never_written_over(package: Path, tmp_path: Path) -> None:
    key = tmp_path / "report.key"
    key.write_bytes(KEY.private_bytes(*PEM))
    before = {file: file.read_bytes() for file in (package, key)}
    for output in before:
        for files in (
            ("-o", output, "--json-out", tmp_path / "json"),
            ("-o", tmp_path / "page", "--json-out", output),
        ):
            found = comity("audit", "report", package, *files, "--sign-with", key)
            assert found.exit_code == ENGLISH["COM-AUDIT-012"].exit_code
            assert "COM-AUDIT-012" in found.error
    assert {file: file.read_bytes() for file in before} == before
    assert not (tmp_path / "page").exists()


def test_a_report_needs_nothing_of_the_others(package: Path, page: Path) -> None:
    script = (
        "import json, sys\nfrom comity_host.cli import run\n"
        "run(['audit', 'report', sys.argv[1], '-o', sys.argv[2]])\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    asked = [sys.executable, "-c", script, str(package), str(page)]
    answered = subprocess.run(asked, capture_output=True, text=True, check=True)
    loaded = set(json.loads(answered.stdout.splitlines()[-1]))
    assert "comity_audit.report.page" in loaded
    assert page.exists()
    assert loaded & (HEAVY - {"comity_server", "sqlalchemy", "grpc", "google.protobuf"}) == set()
