"""Networks of every system, each with a loss over streams that are always the same: to be sharded, split, recomputed
and compiled without a change."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cog_toy
import joint_toy
import mtv_toy
import one_step
import torch
from gradients import Step, backward
from torch import Tensor, nn

from talkies.models.mochi.network import JointDiT, JointNetwork
from talkies.models.mova.system import MOVA
from talkies.models.mtv.backbones import backbone_of
from talkies.models.mtv.network import Mtv, MtvNetwork
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig
from talkies.parallel.mesh import Mesh
from talkies.streams.batch import Stream


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """How a network is made, always with the same weights; its loss; its units, of which there are so many `kinds`."""

    make: Callable[[], Any]
    loss: Callable[[Any], Tensor]
    units: Callable[[Any], Iterable[nn.Module]]
    kinds: int

    def arranged(self, compute: ComputeConfig, mesh: Mesh | None = None) -> nn.Module:
        model: nn.Module = self.make()
        arrange(model, [*self.units(model)], mesh, compute, bf16=False)
        return model

    def step(self, model: nn.Module | None = None) -> Step:
        """Loss and gradients of one backward pass of `model`, or of one that is made for it."""
        model = self.make() if model is None else model
        torch.manual_seed(2)
        model.zero_grad()
        return backward(model, self.loss(model))


class Steered(nn.Module):
    """As a system is: between attention and feed-forward, it does something to every token that a process holds."""

    def __init__(self) -> None:
        super().__init__()
        network = cog_toy.toy()
        self.video, self.attention = network.video, network.attention

    def forward(self, stream: Stream, text: Tensor) -> Tensor:
        state = self.video.embed(stream, text)
        for index, attention in enumerate(self.attention):
            state = self.video.attended(index, state, attention)
            state = self.video.fed(index, replace(state, tokens=1.1 * state.tokens))
        return self.video.predicted(state)


def of_cogvideox(model: Steered, *, padded: bool) -> Tensor:
    """25 tokens, which no degree divides, in steps that no rank holds whole, each at a noise level of its own.
    `padded`: a sample has a step less."""
    stream = replace(cog_toy.clip(shape=(5, 2, 10)), time=torch.rand(2, 5))
    if padded:
        stream = replace(stream, mask=torch.arange(5) < torch.tensor([[5], [4]]))
    return model(stream, cog_toy.words()).square().mean()


def cogvideox(*, padded: bool = False) -> Stepped:
    """Of its units, modulation, attention and feed-forward."""
    loss = partial(of_cogvideox, padded=padded)
    return Stepped(make=Steered, loss=loss, units=lambda model: backbone_of(model).units(), kinds=3)


def of_mirage(model: JointDiT, *, padded: bool) -> Tensor:
    """25 tokens of video and 10 of the reference, which no degree divides, and 7 of the sound; or 25 and 11 of sounds.
    With 4 tokens of text. `padded`: the second sample has less of everything."""
    target = model.shape.target
    given = films() if target == "video" else sounds()
    if padded:
        for name, steps in (("reference", 0), ("sound", 5)):
            size = given[name].grid.shape[0]
            given[name] = replace(given[name], mask=torch.arange(size) < torch.tensor([[size], [steps]]))
    text = joint_toy.prompt(4, 2) if padded else replace(joint_toy.prompt(4, 4), without=frozenset({"text"}))
    return model(given, text)[target].square().mean()


def films() -> dict[str, Stream]:
    reference = joint_toy.reference(shape=(2, 2, 10))
    return {"video": joint_toy.video(shape=(5, 2, 10)), "reference": reference, "sound": joint_toy.sound()}


def sounds() -> dict[str, Stream]:
    voice = replace(joint_toy.sound(steps=11), role="reference", start=torch.full((2,), -11 / 25))
    return {"sound": replace(joint_toy.sound(steps=25), time=torch.rand(2), role="target"), "reference": voice}


def mirage(*, padded: bool = False) -> Stepped:
    """Of its units, those that enter a block: of four streams, and of the last layer's text and sound; and those that
    leave it, of four streams."""
    make = partial(joint_toy.toy, given_bias=-1.0, given_positions="relative")
    return Stepped(make=make, loss=partial(of_mirage, padded=padded), units=JointNetwork().units, kinds=6 + 4)


def mirage_audio() -> Stepped:
    return replace(mirage(padded=True), make=joint_toy.spoken)


def of_mtv(model: Mtv, *, stepwise: bool) -> Tensor:
    """5 latent steps of 6 tokens: slices of 2, 3 and 4 ranks cut a step. Speech is masked for a part of one sample.
    `stepwise`: at a noise level for every latent step."""
    video = mtv_toy.video(levels=torch.rand(2, 5) if stepwise else None, steps=5)
    given = mtv_toy.streams(model) | {"video": video}
    given["speech"] = replace(given["speech"], mask=torch.arange(19) < torch.tensor([[19], [9]]))
    return model(given, mtv_toy.condition())["video"].square().mean()


POOLED = {"speakers": 2}
BY_INTERVAL = {"music": "interval", "injection": "shared", "intervals": 2}


def mtv(backbone: str, keys: dict[str, Any], *, stepwise: bool) -> Stepped:
    """Of its units, those of CogVideoX, or the halves of a block of Wan; the control adds an encoder, an interaction
    and an injection."""
    make = partial(mtv_toy.toy, backbone, **keys)
    kinds = (2 if backbone == "wan" else 3) + 3
    return Stepped(make=make, loss=partial(of_mtv, stepwise=stepwise), units=MtvNetwork().units, kinds=kinds)


def mova(*, padded: bool = False) -> Stepped:
    """Of its units, the blocks of two towers, and the conditioners of two directions."""
    loss = partial(one_step.loss_of, padded=padded)
    return Stepped(make=one_step.toy, loss=loss, units=MOVA.network().units, kinds=4)


NETWORKS = {
    "CogVideoX": cogvideox(),
    "CogVideoX, padded": cogvideox(padded=True),
    "Mirage": mirage(),
    "Mirage, padded": mirage(padded=True),
    "Mirage audio, padded": mirage_audio(),
    "MTV": mtv("cogvideox", POOLED, stepwise=True),
    "MTV at one level": mtv("cogvideox", POOLED, stepwise=False),
    "MTV by interval": mtv("cogvideox", BY_INTERVAL, stepwise=True),
    "MTV without rotations": mtv("cogvideox-sincos", BY_INTERVAL, stepwise=True),
    "MTV on Wan": mtv("wan", POOLED, stepwise=False),
    "MTV on Wan by interval": mtv("wan", BY_INTERVAL, stepwise=False),
    "MOVA": mova(),
    "MOVA, padded": mova(padded=True),
}
