"""A phase of a toy curriculum, trained again: stopped and continued, on several processes, or as an adapter."""

import json
from pathlib import Path

import pytest
from test_many_ranks import close
from toy_run import TINY, ToyRun, released

from talkies.checkpoints.release import read_release
from talkies.cli.main import run

FSDP = ["parallel.kind=fsdp2", "parallel.shard=2"]


def words(made: ToyRun, runs: Path, phase: str, *more: str, parent: str | None) -> list[str]:
    """The command that trains a phase from the curriculum's phase `parent`, or from nothing."""
    parents = [] if parent is None else [f"parents.base={made.phase(parent)}"]
    where = [f"data.root={made.data}", "--runs", str(runs), "--quiet"]
    return ["train", str(made.recipes / f"{phase}.yaml"), *TINY, "tracking.gates=[]", *parents, *where, *more]


def only(runs: Path, name: str) -> Path:
    """The one run of this name."""
    (folder,) = runs.glob(f"{name}-*/*")
    return folder


def in_parts(made: ToyRun, folder: Path, phase: str, *more: str, parent: str | None, name: str | None = None) -> Path:
    """The run that is trained in two parts, as `words` say: it releases bitwise what one in a single part does. `name`:
    of the run, if it is not called as the phase."""
    for where, stops in (("whole", [[]]), ("parts", [["--stop-at", "2"], []])):
        for stop in stops:
            assert run(words(made, folder / where, phase, *more, *stop, parent=parent)) == 0
    found = only(folder / "parts", name or phase)
    assert released(found) == released(only(folder / "whole", name or phase))
    return found


def as_alone(folder: Path, alone: Path, heldout: str, frozen: tuple[str, ...]) -> None:
    """The run in `folder` arrived where the one in `alone` did, and has its `frozen` components bitwise."""
    for component in read_release(alone / "release")["components"]:
        assert close(folder / "release", alone / "release", component) < 5e-5
    for component in frozen:
        assert released(folder)[f"{component}.safetensors"] == released(alone)[f"{component}.safetensors"]
    ours, theirs = (json.loads((path / "result.json").read_text())["metrics"] for path in (folder, alone))
    for key in (f"heldout/{heldout}", "train/loss"):
        assert ours[key] == pytest.approx(theirs[key], rel=1e-4)


def adapter_of(folder: Path, base: str, made: Path) -> None:
    """The run in `folder` released an adapter of `base` alone, as its checkpoint does into `made`."""
    info = read_release(folder / "release")
    assert (info["components"], info["base"]["name"]) == ({}, base)
    assert run(["export", str(folder), "--consolidate", "--out", str(made)]) == 0
    adapter = "adapter/adapter_model.safetensors"
    assert read_release(made)["files"][adapter] == info["files"][adapter]
