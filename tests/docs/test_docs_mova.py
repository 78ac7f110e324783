"""The numbers of mova.md are what `talkies plan` computes and what the presets hold."""

import json

import pytest
from pages import ROOT

from talkies.cli.main import run
from talkies.models.mova.config import PRESETS
from talkies.models.wan.config import TowerConfig

PAGE = (ROOT / "docs" / "mova.md").read_text()


@pytest.mark.parametrize("recipe", ["joint_phase2", "finetune_720p"])
def test_the_page_has_the_planned_numbers(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(ROOT / "recipes" / "mova" / f"{recipe}.yaml"), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    video, audio = (plan["latents"][modality] for modality in ("video", "audio"))
    assert all(f"{part['built']:,}" in PAGE for part in plan["parts"].values())
    assert f"| {video['tokens']:,} |" in PAGE
    assert " x ".join(map(str, video["shape"][1:])) in PAGE
    assert f"| {audio['tokens']} |" in PAGE


def row(name: str, tower: TowerConfig) -> str:
    return f"| {name} | {tower.dim} | {tower.ffn_dim} | {tower.heads} | {tower.layers} |"


def test_the_page_has_the_sizes_of_the_preset() -> None:
    shape = PRESETS["a14b"]
    assert row("video", shape.video) in PAGE
    assert row("audio", shape.audio) in PAGE
    assert f"the first {shape.bridge.layers} layers" in PAGE
    assert f"at {shape.bridge.rate:g} positions per second" in PAGE
    assert f"the boundary {shape.boundary:g}" in PAGE
