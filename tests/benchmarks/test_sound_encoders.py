"""benchmarks/sound_encoders.py: overrides alone choose the encoder, and every one is trained and measured."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from sound_encoders import COLUMNS, ENCODERS, RECIPE, main, overrides, table, trained, written

from talkies.models.systems import SYSTEMS
from talkies.recipe.curriculum import load_curriculum

TINY = [
    "prepare.sources.speakers.clips=20",
    "prepare.sources.speakers.heldout=4",
    "prepare.fit_clips=8",
    "phases.steps={max: 1, global_batch: 2, checkpoint_every: 1}",
    "phases.optimizer.warmup=0",
    "phases.validation={every: 1, clips: 2, samples: 1, sampling_steps: 1, final_clips: 4}",
    "phases.sampling.steps=1",
]


@pytest.mark.parametrize("name", ENCODERS)
def test_an_override_replaces_the_whole_encoder(tmp_path: Path, name: str) -> None:
    curriculum = load_curriculum(RECIPE, overrides(name, tmp_path), systems=SYSTEMS)
    found = [curriculum.prepare.codecs["sound"], *(phase.codecs["sound"] for phase in curriculum.phases)]
    assert {codec.kind for codec in found} == {"wav2vec2" if name == "random" else name}
    assert len({str(codec) for codec in found}) == 1
    assert {phase.model.shape.modalities["sound"].channels for phase in curriculum.phases} == {found[0].channels}


def test_the_random_network_is_always_the_same(tmp_path: Path) -> None:
    one, other = (load_file(written(tmp_path / name) / "model.safetensors") for name in ("a", "b"))
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)


def test_a_table_has_a_line_for_each_row() -> None:
    lines = table({"log_mel": {"all": dict.fromkeys(COLUMNS, 0.5), "sound": {"sync": 0.25}}})
    assert [line.count("|") for line in lines] == [len(COLUMNS) + 3] * 4
    assert lines[-1] == "| log_mel | sound | 0.250 | - | - | - | - | - | - |"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_other_encoders_are_trained_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe's own is trained elsewhere."""
    main([*TINY, "--runs", str(tmp_path), "--clips", "4", "--encoders", *ENCODERS[1:]])
    printed = capsys.readouterr().out
    written_down = json.loads((tmp_path / "sound_encoders.json").read_text())
    assert [*written_down["metrics"]] == [*ENCODERS[1:]]
    assert "\n".join(written_down["table"]) in printed
    for name in ENCODERS[1:]:
        given = [line.split(" | ")[1] for line in written_down["table"] if f"| {name} " in line]
        assert given == ["all", "sound", "chance"]
    codecs = {path.parent.name for path in tmp_path.glob("mirage-toy-*/*/4-reference/codecs/*/config.json")}
    assert codecs == {"video", "sound"}, "the fitted latents travel with their model"
    before = sorted(tmp_path.glob("mirage-toy-*/*"))
    trained([*overrides("linear_audio", tmp_path), *TINY], tmp_path)
    assert sorted(tmp_path.glob("mirage-toy-*/*")) == before, "a finished curriculum is not trained again"
