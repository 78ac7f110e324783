"""talkies show CURRICULUM: itself, its preparation and its phases, with the overrides that train takes."""

import json
from pathlib import Path
from typing import Any

import pytest
from toy_run import RECIPES

from talkies.cli.main import run
from talkies.config.canonical import recipe_hash, to_dict
from talkies.config.source import displayed as written
from talkies.models.systems import SYSTEMS
from talkies.recipe.curriculum import load_curriculum

CURRICULUM = RECIPES / "curriculum.yaml"
PHASES = ["video_pretraining", "audio_pretraining", "joint_phase1", "joint_phase2", "high_resolution", "lora"]
WORDS = ["phases.steps.max=20", "joint_phase1.flow.schedule.shifts.audio=2.5", "prepare.fit_clips=8"]


def show(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["show", *words]) == 0
    return capsys.readouterr().out


def sections(text: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Member -> key path -> (value, origin); the curriculum itself is ''."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    rows: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            name = line.removeprefix("# ").partition(": ")[0] if ": " in line else ""
            rows = found.setdefault(name, {})
        elif line:
            words = line.split()
            rows[words[0]] = (" ".join(words[1:-1]), words[-1])
    return found


def test_every_member_is_shown_with_its_origins(capsys: pytest.CaptureFixture[str]) -> None:
    shown = sections(show(capsys, str(CURRICULUM), *WORDS))
    assert list(shown) == ["", "prepare", *PHASES]
    number = CURRICULUM.read_text().splitlines().index("promote: lora") + 1
    assert shown[""]["promote"] == ("lora", f"{written(CURRICULUM)}:{number}")
    assert shown["prepare"]["fit_clips"] == ("8", "override")
    assert all(shown[name]["steps.max"] == ("20", "override") for name in PHASES)
    assert shown["joint_phase1"]["flow.schedule.shifts.audio"] == ("2.5", "override")
    value, origin = shown["joint_phase2"]["flow.schedule.shifts.audio"]
    assert value != "2.5"
    assert origin != "override"
    assert shown["lora"]["train.kind"][0] == "lora"
    assert shown["lora"]["seed"][1].endswith("defaults.yaml:3")


def test_the_values_are_those_that_train_decodes(capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = json.loads(show(capsys, str(CURRICULUM), *WORDS, "--json"))
    wanted = load_curriculum(CURRICULUM, WORDS, systems=SYSTEMS)
    assert found["hash"] == wanted.digest
    assert found["values"] == to_dict(wanted.recipe)
    assert list(found["members"]) == ["prepare", *PHASES]
    for name, recipe in {"prepare": wanted.prepare, **{phase.name: phase for phase in wanted.phases}}.items():
        assert found["members"][name]["values"] == to_dict(recipe)
        assert found["members"][name]["hash"] == recipe_hash(recipe)
    assert found["members"]["lora"]["origins"]["steps.max"] == "override"


def test_the_difference_names_members(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(show(capsys, str(CURRICULUM), *WORDS, "--diff", str(CURRICULUM), "--json"))
    assert set(found) == {
        "prepare.fit_clips",
        "joint_phase1.flow.schedule.shifts.audio",
        *(f"{name}.steps.max" for name in PHASES),
    }
    assert found["joint_phase1.flow.schedule.shifts.audio"]["recipe"] == 2.5
    text = show(capsys, str(CURRICULUM), "lora.seed=5", "--diff", str(CURRICULUM)).splitlines()
    assert text[0].endswith("1 differ")
    assert text[1:] == ["lora.seed  5 -> 1"]
    assert show(capsys, str(CURRICULUM), "--diff", str(CURRICULUM)).endswith(": the same\n")


def test_an_override_of_no_member_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", str(CURRICULUM), "joint.steps.max=3"]) == 2
    assert "'joint.steps.max=3' names no member" in capsys.readouterr().err


def test_the_nearer_override_wins_and_two_of_one_kind_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    phases = ", ".join(str(RECIPES / f"{name}.yaml") for name in PHASES[:2])
    overrides = "[phases.steps.max=11, audio_pretraining.steps.max=12, phases.seed=3]"
    head = f"kind: curriculum\nname: own\nprepare: {RECIPES / 'prepare.yaml'}\n"
    own.write_text(f"{head}phases: [{phases}]\noverrides: {overrides}\n")

    def steps(*words: str) -> list[int]:
        return [phase.steps.max for phase in load_curriculum(own, words, systems=SYSTEMS).phases]

    assert steps() == [11, 12]
    assert steps("phases.steps.max=20") == [20, 20]
    assert steps("video_pretraining.steps.max=21", "phases.steps.max=20") == [21, 20]
    assert [phase.seed for phase in load_curriculum(own, ["phases.steps.max=20"], systems=SYSTEMS).phases] == [3, 3]
    assert run(["show", str(own), "phases.steps.max=20", "phases.steps.max=21"]) == 2
    assert "given twice" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["prepare", "phases"])
def test_no_phase_is_named_as_another_member(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    phase = tmp_path / "phase.yaml"
    phase.write_text(
        (RECIPES / "audio_pretraining.yaml").read_text().replace("name: audio_pretraining", f"name: {name}")
    )
    (tmp_path / "defaults.yaml").write_text((RECIPES / "defaults.yaml").read_text())
    own = tmp_path / "own.yaml"
    own.write_text(f"kind: curriculum\nname: own\nprepare: {RECIPES / 'prepare.yaml'}\nphases: [phase.yaml]\n")
    assert run(["show", str(own)]) == 2
    assert f"is named {name!r}" in capsys.readouterr().err
