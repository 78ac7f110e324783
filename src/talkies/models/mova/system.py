"""MOVA as a system: its phases, parents, parameter groups, streams and guidance."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from talkies.config import RecipeError
from talkies.config.canonical import identifying
from talkies.models.mova.config import COMPONENTS, EXPERTS, MovaConfig, MovaPhase, MovaShape
from talkies.models.mova.layouts import LAYOUTS
from talkies.models.mova.options import MEDIA, SCALES
from talkies.models.wan.config import TowerConfig
from talkies.streams import Grid
from talkies.streams.agreement import check_codecs, check_width
from talkies.streams.captions import WHOLE, Captions
from talkies.streams.grid import tokens_of
from talkies.streams.layout import Layout
from talkies.streams.system import Component, Network, Parts, Rung, Setup, Stored, Task, Turn

TASKS = {
    "joint": Task(share=0.0),
    "sound_to_video": Task(share=0.0, given=frozenset({"audio"})),
    # A clean video belongs to the low-noise expert, which the odd steps train.
    "video_to_sound": Task(share=0.0, given=frozenset({"video"}), turns=frozenset({1})),
}


class MovaSystem:
    """arXiv 2602.08794; docs/mova.md."""

    model: Any = MovaConfig
    phases: Any = MovaPhase
    codecs: Mapping[str, str] = {"video": "video", "audio": "audio", "text": "text"}
    slots: Mapping[str, tuple[str, ...]] = {"video": EXPERTS, "audio": ("audio",)}
    scales: Mapping[str, str] = SCALES
    options: Mapping[str, str] = MEDIA
    captions: Captions = WHOLE
    layouts: Mapping[str, Layout] = LAYOUTS
    voices = False
    kind = "mova"

    def network(self) -> Network:
        """The towers and the Bridge."""
        from talkies.models.mova.network import MovaNetwork  # noqa: PLC0415 - decoding a recipe needs no torch

        return MovaNetwork()

    def components(self, setup: Setup) -> dict[str, Component]:
        """Two experts of one size, which take turns, the audio tower, and the Bridge, which a parent may lack.
        Modulations do not decay (our choice)."""
        sizes: MovaShape = setup.model.shape
        video, audio = (
            Component(
                section=name,
                shape=identifying(tower),
                reads=(name, "text"),
                rate="towers",
                width=tower.dim,
                undecayed=("modulation",),
            )
            for name, tower in (("video", sizes.video), ("audio", sizes.audio))
        )
        bridge = Component(
            section="bridge",
            shape=identifying(sizes.bridge),
            reads=("video", "audio", "text"),
            rate="bridge",
            width=max(sizes.video.dim, sizes.audio.dim),
            optional=True,
        )
        return {**{name: replace(video, group=name) for name in EXPERTS}, "audio": audio, "bridge": bridge}

    def parts(self, setup: Setup) -> Parts:
        """Video pretraining trains both experts in turn, audio pretraining the audio tower, joint training all."""
        phase, shape = setup.phase, setup.model.shape
        dropout = {"text": phase.text_dropout}
        if phase.kind == "audio_pretraining":
            return Parts(
                components=frozenset({"audio"}),
                targets={"audio": 1.0},
                texts=frozenset({"text"}),
                dropout=dropout,
                blocks=shape.audio.layers,
            )
        joint = phase.kind == "joint"
        built = COMPONENTS if setup.model.bridge else (*EXPERTS, "audio")
        # Even steps, from 0, train the high-noise expert, which serves the levels from the boundary on; odd ones the
        # low-noise expert (MOVA, section 4.5).
        high = Turn(inactive=frozenset({"video_low"}), levels={"video": (shape.boundary, 1.0)})
        low = Turn(inactive=frozenset({"video_high"}), levels={"video": (0.0, shape.boundary)})
        return Parts(
            components=frozenset(built if joint else EXPERTS),
            targets={"video": phase.video_loss_weight, "audio": phase.audio_loss_weight} if joint else {"video": 1.0},
            conditions=frozenset({"image"}),
            texts=frozenset({"text"}),
            dropout=dropout,
            cycle=(high, low),
            tasks={name: replace(TASKS[name], share=share) for name, share in phase.tasks.items()} if joint else {},
            blocks=max(shape.video.layers, shape.audio.layers if joint else 0),
        )

    def stored(self, codecs: Mapping[str, Any]) -> dict[str, Stored]:
        """The latents of picture and sound, and that of the first frame (docs/mova.md: First frame)."""
        found = {name: Stored(codec=name) for name in ("video", "audio") if name in codecs}
        return found | ({"image": Stored(codec="video", of="first frame")} if "video" in codecs else {})

    def texts(self, codecs: Mapping[str, Any]) -> dict[str, str]:
        """The caption."""
        return {"text": "text"} if "text" in codecs else {}

    def check(self, setup: Setup, scales: Mapping[str, Any]) -> None:
        """Codecs and towers must fit; a Bridge scale needs a Bridge between two streams, and so does a given one; every
        sample has a loss."""
        shape, parts, codecs = setup.model.shape, self.parts(setup), setup.codecs
        check_codecs(setup, (*parts.targets, "text"))
        if (video := codecs.get("video")) is not None:
            _channels("video", shape.video, needed_in=2 * video.channels + video.stride, needed_out=video.channels)
        if (audio := codecs.get("audio")) is not None:
            _channels("audio", shape.audio, needed_in=audio.channels, needed_out=audio.channels)
        check_width(setup, "text", shape.video.text_dim)
        if scales.get("bridge", 1.0) != 1.0 and "bridge" not in parts.components:
            why = "`model.bridge` is false" if setup.phase.kind == "joint" else "this phase has one stream"
            raise RecipeError(f"recipe: `sampling.scales.bridge` needs a Bridge, but {why}: remove it")
        _check_losses(parts)

    def tokens(self, setup: Setup, grids: Mapping[str, Grid]) -> dict[str, int]:
        """Of the towers' streams."""
        shape = setup.model.shape
        return tokens_of(grids, {"video": shape.video.patch, "audio": shape.audio.patch})

    def ladder(self, setup: Setup) -> tuple[Rung, ...]:
        """Neither, the Bridge, then both (MOVA, section 5.1, eq. 6)."""
        if "bridge" not in self.parts(setup).components:
            return Rung(without=frozenset({"text"})), Rung(without=frozenset(), scale="text")
        return (
            Rung(without=frozenset({"text", "bridge"})),
            Rung(without=frozenset({"text"}), scale="bridge"),
            Rung(without=frozenset(), scale="text"),
        )


def _check_losses(parts: Parts) -> None:
    if not any(parts.targets.values()):
        raise RecipeError(
            "recipe: `phase.video_loss_weight` and `phase.audio_loss_weight` are 0, so nothing is trained: raise one"
        )
    for name, task in parts.tasks.items():
        if not task.share or not task.given:
            continue
        if "bridge" not in parts.components:
            raise RecipeError(
                f"recipe: `phase.tasks.{name}` gives one stream to the other, which takes a Bridge, but `model.bridge` "
                "is false: build the Bridge, or drop the task"
            )
        trained = sorted(parts.targets.keys() - task.given)
        if not any(parts.targets[stream] for stream in trained):
            raise RecipeError(
                f"recipe: `phase.tasks.{name}` trains the {trained[0]} alone, but `phase.{trained[0]}_loss_weight` is "
                "0: raise it, or drop the task"
            )


def _channels(section: str, tower: TowerConfig, *, needed_in: int, needed_out: int) -> None:
    if (tower.in_channels, tower.out_channels) != (needed_in, needed_out):
        raise RecipeError(
            f"recipe: `codecs.{section}` gives {needed_out} latent channels, so the {section} tower needs {needed_in} "
            f"in and {needed_out} out, but `model` has {tower.in_channels} and {tower.out_channels}"
        )


MOVA = MovaSystem()
