"""How much of full fine-tuning's gain on a new domain does the LoRA reach? Fine-tunes all weights from the same base
for the same number of steps and compares held-out losses at fixed noise.

    python benchmarks/adapter.py runs/mova-toy-XXXXXXXX/0001
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from talkies.cli.place import registry_of, store_of
from talkies.config.source import load
from talkies.data.shards import ShardSet
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import decode_phase
from talkies.runs.place import Place, place_of
from talkies.runs.run_phase import run_phase
from talkies.runs.source import open_source
from talkies.runs.validation import batches, heldout_losses

WEIGHTS = {"heldout/video": 1.0, "heldout/audio": 0.2}


def loss(folder: Path, heldout: ShardSet, clips: int) -> dict[str, float]:
    """Held-out losses of a run's result, and their training-weighted sum."""
    source = open_source(str(folder), registry_of(Path("runs"), None), systems=SYSTEMS)
    recipe = replace(source.recipe, validation=replace(source.recipe.validation, bins=4))
    losses = heldout_losses(recipe, source.denoiser, batches(heldout, clips, tuple(source.grids)), seed=0)
    total = sum(weight * losses[key] for key, weight in WEIGHTS.items())
    return {**{key: losses[key] for key in WEIGHTS}, "total": total}


def main() -> None:
    """Print the comparison and write it to RUN/adapter.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--recipes", type=Path, default=Path("recipes/mova/toy"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--clips", type=int, default=64)
    args = parser.parse_args()
    phases = {p.name.split("-", 1)[1]: p for p in args.run.glob("[0-9]*-*")}
    recipe = decode_phase(load(args.recipes / "full_finetuning.yaml", args.overrides), SYSTEMS)
    base = phases[str(recipe.parents["base"])]
    store, artifacts = store_of(args.runs, None)
    root = place_of(phases["lora"]).data_root
    place = Place(folder=args.run / "full_finetuning", data_root=root, store=store, artifacts=artifacts)
    run_phase(recipe, place, siblings=phases, registry=registry_of(args.runs, None))
    heldout = ShardSet.open(root / "sets" / recipe.data.heldout)
    arms = {"base": base, "lora": phases["lora"], "full": place.folder}
    table = {name: loss(folder, heldout, args.clips) for name, folder in arms.items()}
    for name, values in table.items():
        print(name, {key: round(value, 4) for key, value in values.items()})
    gap = table["base"]["total"] - table["full"]["total"]
    closed = (table["base"]["total"] - table["lora"]["total"]) / gap
    print(f"LoRA closes {closed:.2f} of the gap {gap:.4f}")
    (args.run / "adapter.json").write_text(json.dumps({"arms": table, "closed": closed}, indent=2) + "\n")


if __name__ == "__main__":
    main()
