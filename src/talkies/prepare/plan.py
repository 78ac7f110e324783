"""The shard sets that a prepare recipe asks for, checked before any work."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from talkies.codecs.config import LinearVideoConfig, WanVideoConfig, audio_grid, video_grid
from talkies.config import DataError, RecipeError
from talkies.config.quoting import listed, named, shown
from talkies.media.downmix import Channel
from talkies.prepare.config import PrepareConfig, SetConfig
from talkies.prepare.geometry import Geometry
from talkies.world.config import SyntheticSource

TOLERANCE = 0.05
"""Seconds by which the durations of sound and pictures may differ."""
BLOCK_VALUES = 8192
"""Largest number of values in a block that can be fitted: their covariance takes half a GB."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """One shard set to make: its recipe section, its geometry, the sample rate and channel of its sound, and whether
    the sound may be late by an encoder delay of unknown length."""

    name: str
    config: SetConfig
    geometry: Geometry
    sample_rate: int
    channel: Channel
    delayed: bool

    @property
    def video(self) -> bool:
        """Whether clips keep their pictures."""
        return "video" in self.config.modalities

    @property
    def audio(self) -> bool:
        """Whether clips keep their sound."""
        return "audio" in self.config.modalities


def plan(config: PrepareConfig) -> dict[str, SetPlan]:
    """The sets of a recipe by name. Raises RecipeError for what cannot be made, naming the key."""
    if not config.sets:
        raise RecipeError("recipe: `sets` is empty: name at least one shard set to make")
    for section, names in (("sources", config.sources), ("sets", config.sets)):
        for name in names:
            if NAME.fullmatch(name) is None:
                raise RecipeError(
                    f"recipe: `{section}.{named(name)}` names a folder: use letters, digits, dot, - and _ only"
                )
    sets = {name: _plan_set(config, name, section) for name, section in config.sets.items()}
    unused = config.sources.keys() - {section.source for section in config.sets.values()}
    if unused:
        raise RecipeError(
            f"recipe: `sources.{named(min(unused))}` is used by no set: remove it, or name it in a set's `source`"
        )
    _check_fit(config, sets)
    return sets


def _plan_set(config: PrepareConfig, name: str, section: SetConfig) -> SetPlan:
    key = f"sets.{name}"
    source = config.sources.get(section.source)
    if source is None:
        raise RecipeError(
            f"recipe: `{key}.source` is {shown(section.source)}, which is not a source; there are: "
            f"{listed([*config.sources])}"
        )
    if section.split == "heldout" and source.heldout == 0:
        raise RecipeError(f"recipe: `{key}.split` is heldout, but `sources.{section.source}.heldout` is 0")
    if not section.modalities or len(set(section.modalities)) < len(section.modalities):
        raise RecipeError(
            f"recipe: `{key}.modalities` is {listed(section.modalities) or 'empty'}: name video, audio or both, once"
        )
    if "audio" not in section.modalities and (section.lufs is not None or section.duration_token):
        raise RecipeError(f"recipe: `{key}` has `lufs` or `duration_token`, which need audio in its `modalities`")
    set_plan = SetPlan(
        name=name,
        config=section,
        geometry=Geometry.parse(section.geometry, key=f"{key}.geometry"),
        sample_rate=config.codecs.audio.sample_rate,
        channel="mix" if isinstance(source, SyntheticSource) else source.channel,
        delayed=not isinstance(source, SyntheticSource) and source.avi == "keep",
    )
    _check_grids(config, set_plan)
    return set_plan


def _check_grids(config: PrepareConfig, set_plan: SetPlan) -> None:
    """The codecs must accept the geometry, and the latents of sound and pictures must have the same duration."""
    key, geometry = f"sets.{set_plan.name}.geometry", set_plan.geometry
    try:
        if set_plan.video:
            size = {"height": geometry.height, "width": geometry.width}
            video_grid(config.codecs.video, frames=geometry.frames, fps=geometry.fps, **size)
        if set_plan.audio:
            grid = audio_grid(config.codecs.audio, samples=geometry.samples(set_plan.sample_rate))
    except DataError as error:
        raise RecipeError(f"recipe: `{key}` is {set_plan.config.geometry}: {error}") from None
    if set_plan.video and set_plan.audio and abs(grid.seconds(grid.shape[0]) - geometry.seconds) > TOLERANCE:
        raise RecipeError(
            f"recipe: `{key}` is {set_plan.config.geometry}: its {float(geometry.seconds):.3f} s of frames become "
            f"{float(grid.seconds(grid.shape[0])):.3f} s of audio latents (tolerance {TOLERANCE} s); use a smaller "
            "`codecs.audio.hop` or another number of frames"
        )


def fitted_parts(config: PrepareConfig) -> tuple[str, ...]:
    """Which of the "video" and "audio" codecs are fitted; the others are pretrained."""
    kinds = {"video": config.codecs.video.kind, "audio": config.codecs.audio.kind}
    used = {modality for section in config.sets.values() for modality in section.modalities}
    return tuple(part for part, kind in kinds.items() if kind.startswith("linear_") and part in used)


def _check_video_fit(codec: LinearVideoConfig | WanVideoConfig) -> None:
    """Fitting takes the covariance of blocks, whose size grows with the square of the values in a block."""
    values = 3 * codec.stride * codec.block**2
    if values > BLOCK_VALUES:
        raise RecipeError(
            f"recipe: `codecs.video` has blocks of 3 x {codec.stride} (`stride`) x {codec.block} x {codec.block} "
            f"(`block`) = {values} values, and at most {BLOCK_VALUES} can be fitted: lower one of them"
        )


def _check_fit(config: PrepareConfig, sets: Mapping[str, SetPlan]) -> None:
    """`fit_sets` must name sets with the modalities to fit, and must be empty if nothing is fitted or `codecs_from` is
    set."""
    for name in config.fit_sets:
        if name not in sets:
            raise RecipeError(
                f"recipe: `fit_sets` names {shown(name)}, which is not a set; there are: {listed([*sets])}"
            )
    parts = fitted_parts(config)
    if "video" in parts:
        _check_video_fit(config.codecs.video)
    if config.fit_sets and not parts:
        raise RecipeError("recipe: `fit_sets` is given, but no codec is fitted: remove it")
    if config.codecs_from is not None:
        if config.fit_sets:
            raise RecipeError("recipe: `codecs_from` takes codecs that are fitted already: remove `fit_sets`")
        if not parts:
            raise RecipeError("recipe: `codecs_from` is given, but no codec is of a fitted kind: remove it")
        return
    for part in parts:
        if not any(part in sets[name].config.modalities for name in config.fit_sets):
            raise RecipeError(
                f"recipe: `codecs.{part}` is fitted on clips: `fit_sets` must name a set with {part}, found "
                f"{listed(config.fit_sets) or 'none'}"
            )
