"""A demo's directory is removed, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from comity_common.errors import LocalError
from comity_local.layout import Workdir


def test_what_a_demo_made_is_removed_whole(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path / "demo")
    workdir.create()
    assert workdir.remove()
    assert not workdir.path.exists()
    assert not workdir.remove()


def test_a_directory_that_no_demo_made_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(LocalError, match="expected a directory that a demo made"):
        Workdir(tmp_path).remove()
    assert (tmp_path / "rows.jsonl").exists()


def test_removing_loads_nothing_that_trains(tmp_path: Path) -> None:
    Workdir(tmp_path / "demo").create()
    script = (
        "import sys\n"
        "from comity_local.cli import app\n"
        f"app(['--clean', '--workdir', {str(tmp_path / 'demo')!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'opacus', 'flwr'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
    assert not (tmp_path / "demo").exists()
