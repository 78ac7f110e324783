"""`pip install .`, not editable, far from the repository: what needs files of it has them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SITE = "kind: site\nlimits: {nodes: 128, gpus_per_node: 8, time: 1-00:00:00}\ncard: 80\ndata_root: /data\nruns: /runs\n"
TINY = [
    *(f"prepare.sources.{source}.clips=12" for source in ("faces", "faces_high", "masks")),
    *(f"prepare.sources.{source}.heldout=4" for source in ("faces", "faces_high", "masks")),
    *("prepare.fit_clips=8", "phases.steps.max=2", "phases.steps.global_batch=4", "phases.steps.checkpoint_every=2"),
    *("phases.validation.every=2", "phases.validation.clips=4", "phases.validation.samples=0"),
    *("phases.validation.final_clips=4", "phases.sampling.steps=2", "--no-promote", "--quiet"),
]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
Talkies = Callable[..., str]


@pytest.fixture(scope="module")
def talkies(tmp_path_factory: pytest.TempPathFactory) -> Talkies:
    """Runs a verb of an installation, with the recipes beside it: in a folder of its own, by its own interpreter."""
    folder = tmp_path_factory.mktemp("installed")
    source, site, here = folder / "source", folder / "site", folder / "here"
    for name in ("src", "slurm", "recipes"):
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=unwanted)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy2(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, timeout=300)
    shutil.rmtree(source)
    shutil.copytree(ROOT / "recipes", here / "recipes")
    (here / "site.yaml").write_text(SITE)

    def run(*words: str) -> str:
        own = {**os.environ, "PYTHONPATH": str(site)}
        command = [sys.executable, "-c", "from talkies.cli.main import run; raise SystemExit(run())", *words]
        done = subprocess.run(command, cwd=here, env=own, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_phase_is_planned_and_queued(talkies: Talkies) -> None:
    phase = "recipes/mova/joint_phase1.yaml"
    assert "parameters" in talkies("plan", phase)
    script = talkies("submit", phase, "--site", "site.yaml", "--dry-run")
    assert "#SBATCH --nodes=128" in script


def test_a_curriculum_is_trained_and_sampled(talkies: Talkies) -> None:
    curriculum = "recipes/mova/toy/curriculum.yaml"
    said = talkies("train", curriculum, *TINY, "--runs", "runs")
    folder = said.partition("run folder: ")[2].split()[0]
    talkies("sample", f"{folder}/4-joint_phase2", "--prompt", "a cat sings", "--out", "sample.mp4")
