"""benchmarks/loader.py: clips of the plan's geometry, and a row per arm."""

import json
from dataclasses import replace
from pathlib import Path

import loader
import pytest

from talkies.cli.main import run

RECIPE = Path(__file__).parents[2] / "recipes" / "mova" / "joint_phase2.yaml"
pytestmark = [pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")]


def test_its_clips_and_its_consumer_are_those_of_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(RECIPE), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    shapes = {m: [grid.channels, *grid.shape] for m, grid in loader.GRIDS.items()}
    assert shapes.pop("image") == shapes["video"]
    assert {m: plan["latents"][m]["shape"] for m in shapes} == shapes
    assert plan["latents"]["text"]["shape"] == [*reversed(loader.TEXT)]
    assert plan["speed"]["seconds"] == pytest.approx(loader.STEP_S, abs=0.05)
    assert (plan["ranks"], plan["ranks"] // plan["readers"]) == (loader.GPUS, loader.SEQUENCE)
    assert plan["readers"] * plan["micro_batch"] == loader.GLOBAL_BATCH


def test_a_row_for_every_number_of_workers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {m: replace(grid, shape=tuple(min(4, n) for n in grid.shape)) for m, grid in loader.GRIDS.items()}
    monkeypatch.setattr(loader, "GRIDS", small)
    monkeypatch.setattr(loader, "TEXT", (8, 16))
    loader.main(["--clips", "6", "--per", "4", "--workers", "0", "1", "--rounds", "2", "--folder", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[3:]] == ["0", "1"]
    for line in lines[3:]:
        _, rate, _, gpu, rank = map(float, line.split())
        assert gpu == pytest.approx(8 * rank, rel=0.1)
        assert gpu == pytest.approx(rate / 0.03125, rel=0.1)
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    loader.main(["--clips", "2", "--parts", "--rounds", "1"])
    assert "checksums" in capsys.readouterr().out
