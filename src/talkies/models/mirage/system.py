"""Mirage video as a system: its phases, parents, parameter groups, streams and guidance."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from talkies.models.mirage.config import COMPONENTS, MirageConfig
from talkies.models.mirage.options import MEDIA, SCALES
from talkies.models.mirage.phases import MiragePhase
from talkies.models.mochi.config import JointShape
from talkies.streams import Grid
from talkies.streams.agreement import check_codecs, check_scale, check_width
from talkies.streams.captions import WHOLE, Captions
from talkies.streams.grid import tokens_of
from talkies.streams.layout import Layout
from talkies.streams.system import Component, Network, Parts, Rung, Setup, Stored

SILENT = ("video", "text")
"""The components of a model that has heard nothing: Mochi's."""


class MirageSystem:
    """arXiv 2506.08279; docs/mirage.md."""

    model: Any = MirageConfig
    phases: Any = MiragePhase
    codecs: Mapping[str, str] = {"video": "video", "sound": "audio", "audio": "audio", "text": "text"}
    slots: Mapping[str, tuple[str, ...]] = {"video": SILENT}
    scales: Mapping[str, str] = SCALES
    options: Mapping[str, str] = MEDIA
    captions: Captions = WHOLE
    layouts: Mapping[str, Layout] = MappingProxyType({})
    voices = False
    kind = "mirage"

    def network(self) -> Network:
        """The joint transformer."""
        from talkies.models.mochi.network import JointNetwork  # noqa: PLC0415 - decoding a recipe needs no torch

        return JointNetwork()

    def components(self, setup: Setup) -> dict[str, Component]:
        """One per modality; a parent may lack the sound's. The rotary tables do not decay (our choice)."""
        shape: JointShape = setup.model.shape
        return {
            name: Component(
                section=name,
                shape=shape.sizes(name),
                reads=(name,),
                rate="sound" if name == "sound" else "video",
                width=shape.modalities[name].width,
                undecayed=("frequencies",),
                optional=name == "sound",
            )
            for name in COMPONENTS
        }

    def parts(self, setup: Setup) -> Parts:
        """Silent video first; then the sound stream alone; then all; then with a reference."""
        phase = setup.phase
        texts, dropout = frozenset({"text"}), {"text": phase.text_dropout}
        if phase.kind == "video_pretraining":
            return Parts(
                components=frozenset(SILENT),
                targets={"video": 1.0},
                texts=texts,
                dropout=dropout,
                blocks=setup.model.shape.layers,
            )
        conditions, dropout = {"sound"}, {**dropout, "sound": phase.sound_dropout, "all": phase.all_dropout}
        if phase.kind == "reference":
            conditions, dropout = {"sound", "reference"}, {**dropout, "reference": phase.reference_dropout}
        return Parts(
            components=frozenset(COMPONENTS),
            targets={"video": 1.0},
            conditions=frozenset(conditions),
            texts=texts,
            beside=frozenset({"audio"} & setup.codecs.keys()),
            whole=frozenset({"sound"}),
            dropout=dropout,
            frozen=frozenset(SILENT if phase.kind == "warm_up" else ()),
            blocks=setup.model.shape.layers,
        )

    def stored(self, codecs: Mapping[str, Any]) -> dict[str, Stored]:
        """The video's latents, the sound's features, a reference from outside of the window, and the sound itself."""
        found = {name: Stored(codec=name) for name in ("video", "sound", "audio") if name in codecs}
        return found | ({"reference": Stored(codec="video", of="reference")} if "video" in codecs else {})

    def texts(self, codecs: Mapping[str, Any]) -> dict[str, str]:
        """The caption."""
        return {"text": "text"} if "text" in codecs else {}

    def check(self, setup: Setup, scales: Mapping[str, Any]) -> None:
        """Codecs and network must fit; a scale needs what it guides by."""
        parts, modalities = self.parts(setup), setup.model.shape.modalities
        read = [name for name in modalities if name in (*parts.streams, *parts.texts)]
        check_codecs(setup, read)
        for name in read:
            check_width(setup, name, modalities[name].channels, key="sound_features" if name == "sound" else None)
        check_scale(setup, parts, scales, "sound")

    def tokens(self, setup: Setup, grids: Mapping[str, Grid]) -> dict[str, int]:
        """Of every stream; the text's are counted apart."""
        patches = {"video": setup.model.shape.patch, "reference": setup.model.shape.patch, "sound": (1,)}
        return tokens_of(grids, patches)

    def ladder(self, setup: Setup) -> tuple[Rung, ...]:
        """Neither, the text, then the sound, too; the reference is always used."""
        if "sound" not in self.parts(setup).streams:
            return Rung(without=frozenset({"text"})), Rung(without=frozenset(), scale="text")
        return (
            Rung(without=frozenset({"text", "sound"})),
            Rung(without=frozenset({"sound"}), scale="text"),
            Rung(without=frozenset(), scale="sound"),
        )


MIRAGE = MirageSystem()
