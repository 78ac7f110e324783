"""Mirage audio as a system: its phases, parents, parameter groups, streams and guidance."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from talkies.config import RecipeError
from talkies.flow.degradation_config import DegradationConfig, check_degradation
from talkies.models.mirage_audio.config import SOUND, TEXTS, MirageAudioConfig
from talkies.models.mirage_audio.options import MEDIA, SCALES, WORDING
from talkies.models.mirage_audio.phases import MirageAudioPhase
from talkies.models.mochi.config import JointShape
from talkies.streams import Grid
from talkies.streams.grid import tokens_of
from talkies.streams.layout import Layout
from talkies.streams.script import SAY, Script
from talkies.streams.system import Component, Degraded, Network, Parts, Rung, Setup, Stored

VOICE = "voice"
"""The reference as it sounds, which is degraded and encoded in training."""


class MirageAudioSystem:
    """docs/mirage_audio.md."""

    model: Any = MirageAudioConfig
    phases: Any = MirageAudioPhase
    codecs: Mapping[str, str] = {
        SOUND: "audio",
        VOICE: "audio",
        "text": "text",
        "script": "text",
        "description": "text",
    }
    slots: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    scales: Mapping[str, str] = SCALES
    options: Mapping[str, str] = MEDIA
    wording: Mapping[str, str] = WORDING
    layouts: Mapping[str, Layout] = MappingProxyType({})
    voices = True
    kind = "mirage_audio"

    def network(self) -> Network:
        """The joint transformer."""
        from talkies.models.mirage_audio.network import network  # noqa: PLC0415 - decoding a recipe needs no torch

        return network()

    def components(self, setup: Setup) -> dict[str, Component]:
        """One per modality. The rotary tables do not decay (our choice)."""
        shape: JointShape = setup.model.shape
        return {
            name: Component(
                section=name,
                shape=shape.sizes(name),
                reads=(name,),
                rate="text" if name in shape.texts else SOUND,
                width=modality.width,
                undecayed=("frequencies",),
            )
            for name, modality in shape.modalities.items()
        }

    def parts(self, setup: Setup) -> Parts:
        """Everything trains in every phase; cloning reads a reference besides."""
        phase, shape = setup.phase, setup.model.shape
        cloning = phase.kind == "cloning"
        dropout = dict.fromkeys(shape.texts, phase.text_dropout)
        if cloning:
            dropout |= {"reference": phase.reference_dropout, "all": phase.all_dropout}
        degraded = cloning and phase.degraded > 0
        return Parts(
            components=frozenset(shape.modalities),
            targets={SOUND: 1.0},
            conditions=frozenset({"reference"} if cloning else ()),
            texts=frozenset(shape.texts),
            dropout=dropout,
            degraded={"reference": Degraded(source=VOICE, share=phase.degraded, by=phase.degradation)}
            if degraded
            else {},
            blocks=shape.layers,
        )

    def stored(self, codecs: Mapping[str, Any]) -> dict[str, Stored]:
        """The sound's latents, and another part of its recording: its latents, and the sound itself."""
        found = {SOUND: Stored(codec=SOUND), "reference": Stored(codec=SOUND, of="passage")} if SOUND in codecs else {}
        return found | ({VOICE: Stored(codec=VOICE, of="passage")} if VOICE in codecs else {})

    def texts(self, codecs: Mapping[str, Any]) -> dict[str, str]:
        """The caption as a whole, or its two parts."""
        return {name: name for names in TEXTS.values() for name in names if name in codecs}

    def unfit(self, caption: str) -> str | None:
        """A script that cannot be said; general sounds have none."""
        return Script.parse(caption).problem() if SAY in caption else None

    def written(self, text: str, caption: str) -> str:
        """All of it, or the script or the description in it."""
        parts = Script.parse(caption)
        return {"script": parts.words, "description": parts.description}.get(text, caption)

    def seconds(self, setup: Setup, caption: str) -> float | None:
        """As long as its script takes at the model's pace; None without one."""
        spoken, pace = Script.parse(caption).spoken, setup.model.characters_per_second
        return spoken / pace if spoken and pace else None

    def least_seconds(self, setup: Setup, caption: str) -> float | None:
        """As long as its script takes if nobody could say it faster; None without one."""
        spoken, fastest = Script.parse(caption).spoken, setup.model.fastest_characters_per_second
        return spoken / fastest if spoken and fastest else None

    def check(self, setup: Setup, scales: Mapping[str, Any]) -> None:
        """Codecs and network must fit; a scale needs what it guides by."""
        shape, parts, codecs = setup.model.shape, self.parts(setup), setup.codecs
        sources = [one.source for one in parts.degraded.values()]
        for name in (SOUND, *parts.texts, *sources):
            if name not in codecs:
                why = "`phase.degraded` needs it" if name in sources else f"a {setup.phase.kind} phase needs it"
                raise RecipeError(f"recipe: `codecs.{name}` is missing: {why}")
        if sources and codecs[VOICE].kind != "waveform":
            raise RecipeError(
                f"recipe: `codecs.{VOICE}` is of the kind {codecs[VOICE].kind}: a sound that is degraded is stored as "
                "it is, by the kind waveform"
            )
        if sources and codecs[VOICE].sample_rate != codecs[SOUND].sample_rate:
            raise RecipeError(
                f"recipe: `codecs.{VOICE}.sample_rate` is {codecs[VOICE].sample_rate}, that of `codecs.{SOUND}` is "
                f"{codecs[SOUND].sample_rate}: they must be equal"
            )
        _check_paces(setup)
        _check_widths(setup, shape)
        _check_degradation(setup, used=bool(sources))
        if scales.get("reference", 1.0) != 1.0 and "reference" not in parts.streams:
            raise RecipeError(
                f"recipe: `sampling.scales.reference` needs a reference, which a {setup.phase.kind} phase lacks"
            )

    def tokens(self, setup: Setup, grids: Mapping[str, Grid]) -> dict[str, int]:
        """Of every stream; the text's are counted apart."""
        return tokens_of(grids, dict.fromkeys(setup.model.shape.streams, (1,)))

    def inactive(self, setup: Setup, levels: Mapping[str, float]) -> frozenset[str]:
        """None: every level is served by all."""
        del setup, levels
        return frozenset()

    def ladder(self, setup: Setup) -> tuple[Rung, ...]:
        """Neither, the reference, then the texts, too: what is said and how is decided for this voice."""
        texts = frozenset(setup.model.shape.texts)
        if "reference" not in self.parts(setup).streams:
            return Rung(without=texts), Rung(without=frozenset(), scale="text")
        return (
            Rung(without=texts | {"reference"}),
            Rung(without=texts, scale="reference"),
            Rung(without=frozenset(), scale="text"),
        )


def _check_paces(setup: Setup) -> None:
    pace, fastest = setup.model.characters_per_second, setup.model.fastest_characters_per_second
    if pace is not None and fastest is not None and fastest < pace:
        raise RecipeError(
            f"recipe: `model.fastest_characters_per_second` is {fastest:g}, less than the pace of scripts, "
            f"`model.characters_per_second` {pace:g}: raise it, or set it to null"
        )


def _check_degradation(setup: Setup, *, used: bool) -> None:
    if used:
        rate = setup.codecs[VOICE].sample_rate
        check_degradation(setup.phase.degradation, key="phase.degradation", sample_rate=rate)
    elif setup.phase.kind == "cloning" and setup.phase.degradation != DegradationConfig():
        raise RecipeError(
            "recipe: `phase.degradation` is set, but `phase.degraded` is 0, so that nothing is degraded: set "
            "`phase.degraded`, or drop `phase.degradation`"
        )


def _check_widths(setup: Setup, shape: JointShape) -> None:
    codecs = setup.codecs
    given = {SOUND: ("channels", codecs[SOUND].channels)}
    given |= {name: ("dim", codecs[name].dim) for name in shape.texts}
    for name, (key, width) in given.items():
        if width != shape.modalities[name].channels:
            raise RecipeError(
                f"recipe: `codecs.{name}.{key}` is {width}, the network of `model.preset` {setup.model.preset} takes "
                f"{shape.modalities[name].channels}; set `model.{'sound' if name == SOUND else 'text'}_features`"
            )


MIRAGE_AUDIO = MirageAudioSystem()
