"""A run continued with a changed recipe, and an adapter over a base that cannot be written."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_run import RECIPES, TINY, ToyRun, as_owner_alone

from talkies.checkpoints.release import load_component
from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)
AUDIO = str(RECIPES / "audio_pretraining.yaml")
ALLOWED = ["data.workers=1", "compute.checkpointing=true", "survival.non_finite=skip", "slurm.time=01:00:00"]
"""One key of every section that sets how a run is carried out, not what it is."""
CHANGED = [
    "optimizer.lr.towers=0.002",
    "steps.global_batch=8",
    "seed=2",
    "flow.schedule.shifts.audio=2.0",
    "ema.decay=0.9",
]


@pytest.mark.slow
@pytest.mark.fault("f", "config change on resume", injected="a rate, batch, seed, shift or decay; and what may change")
def test_a_run_is_continued_only_with_its_own_recipe(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], record_outcome: Callable[..., None]
) -> None:
    fixed = ["train", AUDIO, *TINY, "--runs", str(tmp_path), "--quiet"]
    assert run([*fixed, f"data.root={toy_run.data}", "--stop-at", "2"]) == 0
    (folder,) = tmp_path.glob("audio_pretraining-*/0001")
    for change in CHANGED:
        given = [word for word in fixed if word.partition("=")[0] != change.partition("=")[0]]
        capsys.readouterr()
        assert run([*given, f"data.root={toy_run.data}", change, "--folder", str(folder)]) == 65
        assert "is not a run of this recipe" in capsys.readouterr().err
    moved = tmp_path / "moved"
    moved.symlink_to(toy_run.data)
    assert run([*fixed, f"data.root={moved}", *ALLOWED, "--folder", str(folder)]) == 0
    ours, theirs = (load_component(f / "release", "audio") for f in (folder, toy_run.phase("audio_pretraining")))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-6, "blocks are computed again"
    record_outcome(f"{len(CHANGED)} changes refused (exit 65), {len(ALLOWED) + 1} allowed ones continue", steps_lost=0)


def hashes(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.fault("i", "read-only base weights", injected="chmod a-w of the whole base, by a process that it binds")
def test_an_adapter_over_a_base_that_cannot_be_written(
    toy_run: ToyRun, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    """Capabilities are dropped first, since root may write everywhere."""
    base = tmp_path / "base"
    shutil.copytree(toy_run.phase("high_resolution") / "release", base)
    before = hashes(base)
    folders = [base, *(path for path in base.rglob("*") if path.is_dir())]
    for path in (*base.rglob("*"), base):
        path.chmod(0o555 if path.is_dir() else 0o444)
    under = as_owner_alone()
    try:
        tried = subprocess.run([*under, "touch", str(base / "x")], check=False, capture_output=True)
        assert tried.returncode != 0, "it is bound"
        words = [
            *TINY,
            f"data.root={toy_run.data}",
            f"parents.base={base}",
            "--runs",
            str(tmp_path / "runs"),
            "--quiet",
        ]
        command = [*under, sys.executable, "-m", "talkies.cli.main", "train", str(RECIPES / "lora.yaml"), *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert hashes(base) == before
    finally:
        for path in folders:
            path.chmod(0o755)
    (made,) = (tmp_path / "runs").glob("lora-*/0001/release")
    assert (made / "adapter").is_dir()
    record_outcome("trains, releases, and leaves the base as it was")
