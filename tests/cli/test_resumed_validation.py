"""If a process dies between a checkpoint and its validation, the next one makes up for it."""

import json
import shutil
from pathlib import Path

import pytest
from toy_run import RECIPES, TINY, ToyRun

from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)
AUDIO = str(RECIPES / "audio_pretraining.yaml")
LOST = ("validated.json", "spool.jsonl", "run.json", "result.json", "release", "samples")


def heldout(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """(step, values) of every held-out loss in a spool."""
    lines = [json.loads(line) for line in (folder / "spool.jsonl").read_text().splitlines()]
    found = [line for line in lines if line["kind"] == "metrics" and "heldout/audio" in line["values"]]
    return [(line["step"], line["values"]) for line in found]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "finished"), [(2, False), (4, True)])
def test_a_lost_validation_is_made_up_for_once(toy_run: ToyRun, tmp_path: Path, step: int, finished: bool) -> None:
    changed = [text for text in TINY if not text.startswith("validation.every")]
    words = ["train", AUDIO, *changed, "validation.every=2", f"data.root={toy_run.data}", "--runs", str(tmp_path)]
    words += ["--quiet"]
    assert run([*words, *([] if finished else ["--stop-at", str(step)])]) == 0
    (folder,) = tmp_path.glob("audio_pretraining-*/0001")
    known = dict(heldout(folder))[step]
    for name in LOST:  # written after the checkpoint, so missing if the process was killed there
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    assert run(words) == 0
    later = heldout(folder)
    assert [found for found, _ in later] == list(range(step, 5, 2))
    assert later[0][1] == known
    assert list((folder / "samples" / f"step-{step:08d}").iterdir())
    assert run(words) == 0
    assert heldout(folder) == later, "nothing is validated twice"
