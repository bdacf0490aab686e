"""Go's `golang.org/x/mod/sumdb`, as Debian packages it: signature, inclusion, consistency."""

import base64
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "sumdb" / "main.go"
GOPATH = Path("/usr/share/gocode")


def missing() -> str:
    """Say what it lacks here; empty: nothing."""
    if shutil.which("go") is None:
        return "there is no Go (Debian: golang-go)"
    if not (GOPATH / "src/golang.org/x/mod/sumdb").is_dir():
        return "there is no golang.org/x/mod (Debian: golang-golang-x-mod-dev)"
    return ""


@cache
def program(directory: Path) -> Path:
    """Build it once into a directory."""
    built = directory / "sumdb"
    env = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOCACHE": str(directory / "cache"),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    subprocess.run(["go", "build", "-o", built, SOURCE], check=True, env=env, timeout=300)
    return built


def accepts(
    directory: Path,
    key: str,
    note: bytes,
    entries: list[bytes],
    paths: list[tuple[bytes, ...]],
    older: list[tuple[int, bytes, tuple[bytes, ...]]],
) -> dict[str, int] | str:
    """Let it check a ledger.

    Args:
        key: of the log, as a `vkey`.
        older: size, root and consistency proof of older heads.

    Returns:
        how much it has checked, or why it does not accept.
    """

    def text(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    given: dict[str, Any] = {
        "key": key,
        "note": text(note),
        "entries": [text(entry) for entry in entries],
        "paths": [[text(node) for node in path] for path in paths],
        "older": [
            {"size": size, "root": text(root), "path": [text(node) for node in path]}
            for size, root, path in older
        ],
    }
    done = subprocess.run(
        [program(directory)], input=json.dumps(given), capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        return done.stderr.strip()
    counts: dict[str, int] = json.loads(done.stdout)
    return counts
