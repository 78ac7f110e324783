"""The plan of sampling on one GPU: what each `sampling.offload` keeps there, in host memory, and copies."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from talkies.codecs.network_sizes import network_bytes, video_vae
from talkies.config import RecipeError
from talkies.flow.config import Offload, SamplingConfig
from talkies.flow.ladder import left_out, needed
from talkies.nn.lowering import hold_lowered
from talkies.planning.codec_memory import decoding, encoding
from talkies.planning.kernels import Kernels
from talkies.planning.meter import Meter
from talkies.planning.parameters import skeleton
from talkies.planning.profile import example
from talkies.planning.sampled_weights import streamed, weights_of
from talkies.planning.standin import tensors
from talkies.planning.work import FP32
from talkies.streams import Grid
from talkies.streams.batch import Condition, Memory, T
from talkies.streams.system import Setup, System

if TYPE_CHECKING:
    from talkies.codecs.video_vae import VideoVae

SETTINGS: tuple[Offload, ...] = ("none", "component", "block")
"""The fastest first."""
METERED = 4
"""Layers whose activations are measured: all layers of a kind take the same memory."""


class SampledPhase(Setup, Protocol):
    """The sections of a phase recipe that determine what sampling costs."""

    @property
    def name(self) -> str: ...
    @property
    def system(self) -> System: ...
    @property
    def sampling(self) -> SamplingConfig: ...
    @property
    def precision(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Bytes under one `offload`. On the device: `weights` of the network while it evaluates, `codecs` beside it; the
    peaks of the stages `encoding`, `evaluating` and `decoding`. `host`: weights in main memory (those that a release
    stores in their dtype are read from its files, as page cache). Copied to the device: `per_step`, and for the rest
    `per_clip`."""

    offload: Offload
    weights: int
    codecs: int
    encoding: int
    evaluating: int
    decoding: int
    host: int
    per_step: int
    per_clip: int

    @property
    def device(self) -> int:
        """The peak. CUDA's context (about 1 GB) comes on top."""
        return max(self.encoding, self.evaluating, self.decoding)


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """Of one clip. `activations` of one evaluation; `texts`: what is kept of texts, their keys and values; `reused`:
    attention kept by `sampling.reuse`; `evaluations` per step; `encoding` and `decoding` pictures, beside the
    weights of their VAE. `lacks`: codecs without which no clip can be made, counted as the recipe has them. `chosen`:
    the fastest setting that fits `card` GB (None: not asked, or it lacks codecs)."""

    name: str
    precision: str
    steps: int
    evaluations: int
    activations: int
    texts: int
    reused: int
    latents: int
    encoding: int
    decoding: int
    settings: tuple[Setting, ...]
    card: int | None
    chosen: Offload | None
    lacks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, with sums."""
        settings = [{**asdict(one), "device": one.device, "fits": fits(one, self.card)} for one in self.settings]
        return {**asdict(self), "settings": settings}


def fits(setting: Setting, card: int | None) -> bool | None:
    """Whether a setting fits `card` GB."""
    return None if card is None else setting.device <= card * 10**9


def plan_sampling(
    recipe: SampledPhase,
    *,
    components: frozenset[str],
    grids: Mapping[str, Grid],
    card: int | None = None,
    lacks: Sequence[str] = (),
) -> SamplingPlan:
    """Plan one clip of streams of `grids`. RecipeError if no setting fits `card` GB. `lacks`: codecs that are not
    there."""
    system, sampling, parts = recipe.system, recipe.sampling, recipe.system.parts(recipe)
    model = skeleton(system, recipe, components)
    if recipe.precision == "bf16":
        hold_lowered(model)
    turns = [*dict.fromkeys(turn.inactive for turn in parts.cycle)]
    ladder, skips = system.ladder(recipe), int(sampling.skip_layer is not None)
    evaluations = skips + max(
        len(needed(ladder, sampling.scales, step, sampling.steps)) for step in range(sampling.steps)
    )
    texts = 1 + bool(left_out(ladder, sampling.scales, sampling.steps) & parts.texts)
    need = _needs(recipe, model, grids, turns, texts=texts, evaluations=evaluations)
    vaes = {name: video_vae(section) for name, section in recipe.codecs.items()}
    codecs = {name: network_bytes(section, vaes[name]) for name, section in recipe.codecs.items()}
    need |= _coding(recipe, vaes, grids)
    settings = _settings(recipe, model, turns, need, codecs, evaluations=evaluations)
    fitting = [one.offload for one in settings if fits(one, card) is not False]
    if not fitting:
        _refuse(recipe, settings, int(card or 0))
    return SamplingPlan(
        name=recipe.name,
        precision=recipe.precision,
        steps=sampling.steps,
        evaluations=evaluations,
        **need,
        settings=settings,
        card=card,
        chosen=None if card is None or lacks else fitting[0],
        lacks=tuple(lacks),
    )


def _refuse(recipe: SampledPhase, settings: tuple[Setting, ...], card: int) -> None:
    least = min(settings, key=lambda one: one.device)
    stage = max(("encoding", "evaluating", "decoding"), key=lambda stage: int(getattr(least, stage)))
    needed_gb = least.device / 1e9
    whole = stage != "evaluating" and recipe.sampling.tiles is None
    tiles = whole and any(getattr(codec, "tiled", False) for codec in recipe.codecs.values())
    raise RecipeError(
        f"plan: sampling {recipe.name} needs at least {needed_gb:,.1f} GB on the device "
        f"(sampling.offload={least.offload}, when {stage}), but the GPU has {card} GB: {needed_gb - card:,.1f} GB are "
        "missing; "
        + ("set `sampling.tiles` (--tiles), or " if tiles else "")
        + "take a larger GPU or a smaller geometry"
    )


def _coding(recipe: SampledPhase, vaes: Mapping[str, "VideoVae | None"], grids: Mapping[str, Grid]) -> dict[str, int]:
    """Bytes of `encoding` pictures that are given and `decoding` those that are made, beside the VAE's weights."""
    stored, targets = recipe.system.stored(recipe.codecs), recipe.system.parts(recipe).targets
    tile = None if recipe.sampling.tiles is None else recipe.sampling.tiles.size
    pictures = {name: vae for name in grids if (vae := vaes[stored[name].codec]) is not None}
    given = [encoding(vae, grids[name], tile) for name, vae in pictures.items() if name not in targets]
    made = [decoding(vae, grids[name], tile) for name, vae in pictures.items() if name in targets]
    return {"encoding": max(given, default=0), "decoding": max(made, default=0)}


class _Sized(Memory):
    """A Memory that tells its bytes."""

    @property
    def bytes(self) -> int:
        """Of all tensors in it."""
        return sum({id(x): x.untyped_storage().nbytes() for x in tensors([*self._values.values()])}.values())


@torch.no_grad()
def _needs(
    recipe: SampledPhase,
    model: nn.Module,
    grids: Mapping[str, Grid],
    turns: Iterable[frozenset[str]],
    *,
    texts: int,
    evaluations: int,
) -> dict[str, int]:
    """Bytes of `activations`, `texts`, `reused` and `latents`, measured on the network itself, on the meta device. As
    many of the clip's `evaluations` as `sampling.batch` allows are made at once."""
    rows = min(recipe.sampling.batch, evaluations)
    system, sampling, parts = recipe.system, recipe.sampling, recipe.system.parts(recipe)
    meter, of_text, of_attention, peaks = Meter(model), _Sized(), _Sized(), []
    kernels = Kernels(meter, fused=True, lora=None, adapted=())
    lowered = torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16")
    with torch.device("meta"), kernels, lowered:
        streams, found = example(system, recipe, grids, 1)
        inputs = system.network().inputs(recipe, streams)
        streams, at_once = example(system, recipe, grids, rows)
        joined = system.network().inputs(recipe, streams)
        for inactive in turns:
            known = {name: replace(text, cache=of_text) for name, text in found.items()}
            cache = partial(_keyed, of_attention, inactive)
            model(inputs, Condition(texts=known, inactive=inactive, cache=cache))
            meter.tally.timeline.clear()
            meter.passing = "backward"  # in which it follows memory
            with meter.running():
                skipped = frozenset(range(METERED, parts.blocks))
                model(joined, Condition(texts=at_once, inactive=inactive, skipped=skipped))
            meter.passing = "forward"
            peaks.append(meter.tally.peak(without=meter.weights))
    attention = sampling.reuse is not None and sampling.reuse.attention_every > 1
    latents = sum(prod(grid.latent_shape) for grid in grids.values())
    return {
        "activations": max(peaks),
        "texts": max(texts, rows) * of_text.bytes,
        "reused": evaluations * of_attention.bytes if attention else 0,
        "latents": FP32 * latents * (2 + evaluations),
    }


def _keyed(memory: Memory, inactive: frozenset[str], key: Hashable, compute: Callable[[], T]) -> T:
    return memory((inactive, key), compute)


def _settings(
    recipe: SampledPhase,
    model: nn.Module,
    turns: Iterable[frozenset[str]],
    need: Mapping[str, int],
    codecs: Mapping[str, int],
    *,
    evaluations: int,
) -> tuple[Setting, ...]:
    groups = {name: one.group for name, one in recipe.system.components(recipe).items()}
    whole, beside = weights_of(recipe.system, model), sum(codecs.values())
    total = sum(part.all for part in whole.values())
    kept = need["texts"] + need["reused"] + need["latents"]
    at_work = [[part for name, part in whole.items() if groups[name] not in turn] for turn in turns]
    on_device = {
        "none": total,
        "component": max(sum(part.all for part in parts) for parts in at_work),
        "block": max(streamed(parts) for parts in at_work),
    }
    text = max((size for name, size in codecs.items() if recipe.codecs[name].medium == "text"), default=0)
    vae = max((size for name, size in codecs.items() if recipe.codecs[name].medium != "text"), default=0)
    all_units = max(sum(part.units for part in parts) for parts in at_work)
    brought = {"none": 0, "component": total, "block": sum(part.ends for part in whole.values())}
    found = []
    for offload in SETTINGS:
        held_whole, weights = offload == "none", on_device[offload]
        resident = total + beside if held_whole else 0
        found.append(
            Setting(
                offload=offload,
                weights=weights,
                codecs=beside if held_whole else 0,
                encoding=max(resident or text, (resident or vae) + need["encoding"]),
                evaluating=weights + (beside if held_whole else 0) + need["activations"] + kept,
                decoding=(resident or vae) + need["decoding"] + kept,
                host=0 if held_whole else total + beside,
                per_step=evaluations * all_units if offload == "block" else 0,
                per_clip=0 if held_whole else beside + brought[offload],
            )
        )
    return tuple(found)
