"""Makes `docs/sample-report/`: what an auditor writes about one institution of a demo federation.

    python docs/make_sample_report.py          # run the demo, audit it, write all files (minutes)
    python docs/make_sample_report.py --pages  # write the page again, from the JSON that is here

Everything goes through the commands that people type. The demo has a round that fails, for there to
be something to tell. The key that signs is made for this one report and kept nowhere.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

SAMPLE = Path(__file__).with_name("sample-report")
PAGE, ORIGINAL, KEY = (SAMPLE / name for name in ("report.html", "report.json", "signer.txt"))
INSTITUTION = "spree-bank"
DEMO = (
    *("--no-baselines", "--rounds", "4", "--spare-rounds", "1", "--score-epsilon", "2"),
    *("--fault", f"stop-before-upload:{INSTITUTION}@2", "--fault", "stop-before-upload:2@2"),
)


def main(arguments: Sequence[str]) -> int:
    """Write the files, or one of them."""
    if arguments not in ([], ["--pages"]):
        print("expected no argument, or --pages", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="comity-") as there:
        if arguments:
            write_page(Path(there))
        else:
            write_all(Path(there))
    written = PAGE.relative_to(SAMPLE.parents[1])
    print(
        f"{written} is the page of a report that was signed with the key {KEY.read_text().strip()}"
    )
    return 0


def write_all(there: Path) -> None:
    """Run a federation, audit it, and keep report, page and the key that signed.

    Args:
        there: an empty folder.

    Raises:
        CalledProcessError: a command failed, or the auditor found something.
    """
    agreement = comity("demo", "--workdir", there / "demo", *DEMO)["agreement"]
    packages = {}
    for home in (there / "demo" / "institutions" / INSTITUTION, there / "demo" / "operator"):
        packages[home.name] = there / f"{home.name}.zip"
        comity("audit", "export", packages[home.name], "--home", home)
    secret = there / "report.key"
    pem = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    secret.write_bytes(Ed25519PrivateKey.generate().private_bytes(*pem))
    page, original = there / PAGE.name, there / ORIGINAL.name
    told = comity(
        *("audit", "report", packages[INSTITUTION], "--operator", packages["operator"]),
        *("--agreement", agreement, "--sign-with", secret, "-o", page, "--json-out", original),
    )
    SAMPLE.mkdir(exist_ok=True)
    PAGE.write_bytes(page.read_bytes())
    ORIGINAL.write_bytes(original.read_bytes())
    KEY.write_text(told["key"] + "\n")


def write_page(there: Path) -> None:
    """Write the page of the kept report again, as the code is now."""
    page = there / PAGE.name
    comity("audit", "page", ORIGINAL, "--key", KEY.read_text().strip(), "-o", page)
    PAGE.write_bytes(page.read_bytes())


def comity(*words: object) -> dict[str, str]:
    """Run a command and return its data."""
    asked = [sys.executable, "-m", "comity_host.cli", *map(str, words), "--json"]
    done = subprocess.run(asked, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    done.check_returncode()
    return json.loads(done.stdout.splitlines()[-1])["data"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
