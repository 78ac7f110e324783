"""MTV's full-scale phase is planned: sizes, tokens, memory, and what a wrong key says."""

import json
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from talkies.cli.main import run

RECIPES = Path(__file__).parents[2] / "recipes" / "mtv"
VIDEO, ATTENTION, CONTROL = 3_984_309_312, 1_585_973_760, 5_962_435_584
"""Parameters of CogVideoX-5b without and of its attention, and of the control beside it."""
STAGES = ("single_character", "multiple_characters", "sound_event", "visual_mood", "lora")
ALONE = "codecs.demix.other_speakers=[]"
"""Without files, HT-Demucs tells no speakers apart."""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@cache
def planned(recipe: str, *words: str) -> dict[str, Any]:
    """The plan in JSON."""
    out = StringIO()
    with redirect_stdout(out):
        assert run(["plan", str(RECIPES / f"{recipe}.yaml"), *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_the_released_size_fits_80_gb() -> None:
    """It trains the control, and of the backbone the attention: 7.5 billion parameters."""
    values = planned("basic_face")
    assert values["parts"] == {
        "video": {"built": VIDEO, "trained": 0},
        "attention": {"built": ATTENTION, "trained": ATTENTION},
        "control": {"built": CONTROL, "trained": CONTROL},
    }
    assert values["parameters"] == {"built": VIDEO + ATTENTION + CONTROL, "trained": ATTENTION + CONTROL}
    assert {name: latent["tokens"] for name, latent in values["latents"].items()} == {"video": 17_550, "text": 226}
    assert values["memory"]["total"] < 80e9


@pytest.mark.parametrize("name", STAGES)
def test_the_other_stages_and_the_adapter_fit_too(name: str) -> None:
    values = planned(name)
    assert {name: latent["tokens"] for name, latent in values["latents"].items()} == {"video": 17_550, "text": 226}
    assert values["memory"]["total"] < 80e9
    assert values["ranks"] == (8 if name == "lora" else 24)


def test_what_does_not_train_has_no_state() -> None:
    values, plain = planned("basic_face", "phase.trains=control"), planned("basic_face")
    assert values["parameters"] == {"built": VIDEO + ATTENTION + CONTROL, "trained": CONTROL}
    share = CONTROL / (ATTENTION + CONTROL)
    for key in ("optimizer", "ema"):
        assert values["memory"][key] == pytest.approx(share * plain["memory"][key], rel=0.02)


def test_every_component_computes() -> None:
    """The control's share is that of its parameters' use: injections are of all tokens, encoders of 49 frames."""
    flops = planned("basic_face")["compute"]["forward"]
    assert flops.keys() == {"video", "attention", "control"}
    projections = (
        42 * 2 * 17_550 * 3072 * 3072 * 2 * 3
    )  # queries and outputs of three attentions: speech, speech2, effects
    assert 1.0 < flops["control"] / projections < 1.2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.speaker=2"], "`model.speakers`"),
        (["phase.kind=steer"], "steering"),
        (["phase.trains=attention"], "control_and_attention"),
        (["phase.tracks=[]"], "`phase.tracks` is empty"),
        (["phase.tracks=[speech, speech2]", "model.speakers=1"], "set `model.speakers` to 2"),
        (
            ["phase.tracks=[speech, speech2]", ALONE],
            "but `codecs.demix` parts a sound into music, effects, speech: name it in `codecs.demix.other_speakers`",
        ),
        (["codecs.demix.other_speakers=[speech]"], "names 'speech', which the network finds (`codecs.demix.tracks`)"),
        (["phase.tracks=[voice]"], "phase.tracks"),
        (["codecs.demix=null"], "codecs.demix"),
        (["codecs.sound={kind: log_mel, channels: 80}"], "`codecs.sound.channels` is 80, "),
        (["codecs.video={kind: wan_video}"], "codecs.video"),
        (["sampling.scales.sound=2"], "unknown key `sampling.scales.sound`; known: text, tracks"),
        (["optimizer.lr.sound=1e-4"], "unknown key `optimizer.lr.sound`; known: video, control"),
        (["model.intervals=14"], "it has 13 latent steps, but `model.intervals` is 14"),
        (["data.geometry=481x720x49@24"], "data.geometry"),
        (["parallel.sequence=5"], "`parallel.sequence` 5"),
    ],
    ids=str,
)
def test_a_wrong_key_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert run(["plan", str(RECIPES / "basic_face.yaml"), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("talkies: ")
    assert message in line
