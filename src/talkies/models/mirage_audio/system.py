"""Mirage audio as a system: its phases, parents, parameter groups, streams and guidance."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from talkies.config import RecipeError
from talkies.flow.degradation_config import DegradationConfig, check_degradation
from talkies.models.mirage_audio.captions import ScriptCaptions
from talkies.models.mirage_audio.config import SOUND, TEXTS, MirageAudioConfig
from talkies.models.mirage_audio.options import MEDIA, SCALES
from talkies.models.mirage_audio.phases import MirageAudioPhase
from talkies.models.mochi.config import JointShape
from talkies.streams import Grid
from talkies.streams.agreement import check_codecs, check_scale, check_width
from talkies.streams.captions import Captions
from talkies.streams.grid import tokens_of
from talkies.streams.layout import Layout
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
    captions: Captions = ScriptCaptions()
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

    def check(self, setup: Setup, scales: Mapping[str, Any]) -> None:
        """Codecs and network must fit; a scale needs what it guides by."""
        parts, modalities = self.parts(setup), setup.model.shape.modalities
        check_codecs(setup, modalities)
        _check_paces(setup)
        for name, modality in modalities.items():
            check_width(setup, name, modality.channels, key=f"{'sound' if name == SOUND else 'text'}_features")
        _check_paces(setup)
        _check_degradation(setup, used=bool(parts.degraded))
        check_scale(setup, parts, scales, "reference")

    def tokens(self, setup: Setup, grids: Mapping[str, Grid]) -> dict[str, int]:
        """Of every stream; the text's are counted apart."""
        return tokens_of(grids, dict.fromkeys(setup.model.shape.streams, (1,)))

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
        _check_voice(setup)
        rate = setup.codecs[VOICE].sample_rate
        check_degradation(setup.phase.degradation, key="phase.degradation", sample_rate=rate)
    elif setup.phase.kind == "cloning" and setup.phase.degradation != DegradationConfig():
        raise RecipeError(
            "recipe: `phase.degradation` is set, but `phase.degraded` is 0, so that nothing is degraded: set "
            "`phase.degraded`, or drop `phase.degradation`"
        )


def _check_voice(setup: Setup) -> None:
    """The codec of the sound that is degraded."""
    check_codecs(setup, [VOICE], why="`phase.degraded`")
    voice, sound = setup.codecs[VOICE], setup.codecs[SOUND]
    if voice.kind != "waveform":
        raise RecipeError(
            f"recipe: `codecs.{VOICE}` is of the kind {voice.kind}: a sound that is degraded is stored as it is, by "
            "the kind waveform"
        )
    if voice.sample_rate != sound.sample_rate:
        raise RecipeError(
            f"recipe: `codecs.{VOICE}.sample_rate` is {voice.sample_rate}, that of `codecs.{SOUND}` is "
            f"{sound.sample_rate}: they must be equal"
        )


MIRAGE_AUDIO = MirageAudioSystem()
