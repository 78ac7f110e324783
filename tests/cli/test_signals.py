"""A signal outside of the training loop: one line and 130, in real processes, whatever the process is at."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from signalled import LONG, SLOW, last_words
from talkies.cli.signals import interruptible
from toy_journey import RECIPES, Journey

from talkies.cli.main import run
from talkies.config import Interruption

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


def test_what_was_there_before_is_there_after() -> None:
    before = [signal.getsignal(number) for number in BOTH]
    with pytest.raises(Interruption, match=r"^interrupted by SIGTERM$"), interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in BOTH] == before


def test_an_ignored_signal_stays_ignored() -> None:
    """As the shell starts what runs in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_forked_child_dies_of_its_signal() -> None:
    """Loaders end their workers by SIGTERM: a worker that raised would print a traceback."""
    with interruptible():
        born, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(told, b"!")
            time.sleep(60)
            os._exit(0)
        os.read(born, 1)  # what comes before that, Python forgets after a fork
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    os.close(born)
    os.close(told)
    assert os.WTERMSIG(status) == signal.SIGTERM
