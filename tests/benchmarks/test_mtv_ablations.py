"""benchmarks/mtv_ablations.py: one key at a time, and every variant from the same parent with the same steps."""

import json
from pathlib import Path

import pytest
from mtv_ablations import COLUMNS, DEFAULT, PARENT, PHASES, VARIANTS, arguments, main, recipes, table
from sound_encoders import trained

from talkies.config.canonical import to_dict
from talkies.recipe.components import parent_of
from talkies.recipe.config import PhaseRecipe

RECIPE = Path(__file__).parents[2] / "recipes" / "mtv" / "toy" / "curriculum.yaml"
TINY = [
    "phases.steps={max: 1, global_batch: 2, checkpoint_every: 1}",
    "phases.optimizer.warmup=0",
    "phases.validation={every: 1, clips: 2, samples: 1, sampling_steps: 1, final_clips: 4}",
    "phases.sampling.steps=1",
]

SMALL = [
    *(f"prepare.sources.{key}" for key in ("scenes.clips=24", "scenes.heldout=8", "pairs.clips=8", "pairs.heldout=4")),
    "prepare.fit_clips=8",
]


def differences(one: object, other: object, path: str = "") -> set[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        return {found for key in keys for found in differences(one.get(key), other.get(key), f"{path}.{key}")}
    return set() if one == other else {path.removeprefix(".")}


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != DEFAULT])
def test_a_variant_differs_in_its_key_alone(variant: str) -> None:
    args = arguments(["run", "visual_mood.steps.max=7", "phases.ema.decay=0.5"])
    pairs: list[tuple[PhaseRecipe, PhaseRecipe]] = [
        *zip(recipes(DEFAULT, 3, args), recipes(variant, 3, args), strict=True)
    ]
    (key,) = (change.split("=")[0] for change in VARIANTS[variant])
    for own, other in pairs:
        assert differences(to_dict(own), to_dict(other)) == {key}
        assert other.seed == 3
        assert other.ema.decay == 0.5
    assert [own.name for own, _ in pairs] == [*PHASES]
    assert [{*parent_of(own).values()} for own, _ in pairs] == [{PARENT}, {PHASES[0]}]
    assert pairs[-1][1].steps.max == 7


def test_the_table_has_the_means_over_seeds_and_how_they_differ() -> None:
    def seed(value: float) -> dict[str, float]:
        return {
            f"evaluation/{key}_{end}": part
            for key in COLUMNS.values()
            for end, part in (("swapped", value), ("original", value / 10))
        }

    lines = table({DEFAULT: [seed(0.9), seed(0.8)], "shared": [seed(0.5)]}, {DEFAULT: 1.0, "shared": 0.875})
    assert [line.count("|") for line in lines] == [len(COLUMNS) + 5] * 4
    assert lines[2] == f"| default |  | {' | '.join(['0.850 / 0.085'] * len(COLUMNS))} | 0.100 | 1.00 |"
    assert "`model.injection=shared`" in lines[3]
    assert lines[3].endswith("| 0.000 | 0.88 |")


@pytest.mark.parametrize("name", ["nowhere", "6-visual_mood"])
def test_what_is_no_curriculums_folder_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "6-visual_mood").mkdir()
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path / name)])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / name} has no phase {PARENT}: give the folder of a finished")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_variants_are_trained_from_a_finished_curriculum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sound_encoders.RECIPE", RECIPE)
    run = trained([*SMALL, *TINY], tmp_path).parent
    chosen = [DEFAULT, "shared", "control_alone"]
    given = [str(run), *TINY, "--runs", str(tmp_path), "--clips", "4", "--rounds", "2", "--variants"]
    main([*given, *chosen])
    printed = capsys.readouterr().out
    written = json.loads((run / "ablations.json").read_text())
    assert [*written["metrics"]] == [*written["steps"]] == chosen
    assert "\n".join(written["table"]) in printed
    folders = sorted(run.glob("ablations/*/*/*"))
    assert len(folders) == len(chosen) * len(PHASES)
    for folder in run.glob(f"ablations/*/*/{PHASES[0]}"):
        lineage = json.loads((folder / "recipe.json").read_text())["parents"]
        assert {one["name"] for one in lineage.values()} == {PARENT}
        assert "control" not in lineage, "it begins anew"
    results = {folder: (folder / "result.json").stat().st_mtime_ns for folder in folders}
    main([*given, DEFAULT])
    assert results == {folder: (folder / "result.json").stat().st_mtime_ns for folder in folders}
