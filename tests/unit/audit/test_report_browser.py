"""The page in a real browser: both languages, light and dark, on paper, and in silence."""

import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from tests.unit.audit.test_report_page import hostile

from comity_audit.report.page import ALL_LANGUAGES, render
from comity_audit.report.page.style import DARK, LIGHT
from comity_audit.report.page.voice import Language
from comity_audit.report.writing import Written

CHROMIUM = shutil.which("chromium")
QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
SCHEMES = {"light": (LIGHT, 1), "dark": (DARK, 0)}
"""Palettes, and how the browser calls what its user prefers."""

NOBODY = "not an origin"  # as the browser's log calls itself

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class Browser:
    """Chromium without a window, with a profile of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def file(self, page: str) -> Path:
        """Store a page."""
        file = self._directory / "report.html"
        file.write_text(page, encoding="utf-8")
        return file

    def dom(self, page: str, *options: str) -> str:
        """Open a page, and return what became of it."""
        return self._run("--dump-dom", *options, self.file(page).as_uri()).decode()

    def picture(self, page: str, *options: str) -> bytes:
        """Open a page, and return a PNG of what is seen of it."""
        shot = self._directory / "page.png"
        self._run(f"--screenshot={shot}", *options, self.file(page).as_uri())
        return shot.read_bytes()

    def paper(self, page: str) -> bytes:
        """Print a page to a PDF."""
        pdf = self._directory / "page.pdf"
        self._run("--no-pdf-header-footer", f"--print-to-pdf={pdf}", self.file(page).as_uri())
        return pdf.read_bytes()

    def _run(self, *options: str) -> bytes:
        assert CHROMIUM is not None
        profile = f"--user-data-dir={self._directory / 'profile'}"
        command = [CHROMIUM, *QUIET, profile, *options]
        return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def corner(png: bytes) -> str:
    """Return the colour of a picture's first pixel."""
    data, at = b"", 8
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        if kind == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    return "#" + zlib.decompress(data)[1:4].hex()  # after the first row's filter, which adds 0


@pytest.mark.parametrize("language", ALL_LANGUAGES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_browser_shows_the_page_in_the_colours_that_its_user_prefers(
    browser: Browser, written: Written, language: Language, scheme: str
) -> None:
    palette, preferred = SCHEMES[scheme]
    setting = f"--blink-settings=preferredColorScheme={preferred}"
    png = browser.picture(render(written.original, [language]), setting, "--window-size=1100,1500")
    assert corner(png) == palette["paper"]  # so the policy let the page's own style in
    assert len(png) > 60_000


@pytest.mark.parametrize("language", ALL_LANGUAGES)
def test_a_browser_finds_all_sections_and_drawings(
    browser: Browser, written: Written, language: Language
) -> None:
    dom = browser.dom(render(written.original, [language]))
    assert re.findall(rf'<section [^>]*id="{language}-(\d+)"', dom) == [
        str(number) for number in range(1, 13)
    ]
    assert dom.count("<svg") == 2
    kicker = {Language.EN: "Audit report of a ledger", Language.ZH: "账本审计报告"}[language]
    assert f"<title>{kicker}: Spree Bank</title>" in dom


def test_nothing_of_a_hostile_name_runs(browser: Browser) -> None:
    dom = browser.dom(render(hostile(), ALL_LANGUAGES))
    assert "<title>owned" not in dom
    assert "<script" not in dom
    assert "<img" not in dom


def test_the_policy_stops_what_somebody_adds_to_the_page(
    browser: Browser, written: Written
) -> None:
    added = "<script>document.title = 'owned'</script></main>"
    page = render(written.original)
    assert "<title>owned" not in browser.dom(page.replace("</main>", added))
    without = re.sub(r"<meta http-equiv[^>]*/>", "", page)
    assert "<title>owned" in browser.dom(without.replace("</main>", added))


@pytest.mark.parametrize("languages", [ALL_LANGUAGES[:1], ALL_LANGUAGES[1:], ALL_LANGUAGES])
def test_the_page_prints(
    browser: Browser, written: Written, languages: tuple[Language, ...]
) -> None:
    pdf = browser.paper(render(written.original, languages))
    assert pdf.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 6 * len(languages) <= pages <= 16 * len(languages)


def asked(browser: Browser, page: str, log: Path) -> set[str]:
    """Open a page, and return the addresses that it asked for; the browser's own are left out."""
    browser.dom(page, f"--log-net-log={log}", "--host-resolver-rules=MAP * ~NOTFOUND")
    params = [event.get("params", {}) for event in json.loads(log.read_text("utf-8"))["events"]]
    return {one["url"] for one in params if "url" in one and one.get("initiator", NOBODY) != NOBODY}


def test_the_page_asks_nobody_for_anything(
    browser: Browser, written: Written, tmp_path: Path
) -> None:
    log = tmp_path / "net.json"
    assert asked(browser, written.html, log) == set()
    assert asked(browser, render(hostile(), ALL_LANGUAGES), log) == set()
    elsewhere = "http://elsewhere.example/pixel.png"
    assert asked(browser, f'<img src="{elsewhere}">', log) == {elsewhere}
