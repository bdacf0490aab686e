"""How large an auditor's install is: the base package in a fresh environment, and one extra.

pip fetches what is needed, so this needs a registry.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.figures import Figure, Say
from tests.bench.measuring import ROOT

LIMIT_S = 900
EXTRAS = (("without dp-accounting", ".", 150.0), ("with dp-accounting", ".[exact]", 320.0))


def measure(say: Say) -> list[Figure]:
    """Install into an environment, and add up the sizes of the files in its site-packages."""
    figures = []
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "venv"
        _run(sys.executable, "-m", "venv", str(place))
        for what, package, most in EXTRAS:
            say(f"pip install {package}")
            pip = (str(place / "bin" / "python"), "-m", "pip", "install", "--quiet")
            _run(*pip, "--disable-pip-version-check", package)
            figures.append(
                Figure(
                    row="install",
                    measured=f"site-packages {what}, pip in",
                    value=_bytes(place) / 1e6,
                    unit="MB",
                    at_most=most,
                )
            )
    return figures


def _bytes(place: Path) -> int:
    (packages,) = place.glob("lib/*/site-packages")
    return sum(file.lstat().st_size for file in packages.rglob("*") if not file.is_dir())


def _run(*words: str) -> None:
    subprocess.run(words, cwd=ROOT, check=True, timeout=LIMIT_S, stdout=subprocess.DEVNULL)
