"""The power goes at any moment; whatever the disk had not synced yet, nothing said is forgotten."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from comity_client.institution import Institution
from comity_common.agreement import Agreement
from comity_common.optimizer import ModelState, state_digest
from tests.kill.disk import Disk, Loss, build, records, watching
from tests.kill.lives import Life, fresh
from tests.kill.power import forgotten
from tests.kill.victim import quiet
from tests.kill.world import World
from tests.simulation.test_vaults import of_zeros

LANES = 3000  # a masked file of 24 sectors
ENDS = ("masked", "joined", "training", "revealed")  # of four lives, one after the other


def wider(draft: Agreement) -> tuple[Agreement, ModelState]:
    """Let more numbers than fit into a sector be trained."""
    agreement, state = of_zeros(replace(draft, model=replace(draft.model, parameters=LANES)))
    model = replace(agreement.model, initial_state=state_digest(state))
    return replace(agreement, model=model), state


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build(tmp_path_factory.mktemp("library"))
    except FileNotFoundError as error:
        pytest.skip(str(error))


def live(life: Life, world: World, end: str) -> None:
    """Answer a victim until it passes a boundary, and kill it there."""
    with life:
        world.wake()
        while True:
            call = life.next_call()
            if call.name == "boundary" and call.words[0] == end:
                return
            life.answer(world.answer(call))


def lose(path: Path, library: Path, how: str, points: int | None, seed: int) -> tuple[int, list]:
    """Let a vault live, and the power go at many moments.

    Args:
        how: what it does not sync; see `careless`.
        points: how many moments, of all that there are; None: all.

    Returns:
        how many disks were tried, and what was forgotten on any.
    """
    quiet()
    chance = random.Random(seed)
    world = World(path / "world", wider, chance)
    journal, agreement = path / "journal", world.agreement.digest
    disk = Disk.of(world.home)
    env = watching(library, world.home, journal)
    for end in ENDS:
        live(fresh(world.home, agreement, str(journal), how, env=env), world, end)
    happened = list(records(journal, world.home))
    assert {"create", "write", "truncate", "sync", "rename", "unlink", "mark"} <= {
        record.what for record in happened
    }
    chosen = set(range(len(happened)))
    if points is not None:
        marks = [k for k, record in enumerate(happened) if record.what == "mark"]
        half = points // 2
        chosen = {*chance.sample(marks, half), *chance.sample(range(len(happened)), half)}
    said, tried, missing = [], 0, []
    for k, record in enumerate(happened):
        disk.apply(record)
        if record.what == "mark":
            said.append(json.loads(record.paths[0]))
        for loss in (Loss.ALL, Loss.SOME) if k in chosen else ():
            disk.after_a_crash(loss, chance).put(path / "after")
            missing += forgotten(path / "after", agreement, said)
            tried += 1
    world.close()
    return tried, missing


def test_nothing_that_was_said_is_forgotten(tmp_path: Path, library: Path) -> None:
    tried, missing = lose(tmp_path, library, "as it is", points=48, seed=1)
    assert missing == []
    assert tried >= 48


@pytest.mark.parametrize("how", ["database", "files"])
def test_what_is_not_synced_is_found_missing(tmp_path: Path, library: Path, how: str) -> None:
    """The test above can fail."""
    _, missing = lose(tmp_path, library, how, points=24, seed=1)
    assert missing


FOUND = """
import sys
from pathlib import Path
from comity_client.config import VaultConfig
from comity_client.institution import Institution
settings = VaultConfig(id="inst-00", name="A", jurisdiction="DE", server="127.0.0.1:1")
made = Institution.create(Path(sys.argv[1]), settings)
made.keys.install(b"a certificate", b"an authority")
print(made.keys.identity.ed25519.hex())
"""


def test_a_new_institution_keeps_its_keys(tmp_path: Path, library: Path) -> None:
    """Its public keys may have been sent to the operator a moment later."""
    above, journal = tmp_path / "above", tmp_path / "journal"
    above.mkdir()
    disk = Disk.of(above)
    done = subprocess.run(
        [sys.executable, "-c", FOUND, above / "home"],
        env=os.environ | watching(library, above, journal),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for record in records(journal, above):
        disk.apply(record)
    disk.after_a_crash(Loss.ALL, random.Random(0)).put(tmp_path / "after")
    found = Institution(tmp_path / "after" / "home")
    assert found.keys.identity.ed25519.hex() == done.stdout.strip()
    assert found.keys.tls()[1] == b"a certificate"
    assert len(found.ledger.entries()) == 1
    assert found.home.outbox.is_dir()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 5))
def test_nothing_is_forgotten_at_any_moment(tmp_path: Path, library: Path, seed: int) -> None:
    tried, missing = lose(tmp_path, library, "as it is", points=None, seed=seed)
    assert missing == []
    assert tried > 1000
