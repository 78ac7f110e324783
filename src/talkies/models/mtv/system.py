"""MTV as a system: its phases, parents, parameter groups, streams and guidance."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from talkies.config import RecipeError
from talkies.config.quoting import listed
from talkies.models.mtv.config import ENCODED, MtvConfig, MtvShape
from talkies.models.mtv.layouts import LAYOUTS
from talkies.models.mtv.options import MEDIA, SCALES
from talkies.models.mtv.phases import MtvPhase
from talkies.streams import Grid
from talkies.streams.agreement import check_codecs, check_width
from talkies.streams.captions import WHOLE, Captions
from talkies.streams.grid import tokens_of
from talkies.streams.layout import Layout
from talkies.streams.system import Component, Network, Parts, Rung, Setup, Stored, sizes_key

BACKBONE = ("video", "attention")
"""The components of a backbone; a tower of Wan is one."""


class MtvSystem:
    """arXiv 2506.08003; docs/mtv.md."""

    model: Any = MtvConfig
    phases: Any = MtvPhase
    codecs: Mapping[str, str] = {
        "video": "video",
        "sound": "audio",
        "demix": "tracks",
        "audio": "audio",
        "text": "text",
    }
    slots: Mapping[str, tuple[str, ...]] = {"video": BACKBONE}
    scales: Mapping[str, str] = SCALES
    options: Mapping[str, str] = MEDIA
    captions: Captions = WHOLE
    layouts: Mapping[str, Layout] = MappingProxyType(LAYOUTS)
    voices = False
    kind = "mtv"

    def network(self) -> Network:
        """The backbone and its control."""
        from talkies.models.mtv.network import MtvNetwork  # noqa: PLC0415 - decoding a recipe needs no torch

        return MtvNetwork()

    def components(self, setup: Setup) -> dict[str, Component]:
        """The backbone, of CogVideoX with its attention apart, and the control, which a parent may lack."""
        shape: MtvShape = setup.model.shape
        found = {
            name: Component(
                section="video",
                shape=shape.sizes(name),
                reads=("video", "text"),
                rate="video",
                width=shape.backbone.dim,
                undecayed=("modulation", "table"),
                sized_by="backbone",
            )
            for name in shape.components
        }
        control = Component(
            section="control",
            shape=shape.sizes("control"),
            reads=("sound",),
            rate="control",
            width=shape.control.widest,
            undecayed=("vectors",),
            optional=True,
        )
        return {**found, "control": control}

    def parts(self, setup: Setup) -> Parts:
        """The backbone alone, or steered by the tracks that the phase names."""
        phase, shape = setup.phase, setup.model.shape
        known = {"video": phase.known_frames} if any(phase.known_frames.shares.values()) else {}
        dropout = {"text": phase.text_dropout}
        steered = phase.kind == "steering"
        tracks = frozenset(phase.tracks if steered else ())
        return Parts(
            components=frozenset((*shape.components, *(("control",) if steered else ()))),
            targets={"video": 1.0},
            conditions=tracks,
            texts=frozenset({"text"}),
            beside=frozenset({"audio"} & setup.codecs.keys() if steered else ()),
            dropout={**dropout, "tracks": phase.tracks_dropout} if steered else dropout,
            groups={"tracks": tracks} if steered else {},
            frozen=frozenset(_frozen(shape, phase.trains) if steered else ()),
            known=known,
            blocks=shape.layers,
        )

    def stored(self, codecs: Mapping[str, Any]) -> dict[str, Stored]:
        """The video's latents, the features of every track of the demixer, and the sound itself."""
        found = {name: Stored(codec=name) for name in ("video", "audio") if name in codecs}
        tracks = codecs["demix"].all_tracks if {"demix", "sound"} <= codecs.keys() else ()
        return found | {name: Stored(codec="sound", track=name) for name in ENCODED if name in tracks}

    def texts(self, codecs: Mapping[str, Any]) -> dict[str, str]:
        """The caption."""
        return {"text": "text"} if "text" in codecs else {}

    def check(self, setup: Setup, scales: Mapping[str, Any]) -> None:
        """Codecs and network must fit; what a phase trains must be there on its own; a scale needs what it guides
        by."""
        _check_codecs(setup)
        _check_phase(setup)
        if scales.get("tracks", 1.0) != 1.0 and not self.parts(setup).conditions:
            raise RecipeError(f"recipe: `sampling.scales.tracks` needs tracks, which {setup.phase.kind} phases lack")

    def tokens(self, setup: Setup, grids: Mapping[str, Grid]) -> dict[str, int]:
        """Of the video; the tokens of tracks are few, and are no part of its sequence."""
        shape: MtvShape = setup.model.shape
        intervals, steps = shape.control.intervals, grids["video"].shape[0] if "video" in grids else None
        if intervals is not None and steps is not None and intervals > steps:
            raise ValueError(
                f"video: it has {steps} latent steps, but `model.intervals` is {intervals}: at most one per step"
            )
        return tokens_of(grids, {"video": shape.backbone.patch})

    def ladder(self, setup: Setup) -> tuple[Rung, ...]:
        """Neither, the text, then the tracks, too."""
        tracks = self.parts(setup).conditions
        if not tracks:
            return Rung(without=frozenset({"text"})), Rung(without=frozenset(), scale="text")
        return (
            Rung(without=tracks | {"text"}),
            Rung(without=tracks, scale="text"),
            Rung(without=frozenset(), scale="tracks"),
        )


def _frozen(shape: MtvShape, trains: str) -> tuple[str, ...]:
    """The components that a steering phase leaves as they are."""
    return {"control": shape.components, "control_and_attention": ("video",), "all": ()}[trains]


def _check_codecs(setup: Setup) -> None:
    shape, codecs, steered = setup.model.shape, setup.codecs, setup.phase.kind == "steering"
    check_codecs(setup, ("video", "text", *(("sound", "demix") if steered else ())))
    check_width(setup, "video", shape.backbone.out_channels, sized_by="backbone")
    check_width(setup, "text", shape.backbone.text_dim, sized_by="backbone")
    if not steered:
        return
    check_width(setup, "sound", shape.control.features, key="features")
    if codecs["video"].stride != shape.control.stride:
        raise RecipeError(
            f"recipe: `codecs.video.stride` is {codecs['video'].stride}, the network of {sizes_key(setup.model)} has "
            f"intervals of {shape.control.stride} frames: choose another codec or preset"
        )


def _check_phase(setup: Setup) -> None:
    shape, phase = setup.model.shape, setup.phase
    if not shape.cogvideox and any(phase.known_frames.shares.values()):
        raise RecipeError(
            "recipe: `phase.known_frames` gives latent steps noise levels of their own, which the backbone of "
            f"`model.preset` {setup.model.preset} cannot have: remove it"
        )
    if phase.kind != "steering":
        return
    if not shape.cogvideox and phase.trains == "control_and_attention":
        raise RecipeError(
            "recipe: `phase.trains` is control_and_attention, but the backbone of `model.preset` "
            f"{setup.model.preset} is one component: choose control or all"
        )
    tracks, parted = phase.tracks, setup.codecs["demix"].all_tracks
    if not tracks or len({*tracks}) < len(tracks):
        raise RecipeError(f"recipe: `phase.tracks` is {listed(tracks) or 'empty'}: name one or more tracks, each once")
    if "speech2" in tracks and "speech" not in tracks:
        raise RecipeError("recipe: `phase.tracks` names speech2, a second speaker, without speech: add speech")
    if unknown := [track for track in tracks if track not in shape.control.tracks]:
        raise RecipeError(
            f"recipe: `phase.tracks` names {unknown[0]}, but the network hears {listed(shape.control.tracks)}: set "
            "`model.speakers` to 2, or drop it"
        )
    if lacking := [track for track in tracks if track not in parted]:
        own = setup.codecs["demix"].kind == "demucs" and lacking[0] == "speech2"
        hint = ": name it in `codecs.demix.other_speakers`, and give its files" if own else ""
        raise RecipeError(
            f"recipe: `phase.tracks` names {lacking[0]}, but `codecs.demix` parts a sound into {listed(parted)}{hint}"
        )


MTV = MtvSystem()
