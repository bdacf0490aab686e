"""Makes `comity-verify.pyz`: the auditor's tool in one file, for any Python from 3.11 on.

    python deployments/verifier/make_verifier.py PARTS FOLDER

`make verifier` calls it with the packages of `inside.txt`, whose bytes pip has checked. Rules:

* The same sources and parts give the same bytes, whoever makes it, wherever and when: names are
  sorted, dates are 1980's, and nothing is compressed, since compressors differ.
* Inside is what the auditor's tool imports and is pure Python. What is native code, the auditor
  installs; the archive's metadata name it, and `start.py` says so.
* It is `comity` with the auditor's commands: the archive has entry points of its own.

It needs nothing but the standard library.
"""

import io
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAME = "comity-verify.pyz"
OURS = ("comity_audit", "comity_common", "comity_host")
OUTSIDE = ("cryptography", "numpy", "pydantic")  # native code, or bound to it
STAMP = (1980, 1, 1, 0, 0, 0)  # a zip knows no earlier one
MODE = 0o100644 << 16
LEFT_OUT = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}  # tell how it was installed


def main(arguments: list[str]) -> int:
    """Write the archive and its digest into a folder, or say how to call."""
    if len(arguments) != 2:
        print("expected two folders: that of the parts, and one to write into", file=sys.stderr)
        return 2
    parts, folder = map(Path, arguments)
    raw = archive(contents(parts))
    digest = sha256(raw).hexdigest()
    folder.mkdir(exist_ok=True)
    made = folder / NAME
    made.write_bytes(raw)
    made.chmod(0o755)
    made.with_name(f"{NAME}.sha256").write_text(f"{digest}  {NAME}\n")
    print(f"{made} has {len(raw):,} bytes and the SHA-256 {digest}")
    return 0


def contents(parts: Path) -> dict[str, bytes]:
    """Collect all files of the archive, by their names in it.

    Args:
        parts: a folder in which the packages of `inside.txt` are installed, maybe among others.

    Raises:
        ValueError: one of them is not there.
    """
    found = {"__main__.py": (HERE / "start.py").read_bytes()}
    found |= _metadata()
    for package in OURS:
        found |= _package(ROOT / "common", package)
    for name in inside():
        found |= _part(parts, name)
    return found


def inside() -> list[str]:
    """List the packages of others that the archive carries."""
    return re.findall("^([a-z0-9-]+)==", (HERE / "inside.txt").read_text("utf-8"), re.MULTILINE)


def archive(found: dict[str, bytes]) -> bytes:
    """Write files into an archive that Python runs."""
    file = io.BytesIO()
    file.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for name in sorted(found):
            about = zipfile.ZipInfo(name, STAMP)
            about.create_system = 3  # Unix, wherever it is made
            about.external_attr = MODE
            packed.writestr(about, found[name])
    return file.getvalue()


def _package(base: Path, package: str) -> dict[str, bytes]:
    return {
        path.relative_to(base).as_posix(): path.read_bytes()
        for path in (base / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _part(parts: Path, name: str) -> dict[str, bytes]:
    for one in distributions(name=name, path=[str(parts)]):
        return {
            path.as_posix(): (parts / path).read_bytes()
            for path in one.files or ()
            if path.parts[0] != ".."  # its commands
            and "__pycache__" not in path.parts
            and path.name not in LEFT_OUT
        }
    raise ValueError(f"expected {name} to be installed in {parts}")


def _metadata() -> dict[str, bytes]:
    """Write what `importlib.metadata` asks for: version, needs, and the auditor's commands."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    folder = f"comity-{project['version']}.dist-info"
    needs = [f"Requires-Dist: {one}\n" for one in _needs(project["dependencies"])]
    head = f"Metadata-Version: 2.1\nName: comity\nVersion: {project['version']}\n"
    group = "comity.commands"
    commands = [
        f"{name} = {place}\n"
        for name, place in project["entry-points"][group].items()
        if place.split(".")[0] in OURS
    ]
    return {
        f"{folder}/METADATA": (head + "".join(needs)).encode(),
        f"{folder}/entry_points.txt": f"[{group}]\n{''.join(commands)}".encode(),
        f"{folder}/licenses/LICENSE": (ROOT / "LICENSE").read_bytes(),
    }


def _needs(dependencies: list[str]) -> Iterator[str]:
    for one in dependencies:
        if re.split("[<>=]", one)[0] in OUTSIDE:
            yield one


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
