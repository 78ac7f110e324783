"""talkies plan SOURCE --sample: of a recipe, a run or a release."""

import json
import re
from pathlib import Path

import pytest

from talkies.cli.main import run
from talkies.config.source import load
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import decode_phase
from talkies.runs.run_phase import adopt

TOY = Path(__file__).parents[2] / "recipes" / "mova" / "toy"


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["plan", *arguments, "--sample", "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_recipe_and_its_run_have_one_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = TOY / "joint_phase2.yaml"
    of_recipe = planned(capsys, str(path), "sampling.steps=7", "--card", "24")
    assert (of_recipe["steps"], of_recipe["chosen"], of_recipe["card"]) == (7, "none", 24)
    adopt(decode_phase(load(path, ["sampling.steps=7"]), SYSTEMS), tmp_path, {})
    assert planned(capsys, str(tmp_path), "--card", "24") == of_recipe
    assert run(["plan", str(path), "--sample"]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 90 for line in text.splitlines())
    assert all(name in text for name in ("none", "component", "block", "keys and values"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["curriculum.yaml"], r"curriculum\.yaml is a curriculum: give one of its phases, a run or a release"),
        (["joint_phase2.yaml", "--mfu", "0.4"], r"--mfu is for training: drop it, or --sample"),
        (["."], r"recipe\.json"),
        ([".", "steps.max=3"], r"steps\.max=3: .* overrides are for a recipe"),
    ],
)
def test_what_does_not_fit_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(TOY)
    assert run(["plan", *arguments, "--sample"])
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(message, error), error
