"""A signal outside of the training loop: one line and 130, in real processes, whatever the process is at."""

import json
import signal
from pathlib import Path

import pytest
from signalled import LONG, SLOW, last_words
from toy_journey import RECIPES, Journey

from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)
BOTH = [signal.SIGTERM, signal.SIGINT]


def program(module: str, name: str, marker: Path) -> list[str]:
    return ["-c", SLOW.format(module=module, name=name, marker=str(marker))]


def test_while_the_recipe_is_read(tmp_path: Path) -> None:
    marker = tmp_path / "reading"
    slow = program("talkies.config.source", "load", marker)
    words = [str(RECIPES / "audio_pretraining.yaml"), "--runs", str(tmp_path / "runs")]
    assert last_words(signal.SIGTERM, words, ready=marker.exists, program=slow) == "talkies: interrupted by SIGTERM"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", BOTH)
def test_while_lightning_builds_the_model(journey: Journey, tmp_path: Path, number: signal.Signals) -> None:
    """The run is KILLED, and the same command goes on with it."""
    words = [str(RECIPES / "audio_pretraining.yaml"), *LONG, f"data.root={journey.data}", "--runs", str(tmp_path)]
    marker = tmp_path / "building"
    slow = program("talkies.recipe.train", "build_model", marker)
    assert last_words(number, words, ready=marker.exists, program=slow) == f"talkies: interrupted by {number.name}"
    (folder,) = tmp_path.glob("audio_pretraining-*/0001")
    lines = [json.loads(line) for line in (folder / "spool.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines if line["kind"] == "status"] == ["RUNNING", "KILLED"]
    assert run(["train", *words, "--stop-at", "1", "--quiet"]) == 0
    assert list((folder / "checkpoints").glob("step-00000001"))
