"""What do MTV's choices decide? Trains the last phases of a finished toy curriculum with one key changed at a time, and
compares what the models make of held-out tracks.

    python benchmarks/mtv_ablations.py runs/mtv-toy-XXXXXXXX/0001 [OVERRIDE ...] [--seeds 1 2 3] [--phases NAME ...]

All variants, `default` too, begin with the curriculum's `video_pretraining` and with a new control, since most keys
change what a control is, and take the same steps. A variant that is finished is not trained again. Columns: how the
frames follow a track that was exchanged for another clip's, with that track / with the clip's own, means over seeds;
`seeds`: the largest difference between seeds; `step`: seconds of a training step over those of the default, the two
measured in turn.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean, median

import torch
from bridge import evaluated, phase_folders
from overhead import bare

from talkies.cli.place import registry_of, store_of
from talkies.config.source import load
from talkies.models.systems import SYSTEMS
from talkies.parallel.world import ALONE
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.runs.inputs import open_inputs
from talkies.runs.place import Place, place_of
from talkies.runs.run_phase import run_phase

RECIPES = Path(__file__).parents[1] / "recipes" / "mtv" / "toy"
PARENT = "video_pretraining"
PHASES = ("sound_event", "visual_mood")
DEFAULT = "default"
VARIANTS: dict[str, tuple[str, ...]] = {
    DEFAULT: (),
    "shared": ("model.injection=shared",),
    "interval_music": ("model.music=interval",),
    "intervals_3": ("model.intervals=3",),
    "intervals_7": ("model.intervals=7",),
    "control_alone": ("phase.trains=control",),
    "scaled": ("model.initial=scaled",),
}
COLUMNS = {"speech": "speech/sync", "effects": "effects/sync", "music": "music/mood"}
"""Track -> its metric, which `_swapped` and `_original` follow."""


def recipes(variant: str, seed: int, args: argparse.Namespace) -> list[PhaseRecipe]:
    """Those of the phases, each from the one before."""
    found = []
    parents = ["parents.base=null", f"parents.video={PARENT}"]  # so that it brings no control
    for phase in args.phases:
        own = [text.split(".", 1)[1] for text in args.overrides if text.startswith((f"{phase}.", "phases."))]
        changes = [*own, f"seed={seed}", *parents, *VARIANTS[variant]]
        found.append(decode_phase(load(args.recipes / f"{phase}.yaml", changes), SYSTEMS))
        parents = [f"parents.base={phase}"]
    return found


def trained(variant: str, seed: int, args: argparse.Namespace) -> Path:
    """The folder of a variant's last phase."""
    siblings = phase_folders(args.run)
    store, artifacts = store_of(args.runs, None)
    root, parents = place_of(siblings[PARENT]).data_root, {PARENT: siblings[PARENT]}
    for recipe in recipes(variant, seed, args):
        folder = args.run / "ablations" / variant / f"seed-{seed}" / recipe.name
        place = Place(folder=folder, data_root=root, store=store, artifacts=artifacts)
        run_phase(recipe, place, siblings=parents, registry=registry_of(args.runs, None), bar=True)
        parents[recipe.name] = folder
    return folder


def costs(args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step of the last phase by variant, over those of the default: medians of steps in turn."""
    root = place_of(phase_folders(args.run)[PARENT]).data_root
    last = {name: recipes(name, args.seeds[0], args)[-1] for name in {DEFAULT: None, **dict.fromkeys(args.variants)}}
    torch.set_num_threads(last[DEFAULT].compute.threads or torch.get_num_threads())
    inputs = open_inputs(last[DEFAULT], root, {})
    found = {}
    for name, recipe in last.items():
        pair = [bare(one, inputs, None, ALONE) for one in (last[DEFAULT], recipe)]
        own, other = zip(*islice(zip(*pair, strict=True), args.rounds), strict=True)
        found[name] = median(other) / median(own)
    return found


def table(metrics: Mapping[str, Sequence[Mapping[str, float]]], steps: Mapping[str, float]) -> list[str]:
    """The lines of a Markdown table, of the metrics of every seed by variant."""
    lines = [f"| variant | key | {' | '.join(COLUMNS)} | seeds | step |", "|---" * (4 + len(COLUMNS)) + "|"]
    for name, seeds in metrics.items():
        cells, spread = [], 0.0
        for key in COLUMNS.values():
            swapped, own = (_values(seeds, f"evaluation/{key}_{end}") for end in ("swapped", "original"))
            cells.append(f"{fmean(swapped):.3f} / {fmean(own):.3f}" if swapped and own else "-")
            spread = max(spread, max(swapped, default=0.0) - min(swapped, default=0.0))
        key = ", ".join(f"`{change}`" for change in VARIANTS[name])
        lines.append(f"| {name} | {key} | {' | '.join(cells)} | {spread:.3f} | {steps[name]:.2f} |")
    return lines


def _values(seeds: Sequence[Mapping[str, float]], key: str) -> list[float]:
    """Those of the seeds in which it was measured: few clips may have no effects."""
    return [metrics[key] for metrics in seeds if key in metrics]


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """A finished curriculum run, and what is trained from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="*", help="of the phases, for every variant (visual_mood.steps.max=600)")
    parser.add_argument("--recipes", type=Path, default=RECIPES)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--clips", type=int, default=64, help="held-out clips (64)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--phases", nargs="+", default=PHASES, help="the phases that every variant takes, in order")
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS], default=[*VARIANTS])
    parser.add_argument("--rounds", type=int, default=40, help="steps of each variant whose time is measured (40)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, and write it with all metrics to RUN/ablations.json."""
    args = arguments(argv)
    if PARENT not in phase_folders(args.run):
        sys.stderr.write(f"{args.run} has no phase {PARENT}: give the folder of a finished MTV toy curriculum\n")
        sys.exit(2)
    steps = costs(args)
    found: dict[str, list[dict[str, float]]] = {}
    for name in args.variants:
        found[name] = [evaluated(trained(name, seed, args), args.runs, args.clips) for seed in args.seeds]
        print(*table({name: found[name]}, steps), sep="\n", flush=True)
    lines = table(found, steps)
    print("", *lines, sep="\n")
    written = {"table": lines, "seeds": args.seeds, "phases": list(args.phases), "steps": steps, "metrics": found}
    (args.run / "ablations.json").write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
