"""Records of a run that lack what they must hold: one line that names the file and the key, exit code 65."""

import json
import shutil
from pathlib import Path

import pytest
from toy_journey import Journey

from talkies.checkpoints.store import CheckpointStore
from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)
DAMAGES = [
    ("result.json", "metrics", "promote"),
    ("evaluation.json", "metrics", "promote"),
    ("place.json", "store", "promote"),
    ("place.json", "data_root", "evaluate"),
    ("recipe.json", "recipe", "sample"),
]


@pytest.mark.parametrize(("file", "key", "verb"), DAMAGES)
@pytest.mark.parametrize("all_of_it", [False, True], ids=["one key", "all keys"])
def test_a_record_without_its_keys_is_named(
    *,
    journey: Journey,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    key: str,
    verb: str,
    all_of_it: bool,
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(journey.phase("lora" if verb == "promote" else "audio_pretraining"), folder)
    values = json.loads((folder / file).read_text())
    del values[key]
    (folder / file).write_text("{}" if all_of_it else json.dumps(values))
    source = CheckpointStore(folder / "checkpoints").latest() if verb == "sample" else folder
    words = ["--prompt", "x"] if verb == "sample" else []
    assert run([verb, str(source), *words]) == 65
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{folder / file} is damaged: it has no `" in told
    assert all_of_it or f"no `{key}`" in told
