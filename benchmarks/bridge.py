"""Does the Bridge teach synchronisation? Trains the control of a finished toy curriculum (the same towers and number of
steps, no Bridge) and compares both on the same held-out prompts.

    python benchmarks/bridge.py runs/mova-toy-XXXXXXXX/0001 [--recipe recipes/mova/toy/curriculum.yaml]
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from talkies.cli.place import lookups, registry_of, store_of
from talkies.config.source import load
from talkies.models.systems import SYSTEMS
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.recipe.config import decode_phase
from talkies.runs.place import Place, place_of
from talkies.runs.run_evaluation import evaluate_source
from talkies.runs.run_phase import run_phase

JOINT = ("joint_phase1", "joint_phase2")
KEYS = ("sync", "lag_ms", "frechet_video", "frechet_audio", "sync_reference", "sync_shuffled")


def phase_folders(run: Path) -> dict[str, Path]:
    """Phase name -> folder of a curriculum run."""
    return {p.name.split("-", 1)[1]: p for p in run.glob("[0-9]*-*")}


def train_variant(run: Path, recipes: Path, runs: Path, overrides: list[str], *, name: str, changed: str) -> Path:
    """Train both joint phases of a curriculum's run again, with the override `changed`; returns the folder of the last
    one."""
    siblings = phase_folders(run)
    store, artifacts = store_of(runs, None)
    root = place_of(siblings[JOINT[0]]).data_root
    parents = {"video_pretraining": siblings["video_pretraining"], "audio_pretraining": siblings["audio_pretraining"]}
    folder = run / name
    for phase in JOINT:
        own = [text.split(".", 1)[1] for text in overrides if text.startswith((f"{phase}.", "phases."))]
        recipe = decode_phase(load(recipes / f"{phase}.yaml", [*own, changed]), SYSTEMS)
        place = Place(folder=folder / phase, data_root=root, store=store, artifacts=artifacts)
        run_phase(recipe, place, siblings=parents, registry=registry_of(runs, None), bar=True)
        parents[phase] = folder / phase
    return folder / JOINT[-1]


def evaluated(folder: Path, runs: Path, clips: int, *, ablate: bool = False) -> dict[str, float]:
    """The metrics of a run over held-out clips."""
    where = lookups(runs, None, source=str(folder))
    return evaluate_source(str(folder), clips=clips, seed=0, ranks=Ranks(ALONE), ablate=ablate, **where)


def measured(arms: Mapping[str, Path], keys: Sequence[str], args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The metrics of every arm's run, of which those of `keys` are printed."""
    table = {name: evaluated(folder, args.runs, args.clips) for name, folder in arms.items()}
    for name, metrics in table.items():
        print(name, {key: round(metrics[f"evaluation/{key}"], 4) for key in keys if f"evaluation/{key}" in metrics})
    return table


def arguments(description: str) -> argparse.Namespace:
    """A finished curriculum run, and how it was trained."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="*", help="the overrides that the curriculum was trained with")
    parser.add_argument("--recipes", type=Path, default=Path("recipes/mova/toy"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--clips", type=int, default=64)
    return parser.parse_args()


def main() -> None:
    """Print the comparison and write it to RUN/bridge.json."""
    args = arguments(str(__doc__))
    given = (args.run, args.recipes, args.runs, args.overrides)
    control = train_variant(*given, name="control", changed="model.bridge=false")
    arms = {"bridge": phase_folders(args.run)[JOINT[-1]], "control": control}
    table = measured(arms, KEYS, args)
    gap = table["bridge"]["evaluation/sync"] - table["control"]["evaluation/sync"]
    print(f"bridge above control: {gap:.3f}")
    (args.run / "bridge.json").write_text(json.dumps({"arms": table, "gap": gap}, indent=2) + "\n")


if __name__ == "__main__":
    main()
