"""Toy recipes, data and a site profile for the throw-away cluster, and helpers to watch its jobs."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster import cluster, missing, wait_for

from talkies.checkpoints.store import CheckpointStore
from talkies.cli.main import run
from talkies.launch.chain import read_chain
from talkies.launch.slurm import JobInfo, jobs_of

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "mova" / "toy"
AUDIO = RECIPES / "audio_pretraining.yaml"
FACES = {"source": "faces", "geometry": "32x32x25@12.5"}
VOICES = {**FACES, "modalities": ["audio"], "duration_token": True}
PREPARE = {
    "kind": "prepare",
    "name": "tiny",
    "sources": {"faces": {"kind": "synthetic", "clips": 20, "heldout": 8}},
    "codecs": {"video": {"kind": "linear_video"}, "audio": {"kind": "linear_audio"}, "text": {"kind": "bytes"}},
    "fit_sets": ["low"],
    "fit_clips": 8,
    "sets": {
        "low": FACES,
        "low_heldout": {**FACES, "split": "heldout"},
        "voices": VOICES,
        "voices_heldout": {**VOICES, "split": "heldout"},
    },
}
TINY = [
    "steps.global_batch=4",
    "steps.log_every=2",
    "steps.checkpoint_every=20",
    "validation.every=100000",
    "validation.clips=8",
    "validation.samples=0",
    "sampling.steps=2",
]
TWO = ["parallel.kind=ddp", "parallel.replicate=2"]
SITE: dict[str, Any] = {
    "kind": "site",
    "partition": "toys",
    "limits": {"nodes": 2, "gpus_per_node": 2, "time": "00:20:00"},
    "lead": 30,
    "environment": {
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1",
    },
    "prepare": {"cpus": 1},
}
LATE = """
import importlib.util, os, sys, time
class Late:
    def find_spec(self, name, path, target=None):
        if name != {module!r}:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        made = spec.loader.exec_module
        def exec_module(module):
            made(module)
            exec({code!r}, {{"module": module, "time": time}})
        spec.loader.exec_module = exec_module
        return spec
if (os.environ.get("SLURM_PROCID"), os.environ.get("SLURM_RESTART_COUNT", "0")) == ("{rank}", "0"):
    sys.meta_path.insert(0, Late())
"""
"""A sitecustomize.py that Python runs at its start: it runs `code` when one rank of a first attempt has imported
`module`."""


@dataclass(frozen=True)
class Toys:
    """The recipes, runs and site of one cluster, in one folder."""

    folder: Path

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def site(self, **changed: object) -> Path:
        """A site profile with other keys."""
        path = self.folder / f"site-{len([*self.folder.glob('site-*')])}.yaml"
        path.write_text(json.dumps({**SITE, **changed}))
        return path

    def site_with(self, code: str, *, module: str, rank: int) -> Path:
        """A site profile under which `code` runs in one rank of a job's first attempt, once `module` is imported."""
        number = len([*self.folder.glob("site-*")])
        folder = self.folder / f"code-{number}"
        folder.mkdir()
        folder.joinpath("sitecustomize.py").write_text(LATE.format(module=module, code=code, rank=rank))
        environment = SITE["environment"]
        return self.site(environment={**environment, "PYTHONPATH": f"{folder}:{environment['PYTHONPATH']}"})

    def curriculum(self, name: str, *overrides: str) -> Path:
        """Two phases, on one node and on two."""
        phases = [str(AUDIO), str(RECIPES / "video_pretraining.yaml")]
        two = [f"video_pretraining.{word}" for word in (*TWO, "slurm.nodes=2")]
        words = [*with_tiny("phases.", "phases.steps.max=6", *overrides), *two]
        path = self.folder / f"{name}.yaml"
        head = {"kind": "curriculum", "name": name, "prepare": "prepare.yaml"}
        path.write_text(json.dumps({**head, "phases": phases, "overrides": words}))
        return path

    @property
    def data(self) -> Path:
        """The prepared data, made on the first call."""
        assert run(["prepare", str(self.folder / "prepare.yaml"), "--runs", str(self.runs), "--quiet"]) == 0
        (root,) = (self.runs / "data").iterdir()
        return root

    def submit(self, recipe: Path, site: Path, *words: str) -> Path:
        """Submit a recipe; returns the folder of its run."""
        known = {*self.runs.glob("*/*/jobs.json")}
        assert run(["submit", str(recipe), "--site", str(site), "--runs", str(self.runs), *words]) == 0
        (path,) = {*self.runs.glob("*/*/jobs.json")} - known
        return path.parent

    def phase(self, site: Path, *words: str) -> Path:
        """Submit the audio phase."""
        return self.submit(AUDIO, site, f"data.root={self.data}", *with_tiny("", *words))


def with_tiny(head: str, *words: str) -> list[str]:
    """The overrides `words`, and those of TINY that they do not replace."""
    given = {word.partition("=")[0] for word in words}
    return [*(f"{head}{word}" for word in TINY if f"{head}{word.partition('=')[0]}" not in given), *words]


def start_toys(folder: Path) -> Iterator[Toys]:
    """A cluster and its toys; SLURM_CONF points to it meanwhile."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    folder.joinpath("prepare.yaml").write_text(json.dumps(PREPARE))
    with cluster(folder / "slurm") as conf, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(conf))
        yield Toys(folder)


def ids(folder: Path) -> list[str]:
    """The jobs of a run."""
    chain = read_chain(folder)
    assert chain is not None
    return chain.ids


def job(folder: Path) -> JobInfo:
    """The last job of a run, as Slurm knows it."""
    (found,) = jobs_of(ids(folder)[-1])
    return found


def states(folder: Path) -> list[set[str]]:
    """The states of every job of a run; an array may have several."""
    return [{task.state for task in jobs_of(known)} for known in ids(folder)]


def wait_to_end(folder: Path, state: str = "COMPLETED", seconds: float = 240) -> JobInfo:
    """Wait until no job of the run will run again; returns the last one, which must have ended in `state`."""

    def over() -> bool:
        return all(task.ended for known in ids(folder) for task in jobs_of(known))

    wait_for(over, f"the jobs of {folder}", seconds)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted((folder / "slurm").glob("*.out")))
    assert job(folder).state == state, logs
    return job(folder)


def wait_for_checkpoint(run_folder: Path, after: int = 0) -> None:
    """Wait until the run has written a checkpoint of a step after `after`."""
    store = CheckpointStore(run_folder / "checkpoints")
    wait_for(lambda: max(store.steps(), default=0) > after, f"a checkpoint of {run_folder}", 180)


def scontrol(*words: str) -> None:
    """Run Slurm's scontrol."""
    subprocess.run(["scontrol", *words], check=True, capture_output=True, env={**os.environ})
