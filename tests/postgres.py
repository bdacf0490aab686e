"""A PostgreSQL server of this test's own: a fresh cluster on a unix socket, and no other way in."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PLACES = Path("/usr/lib/postgresql")
USER = "postgres"
START_S = 60.0


def binaries() -> Path | None:
    """Find the newest server that is installed; None if there is none."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    versions = [path for path in PLACES.glob("*/bin") if (path / "initdb").exists()]
    return max(versions, key=lambda path: int(path.parent.name), default=None)


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a server; yields the URL of an empty database in it."""
    bin = binaries()
    if bin is None:
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="comity-pg-") as path:
        user = USER if os.geteuid() == 0 else None  # the server does not run as root
        if user:
            shutil.chown(path, user)
        data = f"{path}/data"

        def run(*words: str) -> None:
            subprocess.run(words, user=user, cwd=path, check=True, capture_output=True)

        run(str(bin / "initdb"), "-D", data, "-U", "comity", "-A", "trust", "--no-sync")
        options = f"-k {path} -c listen_addresses= -c max_connections=64"
        run(
            *(str(bin / "pg_ctl"), "-D", data, "-l", f"{path}/log", "-w"),
            *("-t", str(int(START_S)), "-o", options, "start"),
        )
        try:
            yield f"postgresql+psycopg://comity@/postgres?host={path}"
        finally:
            run(str(bin / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
