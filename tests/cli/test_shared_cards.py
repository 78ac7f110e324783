"""Cards that runs share (`--cards`): simultaneous promotions take turns, and keep each other's changes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy_run import ToyRun

from talkies.cli.main import run
from talkies.runs.folders import locked

pytestmark = pytest.mark.timeout(600)

PROMOTE = """
import sys, time
from dataclasses import replace
from pathlib import Path
from talkies.cli.place import lookups
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.runs.run_promotion import promote_run
from talkies.models.systems import SYSTEMS
from talkies.runs.recorded import recipe_of_run
from talkies.tracking import registry
folder, name, runs, cards, ready = sys.argv[1:]
real = registry.describe
def slow(*args, **options):
    time.sleep(1)
    return real(*args, **options)
registry.describe = slow
tracking = replace(recipe_of_run(Path(folder), SYSTEMS).tracking, register=name, gates=())
Path(ready).touch()
while len(list(Path(ready).parent.glob("*.ready"))) < 2:
    time.sleep(0.01)
given = {"cards": Path(cards), "expect": None, "ranks": Ranks(ALONE), **lookups(Path(runs), None, source=folder)}
promote_run(Path(folder), tracking=tracking, **given)
"""
"""A promotion of a run under another name. It starts together with that of the other process, and reads the cards a
second before it writes them."""


@pytest.mark.slow
def test_two_promotions_at_once_keep_both_rows(toy_run: ToyRun, tmp_path: Path) -> None:
    cards, processes = tmp_path / "shared", []
    for name in ("toy-one", "toy-two"):
        copy = tmp_path / name
        shutil.copytree(toy_run.phase("lora"), copy, ignore=shutil.ignore_patterns("checkpoints"))
        words = [str(copy), name, str(toy_run.runs), str(cards), str(tmp_path / f"{name}.ready")]
        processes.append(subprocess.Popen([sys.executable, "-c", PROMOTE, *words], stderr=subprocess.PIPE, text=True))
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    text = (cards / "MODEL_CARDS.md").read_text()
    for name in ("toy-one", "toy-two"):
        assert f"[1](cards/{name}/version-0001.md)" in text
    assert sorted(path.name for path in (cards / "cards").iterdir()) == ["toy-one", "toy-two"], "no lock stays"


def test_a_process_that_holds_them_for_too_long_is_named(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy is promoted: another test's process may hold the run itself for a moment."""
    monkeypatch.setattr("talkies.runs.folders.TURN_S", 0.2)
    copy = tmp_path / "run"
    shutil.copytree(toy_run.phase("lora"), copy, ignore=shutil.ignore_patterns("checkpoints"))
    with locked(tmp_path / "cards"):
        (tmp_path / "cards" / "x").touch()
        for words in (["promote", str(copy)], ["rollback", "mova-toy"]):
            assert run([*words, "--cards", str(tmp_path), "--runs", str(toy_run.runs)]) == 75
            assert f"run: {tmp_path / 'cards'} is in use by process " in capsys.readouterr().err
    assert not (tmp_path / "MODEL_CARDS.md").exists()
