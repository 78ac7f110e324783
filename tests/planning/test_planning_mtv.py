"""MTV's full-scale recipes are planned: sizes, tokens, memory."""

import json
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from talkies.cli.main import run

RECIPES = Path(__file__).parents[2] / "recipes" / "mtv"
STAGES = ("basic_face", "single_character", "multiple_characters", "sound_event", "visual_mood")
VIDEO, ATTENTION = 3_984_309_312, 1_585_973_760
"""Parameters of CogVideoX-5b, of which the attention is a component of its own."""


@cache
def planned(recipe: str, *words: str) -> dict[str, Any]:
    """The plan in JSON."""
    out = StringIO()
    with redirect_stdout(out):
        assert run(["plan", str(RECIPES / f"{recipe}.yaml"), *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


@pytest.mark.parametrize("name", [*STAGES, "lora"])
def test_a_full_scale_recipe_fits_80_gb(name: str) -> None:
    values = planned(name)
    assert values["parts"]["video"] == {"built": VIDEO, "trained": 0}
    adapted = sum(part["trained"] for part in values["parts"].values()) if name == "lora" else 0
    assert 0 <= values["parts"]["attention"]["built"] - ATTENTION <= adapted, "an adapter's layers are among these"
    assert {stream: latent["tokens"] for stream, latent in values["latents"].items()} == {"video": 17_550, "text": 226}
    assert values["memory"]["total"] < 80e9
    assert values["ranks"] == (8 if name == "lora" else 24)


def test_what_a_stage_trains_costs_memory() -> None:
    """All of the backbone needs more than its attention, and that more than nothing of it."""
    stages = [
        planned("visual_mood", f"phase.trains={trains}", "compute.masters=fp32")
        for trains in ("control", "control_and_attention", "all")
    ]
    for key in ("optimizer", "ema"):
        found = [values["memory"][key] for values in stages]
        assert found == sorted({*found})
    assert [values["parameters"]["trained"] - stages[0]["parameters"]["trained"] for values in stages] == [
        0,
        ATTENTION,
        ATTENTION + VIDEO,
    ]
