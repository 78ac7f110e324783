"""Mirage's full-scale recipes are planned: sizes, tokens, memory, and what a wrong key says."""

import json
import time
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from talkies.cli.main import run

RECIPES = Path(__file__).parents[2] / "recipes" / "mirage"
MOCHI, SOUND = 10_027_677_744, 2_682_110_976
"""Parameters of the released model, and of the sound's stream beside it."""
VIDEO = {"video": 72_000, "text": 256}
HEARD = VIDEO | {"sound": 100}
SHOWN = HEARD | {"reference": 7_200}
LONG = {"video": 144_000, "reference": 7_200, "sound": 200, "text": 256}
TOKENS = {
    "video_pretraining": VIDEO,
    "warm_up": HEARD,
    "stitch": HEARD,
    "reference": SHOWN,
    "eight_seconds": LONG,
    "lora": SHOWN,
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@cache
def planned(recipe: str, *words: str) -> dict[str, Any]:
    """The plan in JSON, with the `cpu` seconds that it took: other processes must not matter."""
    began, out = time.process_time(), StringIO()
    with redirect_stdout(out):
        assert run(["plan", str(RECIPES / f"{recipe}.yaml"), *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(out.getvalue())
    return {**found, "cpu": time.process_time() - began}


def test_every_full_scale_recipe_has_a_row() -> None:
    found = {path.stem for path in RECIPES.glob("*.yaml")} - {"codecs", "defaults", "prepare"}
    assert found == TOKENS.keys()


@pytest.mark.parametrize("name", TOKENS)
def test_a_full_scale_recipe_fits_80_gb(name: str) -> None:
    values = planned(name)
    assert values["cpu"] < 10
    parts = {part: sizes["built"] for part, sizes in values["parts"].items()}
    if name != "lora":  # an adapter's layers are among those of their component
        assert parts.pop("sound", SOUND) == SOUND
        assert (parts.keys(), sum(parts.values())) == ({"video", "text"}, MOCHI)
    assert {stream: latent["tokens"] for stream, latent in values["latents"].items()} == TOKENS[name]
    assert values["memory"]["total"] < 80e9
    assert (values["ranks"], values["parallel"]["sequence"]) == (8 if name == "lora" else 512, 8)


def test_warm_up_trains_the_sound_alone_and_keeps_no_state_of_the_rest() -> None:
    warm, stitch = planned("warm_up"), planned("stitch")
    assert warm["parts"]["sound"] == {"built": SOUND, "trained": SOUND}
    assert [warm["parts"][name]["trained"] for name in ("video", "text")] == [0, 0]
    assert warm["parameters"] == {"built": MOCHI + SOUND, "trained": SOUND}
    assert stitch["parameters"] == {"built": MOCHI + SOUND, "trained": MOCHI + SOUND}
    share = SOUND / (MOCHI + SOUND)
    for key in ("optimizer", "ema"):
        assert warm["memory"][key] == pytest.approx(share * stitch["memory"][key], rel=0.02)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["model.sound_wdith=5"], 2, "`model.sound_width`"),
        (["phase.sound_droput=0.1"], 2, "`phase.sound_dropout`"),
        (["phase.kind=warmup"], 2, "warm_up"),
        (["model.bridge=false"], 2, "model.bridge"),
        (["codecs.wav2vec={kind: wav2vec2, weights: w}"], 2, "`codecs.wav2vec`; known: video, sound, audio, text"),
        (["parents.audio=x", "parents.base=null"], 2, "unknown key `parents.audio`; known: base, video"),
        (["parents.base=null"], 2, "do not train the component text: set `parents.base`"),
        (["sampling.scales.bridge=2"], 2, "unknown key `sampling.scales.bridge`; known: text, sound"),
        (["optimizer.lr.towers=1e-4"], 2, "unknown key `optimizer.lr.towers`; known: video, sound"),
        (["codecs.sound={kind: log_mel, channels: 80}"], 2, "`codecs.sound.channels` is 80, "),
        (["codecs.sound=null"], 2, "codecs.sound"),
        (["codecs.video={kind: linear_video, channels: 9}"], 2, "`codecs.video.channels` is 9, "),
        (["data.geometry=1280x720x101@25"], 2, "data.geometry"),
        (["parallel.sequence=3"], 2, "`parallel.sequence` 3"),
    ],
)
def test_a_wrong_key_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str) -> None:
    assert run(["plan", str(RECIPES / "warm_up.yaml"), *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("talkies: ")
    assert message in line


@pytest.mark.parametrize("scale", ["2", "{kind: annealed, first: 3, last: 1}"])
def test_a_scale_of_sound_needs_a_phase_that_hears(capsys: pytest.CaptureFixture[str], scale: str) -> None:
    assert run(["plan", str(RECIPES / "toy" / "video_pretraining.yaml"), f"sampling.scales.sound={scale}"]) == 2
    assert "`sampling.scales.sound` needs a sound, which video_pretraining phases lack" in capsys.readouterr().err


def test_the_preparation_plans_its_sets() -> None:
    sets = planned("prepare")["sets"]
    assert sets["silent"].keys() == {"video"}
    assert sets["talking"].keys() == {"video", "sound", "audio", "reference"}
    assert [sets["talking"][name]["shape"] for name in ("video", "sound", "reference")] == [
        [20, 160, 90],
        [100],
        [2, 160, 90],
    ]


def test_the_toy_curriculum_is_planned_with_overrides() -> None:
    phases = planned("toy/curriculum", "phases.steps.max=7", "warm_up.steps.max=3")["phases"]
    assert [phase["kind"] for phase in phases] == ["video_pretraining", "warm_up", "stitch", "reference"]
    assert [phase["duration"]["steps"] for phase in phases] == [7, 3, 7, 7]


def test_a_plan_refuses_an_adapter_on_layers_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(RECIPES / "toy" / "reference.yaml"), "train={kind: lora, targets: [q, ffn.0]}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "`train.targets`: 'ffn.0' matches none of" in line
    assert "nearest: " in line


def test_the_joint_attention_is_not_computed_again() -> None:
    """It lies between the units, and is most of what the 10B model computes."""
    flops = planned("stitch")["compute"]
    again, once = flops["with_recompute"] - flops["useful"], sum(flops["forward"].values()) * 128
    assert 0.1 * once < again < 0.6 * once
