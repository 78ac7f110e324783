"""The body of a model card: the front matter rendered as Markdown for people.

What it is, samples, how to use it, the main numbers, what it was made from, limits, license; all else is folded. Front
matter of older versions lacks `server`, `codec_kinds` and `samples`.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from posixpath import normpath
from typing import Any

from talkies.config.single_line import flat
from talkies.evaluation.metric_info import METRICS, MetricInfo
from talkies.prepare.geometry import FORM, Geometry
from talkies.streams.clip_size import spelled
from talkies.tracking.card_metrics import every_metric, metrics_of
from talkies.tracking.markdown import code, escaped, folded, number, picture, table

Front = Mapping[str, Any]
PROMPT = "What is to be seen, and what is to be heard."
KINDS = {
    "image-to-video": "A prompt, and a first frame, become {clip} with sound",
    "text-to-video": "A prompt becomes {clip} with sound",
    "text-to-audio": "A prompt becomes sound",
}


_CONTROLS = {False: "the same frames with the sound of other clips", True: "sounds for what others were given"}
"""Whether there are no pictures -> what the numbers at chance level are of."""
_SILENT = (
    "Synchronisation means mouths that open as voices sound; real clips of this set hardly do, so it is only among "
    "every metric below."
)


def body(front: Front, *, stored: str | None = None) -> str:
    """The body of a card file with its pictures beside it, or at `stored`, a prefix of their paths."""
    return f"{brief(front, stored=stored)}\n{every_metric(front)}\n\n{folded('Hashes', _hashes(front['talkies']))}\n"


def brief(front: Front, *, stored: str | None = None) -> str:
    """The body without its folded parts."""
    return "\n\n".join(_sections(front, stored or "")) + "\n"


def _sections(front: Front, stored: str) -> list[str]:
    card = front["talkies"]
    return [
        f"# {escaped(card['name'])} version {card['version']}{_aliases(card)}\n\n{_what(front)}",
        *_samples(card, stored),
        f"## Use it\n\n{_use(front)}",
        f"## Numbers\n\n{_numbers(front)}",
        f"## Made from\n\n{_made_from(card)}",
        f"## Limits\n\n{_limits(front)}",
        *([f"## Voices\n\n{escaped(card['voices'])}"] if card.get("voices") else []),
        f"## License\n\n{escaped(front['license'])}",
    ]


def summary(card: Mapping[str, Any]) -> str:
    """The kind of model, in a few words of Markdown."""
    if card["base"]:
        return f"LoRA adapter of {escaped(card['base']['name'])}"
    parameters = sum(card["components"].values())
    return f"{escaped(card['phase'])} model, {_million(parameters)} parameters"


def main_number(front: Front) -> str:
    """The first number of a card, with its ceiling; `-` if nothing was measured."""
    metrics = metrics_of(front)
    for measure in METRICS:
        if measure.applies_to(metrics):
            ceiling = _value(measure.ceiling, metrics)
            beside = f" of {ceiling}" if isinstance(measure.ceiling, str) and ceiling else ""
            return f"{escaped(measure.key.rpartition('/')[2])} {number(metrics[measure.key])}{beside}"
    return "-"


def _aliases(card: Mapping[str, Any]) -> str:
    return f" ({', '.join(map(escaped, card['aliases']))})" if card["aliases"] else ""


def _what(front: Front) -> str:
    card = front["talkies"]
    task = _task(front).format(clip=_clip(card["data"]["geometry"]))
    kind = summary(card)
    steps = f"{card['step']:,} steps, {escaped(card['weights'])} weights"
    return f"{task}.\n{kind[:1].upper()}{kind[1:]}, trained for {steps}."


def _task(front: Front) -> str:
    """What becomes what. Cards of older versions do not say what is made and taken."""
    made, takes = front["talkies"].get("made"), front["talkies"].get("takes") or {}
    geometry = front["talkies"]["data"]["geometry"]
    if spelled(geometry) != geometry:
        return "A prompt, and a voice, become {clip}" if "voice" in takes else "A prompt becomes {clip}"
    if made == ["video"] and "audio" in takes:
        return "A sound becomes {clip}; a prompt says what is left open"
    if made == ["video"] and "image" in takes:
        return "A prompt, and a first frame, become {clip}, without sound"
    if made == ["video"]:
        return "A prompt becomes {clip}, without sound"
    return KINDS.get(front["pipeline_tag"], escaped(front["pipeline_tag"]))


def _clip(geometry: str) -> str:
    if FORM.fullmatch(geometry) is None:
        return f"a clip ({escaped(geometry)})"
    size = Geometry.parse(geometry, key="data.geometry")
    if size.sound_alone:
        return f"up to {float(size.seconds):.3g} s of sound"
    return (
        f"{float(size.seconds):.3g} s of video ({size.width} x {size.height} pixels, {size.fps:.4g} frames per second)"
    )


def _sound_alone(card: Mapping[str, Any]) -> bool:
    """Whether it makes no pictures. Cards of older versions do not say what is made."""
    return bool(card.get("made") == ["audio"])


def _million(count: int) -> str:
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:,}"


def _samples(card: Mapping[str, Any], stored: str) -> Iterator[str]:
    """A section with a picture per sample; no section without samples."""
    shown = [
        f"{picture(stored + s['picture'], s['prompt'])}\n\n> {escaped(s['prompt'])}" for s in card.get("samples", ())
    ]
    if shown:
        given = "first frames" if "made" not in card else "what else held-out clips give"
        seen = "" if _sound_alone(card) else "frames of each clip, over "
        what = f"Of held-out prompts and {given}: {seen}its waveform (grey) and loudness (red)."
        yield "\n\n".join(["## Samples", what, *shown])


def _use(front: Front) -> str:
    card = front["talkies"]
    prompt = next((sample["prompt"] for sample in card.get("samples", ()) if sample["prompt"]), PROMPT)
    server = card.get("server")
    words = ["talkies", "sample", f"models:/{card['name']}/{card['version']}"]
    words += [f"--prompt={prompt}"] if prompt.startswith("-") else ["--prompt", prompt]
    runs, first = card.get("runs") or "runs", _first(card)
    words += [
        *(("--image", first) if first and "image" in card.get("takes", ("image",)) else ()),
        "--out",
        "sample.wav" if _sound_alone(card) else "sample.mp4",
    ]
    words += ["--tracking-uri", server] if server else ["--runs", runs] if runs != "runs" else []
    where = (
        ""
        if server
        else f"In the folder whose {code(f'{runs}/')} it was registered in; elsewhere with `--runs FOLDER`. "
    )
    image = " `--image FILE` gives the first frame; without it, it is white." if "video" in front["tags"] else ""
    if "takes" in card:
        image = "".join(f" `--{escaped(name)} FILE`: {escaped(words)}." for name, words in card["takes"].items())
    brought = "its codecs and its base" if card["base"] else "its codecs"
    return f"```bash\n{shlex.join(map(flat, words))}\n```\n\n{where}The release brings {brought} along.{image}"


def _first(card: Mapping[str, Any]) -> str | None:
    """The path of a first frame, relative to the working folder of the card's command."""
    return normpath("/".join((card["shelf"], "cards", card["name"], card["first"]))) if card.get("first") else None


def _numbers(front: Front) -> str:
    metrics, gates = metrics_of(front), {gate["metric"]: gate for gate in front["talkies"]["gates"]}
    known = [m for m in METRICS if m.applies_to(metrics) or (m.key in metrics and m.key in gates)]
    others = [MetricInfo(key=key, words=key, better="") for key in gates if key not in {m.key for m in known}]
    silent = any(m.key in metrics and m not in known for m in METRICS)
    rows = [_row(measure, metrics, gates.get(measure.key)) for measure in [*known, *others]]
    if not rows:
        return "Nothing was evaluated."
    head = ["metric", "better", "this version", "ceiling", "control", "gate"]
    return table(head, rows) + (
        f"\n\nCeiling: real clips through the codecs. Control: {_CONTROLS[_sound_alone(front['talkies'])]}."
        + f" {_SILENT}" * silent
    )


def _row(measure: MetricInfo, metrics: Mapping[str, float], gate: Mapping[str, Any] | None) -> list[str]:
    found = metrics.get(measure.key, gate["found"] if gate else None)
    return [
        escaped(measure.words),
        measure.better,
        "-" if found is None else f"**{number(found)}**",
        _value(measure.ceiling, metrics),
        _value(measure.control, metrics),
        ""
        if gate is None
        else f"{escaped(gate['op'])} {number(gate['needed'])}: {'passed' if gate['passed'] else 'failed'}",
    ]


def _value(of: str | float | None, metrics: Mapping[str, float]) -> str:
    value = metrics.get(of) if isinstance(of, str) else of
    return "" if value is None else number(value)


def _made_from(card: Mapping[str, Any]) -> str:
    data, kinds = card["data"], card.get("codec_kinds", {})
    lines = [f"- {data['clips']:,} clips of the set {code(data['shards'])} ({code(spelled(data['geometry']))})"]
    lines += [f"- {_listed(names)} of {code(name)}, step {step:,}" for (name, step), names in _parents(card).items()]
    if not card["parents"] and not card["base"]:
        lines.append("- no parents: random initial weights")
    if kinds:
        lines.append("- codecs: " + ", ".join(f"{escaped(name)} {code(kind)}" for name, kind in kinds.items()))
    lines.append(f"- recipe {code(card['recipe'])} at commit {code(card['commit'][:12])}")
    return "\n".join([*lines, *_left_out(card)])


def _parents(card: Mapping[str, Any]) -> dict[tuple[str, int], list[str]]:
    """(name, step) of a parent -> the components that came from it."""
    found: dict[tuple[str, int], list[str]] = {}
    for parent in card["parents"]:
        found.setdefault((parent["name"], parent["step"]), []).append(parent["component"])
    return found


def _listed(names: Sequence[str]) -> str:
    *first, last = map(escaped, names)
    return f"{', '.join(first)} and {last}" if first else last


def _left_out(card: Mapping[str, Any]) -> list[str]:
    """Lines on what the run left out; none if nothing was left out, or the run is older than this record."""
    kept = card.get("survival", {})
    lines = [f"- step {entry['step']} was skipped: {escaped(entry['what'])}" for entry in kept.get("skipped_steps", ())]
    lines += [f"- batches {first + 1} to {end} were passed over" for first, end in kept.get("passed_batches", ())]
    replaced = card.get("quarantined", {}).get("clips", 0)
    return lines + ([f"- {replaced} clips could not be read and were replaced"] if replaced else [])


def _limits(front: Front) -> str:
    data = front["talkies"]["data"]
    geometry = code(spelled(data["geometry"]))
    made = "sound is" if front["pipeline_tag"] == "text-to-audio" else "frames and sound are"
    made = "frames are" if front["talkies"].get("made") == ["video"] else made
    return (
        f"- trained on {data['clips']:,} clips of one geometry ({geometry}); nothing else was tried\n"
        f"- evaluated on held-out clips of the same source only, by the numbers above and no others\n"
        f"- its {made} synthetic: files that talkies writes say so in their metadata"
    )


def _hashes(card: Mapping[str, Any]) -> str:
    data = card["data"]
    rows = [("release, sha256", card["sha256"]), ("recipe", card["recipe_hash"]), ("commit", card["commit"])]
    rows += [("MLflow run", card["run_id"]), ("training clips, manifest", data["fingerprint"])]
    rows += [("held-out clips, manifest", data["heldout_fingerprint"])]
    if card["base"]:
        rows.append((f"base {card['base']['name']}, sha256", card["base"]["sha256"]))
    rows += [(f"{p['component']} from {p['name']}, sha256", p["sha256"]) for p in card["parents"]]
    rows += [(f"codec {name}", identity) for name, identity in card["codecs"].items()]
    rows += [(f"{name}, parameters", f"{count:,}") for name, count in card["components"].items()]
    return table(["what", "value"], [[escaped(what), code(value)] for what, value in rows])
