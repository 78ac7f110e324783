"""What must a sound encoder hear? Trains the toy curriculum of Mirage video once per encoder, and compares what the
models make for held-out speakers.

    python benchmarks/sound_encoders.py [OVERRIDE ...] [--runs runs] [--clips 64] [--encoders NAME ...] [--json FILE]

`log_mel` is the recipe's own; `linear_audio` the latents of the toy's audio codec, as many channels and steps;
`random`, the control, a small wav2vec 2.0 whose weights nobody has trained. An encoder is chosen by overrides alone. A
curriculum that is finished in --runs is not trained again. Rows: what a model is given; `swapped` and `original` are
the synchronisation with another clip's sound, which it was given instead, and with the own one after that.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from bridge import evaluated

from talkies.cli.place import registry_of, store_of
from talkies.models.systems import SYSTEMS
from talkies.recipe.curriculum import load_curriculum
from talkies.runs.lookup import curriculum_of
from talkies.runs.run_context import RunContext
from talkies.runs.run_curriculum import run_curriculum

RECIPE = Path(__file__).parents[1] / "recipes" / "mirage" / "toy" / "curriculum.yaml"
WIDTH, SEED = 64, 0
RANDOM = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 2 * WIDTH,
    "conv_dim": [32] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
OWN = "log_mel"
ENCODERS = (OWN, "linear_audio", "random")
SHARES = ("kind", "background", "shirt", "identity")
COLUMNS = ("sync", "swapped", "original", *SHARES)


def overrides(name: str, folder: Path) -> list[str]:
    """Those of the curriculum that choose an encoder, for the data and for the model. The random network is written
    below `folder`."""
    if name == OWN:
        return []
    value, width = f"{{kind: {name}, channels: 32, hop: 640}}", 32
    if name == "random":
        weights = json.dumps(str(written(folder / f"wav2vec2-random-{SEED}")))
        value, width = f"{{kind: wav2vec2, channels: {WIDTH}, weights: {weights}}}", WIDTH
    return [f"prepare.codecs.sound={value}", f"phases.codecs.sound={value}", f"phases.model.sound_features={width}"]


def written(folder: Path) -> Path:
    """The weights' folder of a wav2vec 2.0 with random weights, absolute; loudness is normalised away, as by most."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model  # only the control takes seconds to import

    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        Wav2Vec2Model(Wav2Vec2Config(**RANDOM)).save_pretrained(folder)
    values = {"do_normalize": True, "sampling_rate": 16000}
    (folder / "preprocessor_config.json").write_text(json.dumps(values) + "\n")
    return folder.resolve()


def trained(changes: Sequence[str], runs: Path) -> Path:
    """The folder of the last phase of the curriculum with these overrides."""
    curriculum = load_curriculum(RECIPE, changes, systems=SYSTEMS)
    store, artifacts = store_of(runs, None)
    context = RunContext(
        runs=runs,
        store=store,
        artifacts=artifacts,
        registry=registry_of(runs, None),
        bar=sys.stdout.isatty(),
        systems=SYSTEMS,
    )
    folders = run_curriculum(curriculum, curriculum_of(runs, curriculum, new=False), context, say=print)
    return folders[curriculum.phases[-1].name]


def rows(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Row -> column -> value, of an evaluation with its ablation."""
    every = {key: metrics[f"evaluation/{key}"] for key in ("sync", *SHARES)}
    every |= {key: metrics[f"evaluation/sound/sync_{key}"] for key in ("swapped", "original")}
    alone = {key: metrics[f"ablation/sound/{key}"] for key in ("sync", *SHARES)}
    return {"all": every, "sound": alone, "chance": {key: metrics[f"evaluation/{key}_chance"] for key in SHARES}}


def table(encoders: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [f"| encoder | given | {' | '.join(COLUMNS)} |", "|---" * (2 + len(COLUMNS)) + "|"]
    for name, found in encoders.items():
        for given, values in found.items():
            cells = [f"{values[key]:.3f}" if key in values else "-" for key in COLUMNS]
            lines.append(f"| {name} | {given} | {' | '.join(cells)} |")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, and write it with all metrics to --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="further overrides of the curriculum, for every encoder")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--clips", type=int, default=64, help="held-out clips (64)")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS)
    parser.add_argument("--json", type=Path, help="file (RUNS/sound_encoders.json)")
    args = parser.parse_args(argv)
    found: dict[str, dict[str, float]] = {}
    for name in args.encoders:
        run = trained([*overrides(name, args.runs), *args.overrides], args.runs)
        found[name] = evaluated(run, args.runs, args.clips, ablate=True)
        print(f"{name}: {run}", *table({name: rows(found[name])}), sep="\n", flush=True)
    lines = table({name: rows(metrics) for name, metrics in found.items()})
    print("", *lines, sep="\n")
    file = args.json or args.runs / "sound_encoders.json"
    file.write_text(json.dumps({"table": lines, "metrics": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
