"""A model card: YAML front matter made from a release and its metrics, and a body made from the front matter alone.

No sentence is written by hand, so none can disagree with the registry. The keys outside `talkies` are the Hub's
(https://huggingface.co/docs/hub/model-cards).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from talkies.tracking.gates import GateResult

Front = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card says: a registered version, its release.json (`info`), and what was measured."""

    name: str
    version: str
    sha256: str
    run_id: str
    license: str
    info: Mapping[str, Any]
    metrics: Mapping[str, float]
    gates: Sequence[GateResult]


def front_matter(card: Card, aliases: Sequence[str]) -> Front:
    """The front matter of a card; `aliases` point at this version now."""
    info = card.info
    task = "image-to-video" if "video" in info["data"]["grids"] else "text-to-audio"
    parents = [{"component": component, **lineage} for component, lineage in sorted(info["parents"].items())]
    front: Front = {
        "license": card.license,
        "library_name": "talkies",
        "pipeline_tag": task,
        "tags": ["talkies", "synthetic-media", *sorted(info["data"]["grids"])],
        "datasets": [info["data"]["shards"]],
    }
    if parents:
        front["base_model"] = sorted({parent["name"] for parent in parents})
        front["base_model_relation"] = "adapter" if info.get("base") else "finetune"
    front["model-index"] = [{"name": card.name, "results": [_result(card, task)]}]
    front["talkies"] = {
        "name": card.name,
        "version": int(card.version),
        "aliases": sorted(aliases),
        "sha256": card.sha256,
        "run_id": card.run_id,
        **{key: info[key] for key in ("phase", "step", "weights", "recipe_hash", "commit")},
        "recipe": info["name"],
        "components": {name: part["parameters"] for name, part in sorted(info["components"].items())},
        "base": None if not info.get("base") else {key: info["base"][key] for key in ("name", "sha256")},
        "parents": parents,
        "data": {
            key: info["data"][key]
            for key in ("shards", "clips", "fingerprint", "heldout_fingerprint", "geometry", "fps")
        },
        "codecs": _codecs(info),
        "survival": info.get("survival", {}),
        "quarantined": info.get("quarantined", {}),
        "gates": [
            {"metric": g.metric, "op": g.op, "needed": g.needed, "found": g.found, "passed": g.passed}
            for g in card.gates
        ],
    }
    return front


def _codecs(info: Mapping[str, Any]) -> dict[str, str]:
    """What the release decodes with: the identities that it records, and the files that it brings along."""
    brought = {name: entry["sha256"] for name, entry in sorted(info["files"].items()) if name.startswith("codecs/")}
    return {**info.get("codecs", {}), **brought}


def _result(card: Card, task: str) -> dict[str, Any]:
    data = card.info["data"]
    return {
        "task": {"type": task},
        "dataset": {
            "name": f"{data['shards']} held out",
            "type": "talkies-shards",
            "revision": data["heldout_fingerprint"],
        },
        "metrics": [{"type": key, "value": float(value)} for key, value in sorted(card.metrics.items())],
    }


def metrics_of(front: Front) -> dict[str, float]:
    """The metrics of a card."""
    return {entry["type"]: entry["value"] for entry in front["model-index"][0]["results"][0]["metrics"]}


def card_text(front: Front) -> str:
    """The card file: `front` and the body that follows from it."""
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=False)}---\n\n{body(front)}"


def parse_card(text: str) -> Front:
    """The front matter of a card file."""
    front: Front = yaml.safe_load(text.split("---\n", 2)[1])
    return front


def body(front: Front) -> str:
    """Markdown that says what `front` says."""
    card = front["talkies"]
    sections = [
        _head(card),
        "## Numbers\n\n" + _numbers(front),
        "## Gates\n\n" + _gates(card["gates"]),
        "## Lineage\n\n" + _lineage(card),
        "## Data\n\n" + _data(card),
        *_survival(card),
        "## Sample\n\n" + _sample(card),
        "## Limits\n\n" + _limits(front),
        f"License: {front['license']}.\n",
    ]
    return "\n\n".join(sections)


def _head(card: Mapping[str, Any]) -> str:
    aliases = f" ({', '.join(card['aliases'])})" if card["aliases"] else ""
    sizes = ", ".join(f"{name} ({count:,} parameters)" for name, count in card["components"].items())
    kind = f"LoRA adapter of {card['base']['name']}" if card["base"] else sizes
    return (
        f"# {card['name']} version {card['version']}{aliases}\n\n"
        f"{kind}: phase `{card['phase']}` of recipe `{card['recipe']}`, {card['step']} steps, {card['weights']} "
        f"weights; release sha256 `{card['sha256']}`."
    )


def _numbers(front: Front) -> str:
    rows = [f"| {key} | {value:.4f} |" for key, value in metrics_of(front).items()]
    return "\n".join(["| metric | value |", "|---|---|", *rows]) if rows else "Nothing was measured."


def _gates(gates: Sequence[Mapping[str, Any]]) -> str:
    if not gates:
        return "The recipe sets no gates."
    rows = [f"| {g['metric']} | {g['op']} {g['needed']:g} | {g['found']:.4f} | passed |" for g in gates]
    return "\n".join(["| gate | needed | found | result |", "|---|---|---|---|", *rows])


def _lineage(card: Mapping[str, Any]) -> str:
    lines = [f"- recipe `{card['recipe']}`, hash `{card['recipe_hash']}`", f"- commit `{card['commit']}`"]
    lines.append(f"- MLflow run `{card['run_id']}`")
    if card["base"]:
        lines.append(f"- base: {card['base']['name']}, sha256 `{card['base']['sha256']}`")
    for parent in card["parents"]:
        lines.append(
            f"- {parent['component']} from {parent['name']}, step {parent['step']}, sha256 `{parent['sha256']}`"
        )
    return "\n".join(lines if card["parents"] or card["base"] else [*lines, "- no parents: random initial weights"])


def _data(card: Mapping[str, Any]) -> str:
    data = card["data"]
    lines = [
        f"- {data['clips']} clips of shard set `{data['shards']}`, {data['geometry']}",
        f"- training: manifest hash `{data['fingerprint']}`",
        f"- held out: manifest hash `{data['heldout_fingerprint']}`",
    ]
    lines += [f"- codec: {name} `{identity}`" for name, identity in card["codecs"].items()]
    return "\n".join(lines)


def _survival(card: Mapping[str, Any]) -> list[str]:
    """A section on what the run left out; none where it left nothing out (or is older than the record of it)."""
    kept = card.get("survival", {})
    lines = [f"- step {entry['step']} was skipped: {entry['what']}" for entry in kept.get("skipped_steps", ())]
    lines += [f"- batches {first + 1} to {end} were passed over" for first, end in kept.get("passed_batches", ())]
    replaced = card.get("quarantined", {}).get("clips", 0)
    lines += [f"- {replaced} clips could not be read and were replaced"] if replaced else []
    return ["## Left out\n\n" + "\n".join(lines)] if lines else []


def _sample(card: Mapping[str, Any]) -> str:
    command = f'talkies sample models:/{card["name"]}/{card["version"]} --prompt "..."'
    return f"```\n{command}\n```\n\nThe release brings its codecs{' and its base' if card['base'] else ''} along."


def _limits(front: Front) -> str:
    data = front["talkies"]["data"]
    made = "frames and sound are" if front["pipeline_tag"] == "image-to-video" else "sound is"
    return (
        f"- trained on {data['clips']} clips of one geometry ({data['geometry']}); nothing else was tried\n"
        f"- evaluated on held-out clips of the same source only, by the numbers above and no others\n"
        f"- its {made} synthetic: files that talkies writes say so in their metadata"
    )
