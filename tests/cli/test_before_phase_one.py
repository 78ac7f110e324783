"""An error that a late phase of a curriculum would raise is raised before the first one."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from toy_run import RECIPES, TINY, ToyRun

from talkies.cli.main import run
from talkies.models.systems import SYSTEMS
from talkies.prepare.items import ordered, scan
from talkies.recipe.gates import SHOWN, SYNC, measured
from talkies.runs.recorded import recipe_of
from talkies.world.config import SyntheticSource
from talkies.world.render import render_source

pytestmark = pytest.mark.timeout(600)
VOICES = {"source": "clips", "geometry": "32x32x25@12.5", "modalities": ["audio"], "duration_token": True}
PREPARE = {
    "kind": "prepare",
    "name": "few",
    "sources": {"clips": {"kind": "folder", "path": "clips", "heldout": 3}},
    "codecs": {"video": {"kind": "linear_video"}, "audio": {"kind": "linear_audio"}, "text": {"kind": "bytes"}},
    "fit_sets": ["voices"],
    "sets": {"voices": VOICES, "voices_heldout": {**VOICES, "split": "heldout"}},
}
NAMED = [text for text in TINY if not text.startswith(("validation.clips", "lora."))]


@dataclass(frozen=True)
class Few:
    """Two phases over a folder of clips. Three clips are held out, one of them without a caption."""

    folder: Path

    def train(self, *words: str) -> int:
        small = [f"phases.{text}" for text in (*NAMED, "validation.clips=2")]
        where = ["--runs", str(self.folder / "runs"), "--quiet"]
        return run(["train", str(self.folder / "curriculum.yaml"), *small, *words, *where])

    @property
    def begun(self) -> list[str]:
        """The folders that training would have made."""
        return [
            path.name for path in self.folder.rglob("*") if path.name in ("spool.jsonl", "checkpoints", "recipe.json")
        ]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few") / "clips"
    render_source(SyntheticSource(clips=6), folder, seed=0)
    ordered(scan(folder)[0])[0].media.with_suffix(".txt").unlink()
    return folder


@pytest.fixture
def few(rendered: Path, tmp_path: Path) -> Few:
    shutil.copytree(rendered, tmp_path / "clips")
    (tmp_path / "prepare.yaml").write_text(json.dumps(PREPARE))
    for name in ("first", "second"):
        phase = {"extends": os.path.relpath(RECIPES / "audio_pretraining.yaml", tmp_path), "name": name}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(phase))
    curriculum = {
        "kind": "curriculum",
        "name": "few",
        "prepare": "prepare.yaml",
        "phases": ["first.yaml", "second.yaml"],
    }
    (tmp_path / "curriculum.yaml").write_text(json.dumps(curriculum))
    return Few(folder=tmp_path)


def test_fewer_clips_than_the_last_phase_asks_for(
    few: Few, toy_run: ToyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """The source holds out three; only the preparation shows that two are left, and that the codecs are not those of a
    parent."""
    assert few.train("second.validation.clips=3") == 2
    output = capsys.readouterr().err
    assert output == (
        "talkies: phase 'second': recipe: `validation.clips` is 3, but set 'voices_heldout' has 2 clips: lower it, or "
        "hold out more\n"
    )
    assert few.begun == []
    assert few.train(f"second.parents.audio={toy_run.phase('audio_pretraining')}") == 65
    output = capsys.readouterr().err
    assert "phase 'second': parent: " in output
    assert "was trained with audio codec " in output
    assert few.begun == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["second.validation.clips=4"],
            2,
            "phase 'second': recipe: `validation.clips` is 4, but set 'voices_heldout' w",
        ),
        (
            ["second.parents.audio=nowhere"],
            65,
            "phase 'second': parent: 'nowhere' is neither a phase of this curriculum (known: first), nor a run",
        ),
        (
            ["phases.tracking.uri=sqlite:////nowhere/m.db"],
            69,
            "tracking: sqlite:////nowhere/m.db: there is no folder /nowhere; make it or set another `tracking.uri`",
        ),
        (
            ["phases.tracking.uri=mysql+nodriver://host/runs"],
            2,
            "tracking: mysql+nodriver://host/runs cannot be opened here: ",
        ),
        (
            ["second.parents.audio=models:/nobody@champion"],
            69,
            "phase 'second': tracking: models:/nobody@champion cannot",
        ),
        (["second.steps.keep=100000000", "second.steps.max=1000000000"], 74, "phase 'second': storage: "),
    ],
)
def test_an_error_that_needs_no_data_is_raised_before_the_preparation(
    few: Few, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    assert few.train(*words) == code
    assert message in capsys.readouterr().err
    assert few.begun == []
    assert not (few.folder / "runs" / "data").exists()


def test_a_damaged_parent_from_elsewhere_is_reported_before_the_preparation(
    few: Few, toy_run: ToyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = few.folder / "parent"
    shutil.copytree(toy_run.phase("audio_pretraining"), parent)
    weights = parent / "release" / "audio.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(bytes(content))
    assert few.train(f"second.parents.audio={parent}") == 65
    assert f"phase 'second': release: {weights} is damaged" in capsys.readouterr().err
    assert not (few.folder / "runs" / "data").exists()


def test_submit_checks_what_its_machine_sees(few: Few, capsys: pytest.CaptureFixture[str]) -> None:
    site = few.folder / "site.yaml"
    limits = {"nodes": 1, "gpus_per_node": 1, "time": "01:00:00"}
    site.write_text(json.dumps({"kind": "site", "limits": limits, "runs": str(few.folder / "runs")}))
    small = [f"phases.{text}" for text in (*NAMED, "validation.clips=2")]
    words = ["submit", str(few.folder / "curriculum.yaml"), *small, "--site", str(site)]
    for more, code in (
        ("second.validation.clips=4", 2),
        ("second.parents.audio=nowhere", 65),
        ("second.steps.max=9", 0),
    ):
        dry = ["--dry-run"] if not code else []
        assert run([*words, more, *dry]) == code
        output = capsys.readouterr().err
        assert ("phase 'second': " in output) == bool(code)
    assert not (few.folder / "runs").exists()


@pytest.mark.parametrize("verb", ["train", "plan"])
def test_a_single_phase_is_refused_for_its_data_before_anything(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    words = [str(RECIPES / "audio_pretraining.yaml"), *NAMED, f"data.root={toy_run.data}", "validation.clips=9"]
    where = ["--runs", str(tmp_path / "runs")] if verb == "train" else []
    assert run([verb, *words, *where]) == 2
    assert "`validation.clips` is 9, but set 'voices_heldout' has 8 clips" in capsys.readouterr().err
    assert not [*tmp_path.rglob("*.json")]


def test_the_metrics_that_gates_may_name_are_those_that_are_measured(toy_run: ToyRun) -> None:
    """Such a short run lacks bins of training that none of its four steps drew, and lags of clips that have none; what
    speakers show is not measured of other clips."""
    for record in toy_run.folder.glob("*/result.json"):
        phase = record.parent
        recipe = recipe_of(json.loads((phase / "recipe.json").read_text())["recipe"], phase, SYSTEMS)
        found = {*json.loads(record.read_text())["metrics"]}
        if (phase / "evaluation.json").exists():
            found |= {*json.loads((phase / "evaluation.json").read_text())["metrics"]}
            missing = {key for key in measured(recipe) if key.startswith("evaluation/")} - found
            assert missing - {f"evaluation/{key}" for key in SHOWN} <= {
                f"evaluation/{key}" for key in SYNC if "lag" in key
            }
        assert found <= {*measured(recipe)}, found - {*measured(recipe)}
        trained = {key for key in measured(recipe) if not key.startswith("evaluation/")}
        assert all("/bin" in key or key == "data/quarantined" for key in trained - found), trained - found


def test_a_codec_that_differs_is_reported_key_by_key(toy_run: ToyRun, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(RECIPES / "audio_pretraining.yaml"), f"data.root={toy_run.data}", "codecs.text.length=8"]
    assert run(["plan", *words]) == 65
    output = capsys.readouterr().err
    assert "was encoded with another text codec than the recipe's: `codecs.text.length` is 8, not 24: " in output
    assert output.count("\n") == 1
