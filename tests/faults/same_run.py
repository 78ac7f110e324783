"""Compares a disturbed run with the undisturbed one, bitwise: sample ids, losses and rates of every step; weights,
moments, averages and generators of the last checkpoint; the release; and the metrics in MLflow.
"""

import hashlib
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from toy_run import released
from training_runs import CLIPS, TrainingRun

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.manifest import read_manifest
from talkies.checkpoints.state import SHARDS
from talkies.checkpoints.tensors import load_tensors
from talkies.cli.main import run
from talkies.tracking.mlflow_run import read_mlflow_run
from talkies.tracking.store import open_client

NOT_THE_SAME = {"train/clips_per_second", "train/data_seconds", "train/slowest_rank", "train/slowest_ratio"}
"""Metrics of time."""
Steps = dict[int, list[tuple[Any, ...]]]
"""Step -> (clips, loss, rate) of its micro-batches."""


def trained_steps(lines: Sequence[dict[str, Any]]) -> tuple[Steps, list[int]]:
    """The steps that the final weights were trained on, and the steps that were repeated. A resumed process starts at a
    checkpoint, so the steps made after that checkpoint no longer count."""
    found: Steps = {}
    again: list[int] = []
    process = None
    for line in lines:
        step = line["step"]
        if line["pid"] != process:
            again += [known for known in found if known >= step]
            found = {known: made for known, made in found.items() if known < step}
            process = line["pid"]
        found.setdefault(step, []).append((tuple(line["clips"]), line["loss"], line["rate"]))
    return found, again


def contents(checkpoint: Path) -> dict[str, str]:
    """sha256 of every tensor of a checkpoint, and of its generators."""
    files = read_manifest(checkpoint).files
    shards = {name.removeprefix(f"{SHARDS}/") for name in files if name.startswith(f"{SHARDS}/")}
    tensors = load_tensors(checkpoint / SHARDS, shards, lambda _: True)
    found = {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in tensors.items()}
    assert {name.partition("/")[0] for name in found} == {"model", "optimizer", "ema"}
    return found | {name: sha256 for name, (sha256, _) in files.items() if name.startswith("generators")}


def send(whole: TrainingRun) -> None:
    """Replay what is not sent yet, as soon as the run's own uploader has released it."""
    end = time.monotonic() + 200
    while run(["replay", str(whole.folder)]) != 0:
        assert time.monotonic() < end
        time.sleep(1)


def history(whole: TrainingRun) -> dict[str, list[tuple[int, float]]]:
    """Metric -> (step, value) of every point that MLflow has of a run, once everything is sent."""
    send(whole)
    identity = read_mlflow_run(whole.folder)
    assert identity is not None
    client = open_client(identity.tracking_uri)
    names = client.get_run(identity.mlflow_run_id).data.metrics
    assert {"train/loss", "train/lr", "train/audio"} <= names.keys()
    return {
        name: sorted((point.step, point.value) for point in client.get_metric_history(identity.mlflow_run_id, name))
        for name in names
        if name not in NOT_THE_SAME
    }


def status(whole: TrainingRun) -> str:
    """The run's status in MLflow, once everything is sent."""
    send(whole)
    identity = read_mlflow_run(whole.folder)
    assert identity is not None
    return str(open_client(identity.tracking_uri).get_run(identity.mlflow_run_id).info.status)


def check_same(broken: TrainingRun, whole: TrainingRun) -> list[int]:
    """Require equal runs; returns the repeated steps, whose results must be the same each time."""
    steps, again = trained_steps(broken.lines())
    expected, none = trained_steps(whole.lines())
    assert none == []
    assert steps == expected
    for line in broken.lines():
        assert (tuple(line["clips"]), line["loss"], line["rate"]) in expected[line["step"]]
    last = max(expected)
    paths = [one.store.path(last) for one in (broken, whole)]
    assert contents(paths[0]) == contents(paths[1])
    loops = [{**read_loop(path), "recipe": None} for path in paths]
    assert loops[0] == loops[1]
    assert released(broken.folder) == released(whole.folder)
    assert history(broken) == history(whole)
    assert status(broken) == status(whole) == "FINISHED"
    return again


def once_per_pass(lines: Sequence[dict[str, Any]], clips: int = CLIPS) -> bool:
    """Whether the trained steps hold every clip of a pass once, before the next pass begins."""
    steps, _ = trained_steps(lines)
    stream = [clip for step in sorted(steps) for made in steps[step] for clip in made[0]]
    passes = [stream[start : start + clips] for start in range(0, len(stream), clips)]
    visits = [[clip.rpartition("/") for clip in part] for part in passes]
    return all(
        len({name for name, _, _ in part}) == len(part) and {visit for _, _, visit in part} == {str(n)}
        for n, part in enumerate(visits)
    )


def slow_steps(lines: Sequence[dict[str, Any]]) -> float:
    """The 99th percentile of the seconds per step, without the first step of each process."""
    later = [line["seconds"] for before, line in pairwise(lines) if before["pid"] == line["pid"]]
    return statistics.quantiles(later, n=100)[98]
