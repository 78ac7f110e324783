"""One tower on one device: its training step with several ways to compute the blocks, on the same weights."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from talkies.flow.loss import per_sample_loss
from talkies.models.build import initialise
from talkies.models.mova.config import AudioPretrainingConfig, MovaShape, VideoPretrainingConfig
from talkies.models.mova.network import Mova
from talkies.models.mova.system import MOVA
from talkies.models.wan.config import TowerConfig
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig, DdpConfig
from talkies.parallel.mesh import Mesh
from talkies.planning.activations import activations
from talkies.planning.cost import compute
from talkies.planning.memory import memory
from talkies.planning.parameters import parts_of
from talkies.planning.profile import Profiler
from talkies.planning.work import Work
from talkies.recipe.check import check
from talkies.recipe.config import PhaseRecipe
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text
from talkies.training.ema import Ema
from talkies.training.optimizer import parameter_groups

Forwards = list[Callable[..., Tensor]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A tower of `shape` over `clips` clips, with the other settings of `recipe`. With `trains`, a step includes
    optimizer and EMA; else it is forward and backward only."""

    modality: str
    component: str
    recipe: PhaseRecipe
    shape: MovaShape
    grid: Grid
    clips: int
    trains: bool

    @property
    def tower(self) -> TowerConfig:
        """Sizes."""
        return self.shape.video if self.modality == "video" else self.shape.audio

    @property
    def text(self) -> int:
        """Tokens of a caption."""
        text: Any = self.recipe.codecs["text"]
        length: int = text.length
        return length

    def work(self, *, checkpointing: bool = False) -> Work:
        """The work as planning describes it: bf16 autocast, one process."""
        return Work(
            tokens={self.modality: self.grid.tokens(self.tower.patch)}, inactive=frozenset({"video_low"}), bf16=True,
            clips=self.clips, accumulate=1, layout=DdpConfig(), checkpointing=checkpointing,
        )  # fmt: skip

    @cached_property
    def setup(self) -> Any:
        """The phase that trains the tower alone."""
        phase = VideoPretrainingConfig() if self.modality == "video" else AudioPretrainingConfig()
        model = SimpleNamespace(shape=self.shape, bridge=False)
        return SimpleNamespace(model=model, phase=phase, codecs=self.recipe.codecs)

    @cached_property
    def profiler(self) -> Profiler:
        """Counts what the tower does."""
        grids = {self.modality: self.grid} | ({"image": self.grid} if self.modality == "video" else {})
        return Profiler(MOVA, self.setup, self.built(), grids=grids, train=self.recipe.train)

    @property
    def flops(self) -> int:
        """Useful FLOPs of a step: forward and backward, without recomputation."""
        return compute(self.profiler.whole(self.work().inactive), clips=self.clips).useful

    def planned(self, arm: ComputeConfig) -> int:
        """Peak memory in bytes, as `talkies plan` estimates it for a GPU."""
        work, parts = (
            self.work(checkpointing=arm.checkpointing),
            parts_of(MOVA, self.setup, self.built(), self.recipe.train),
        )
        estimate = memory(parts, work, activations(self.profiler(work), checkpointing=arm.checkpointing))
        return estimate.total - (0 if self.trains else estimate.optimizer + estimate.ema)

    def built(self) -> Mova:
        """The tower on the meta device."""
        with torch.device("meta"):
            return Mova(self.shape, components=frozenset({self.component}))


def cases(recipe: PhaseRecipe, *, blocks: int, clips: int) -> Iterator[Case]:
    """The audio tower, trained, and a stack of `blocks` video blocks, at the geometry of a joint recipe."""
    shape, grids = recipe.model.shape, check(recipe)
    yield Case(
        modality="audio", component="audio", recipe=recipe, shape=shape, grid=grids["audio"], clips=clips, trains=True
    )
    stack = replace(shape, video=replace(shape.video, layers=blocks))
    yield Case(
        modality="video", component="video_high", recipe=recipe, shape=stack, grid=grids["video"], clips=1, trains=False
    )


class Bench:
    """A case with weights on `device`, built as in training: on the meta device, arranged, then initialised."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self.case, self.device = case, device
        self.mesh = Mesh(device=device, weights=None, sequence=None, data_rank=0, data_world=1)
        self.model = case.built()
        self.blocks = [*MOVA.network().units(self.model)]
        arrange(self.model, self.blocks, self.mesh, ComputeConfig(), bf16=True)
        self.model.to_empty(device=device)
        initialise(self.model, 0)
        self.parameters = dict(self.model.named_parameters())
        if case.trains:
            config = case.recipe.optimizer
            groups = parameter_groups(self.model, config, MOVA.components(case.recipe))
            self.optimizer = torch.optim.AdamW(groups, lr=config.lr["towers"], betas=config.betas, eps=config.eps)
            self.ema = Ema(self.parameters, case.recipe.ema)
        self.stream, self.condition = _inputs(case, device)
        self.target = torch.randn_like(self.stream.latent)
        self.valid = torch.ones(case.clips, case.grid.shape[0], dtype=torch.bool, device=device)

    def arranged(self, arm: ComputeConfig) -> Forwards:
        """The forward function of each block under `arm`."""
        for block in self.blocks:
            vars(block).pop("forward", None)
        arrange(self.model, self.blocks, self.mesh, arm, bf16=True)
        return [block.forward for block in self.blocks]

    def step(self, forwards: Sequence[Callable[..., Tensor]]) -> float:
        """Run one step; returns seconds. Old gradients are freed after the forward pass, as in Lightning."""
        for block, forward in zip(self.blocks, forwards, strict=True):
            vars(block)["forward"] = forward
        self._finish()
        began = time.perf_counter()
        with torch.autocast(self.device.type, torch.bfloat16):
            out = self.model({self.case.modality: self.stream}, self.condition)[self.case.modality]
            loss = per_sample_loss(out, self.target, self.valid).mean()
        self.model.zero_grad()
        loss.backward()
        if self.case.trains:
            torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.case.recipe.optimizer.clip)
            self.optimizer.step()
            self.ema.update(self.parameters)
        self._finish()
        return time.perf_counter() - began

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _inputs(case: Case, device: torch.device) -> tuple[Stream, Condition]:
    grid, config, clips = case.grid, case.tower, case.clips
    extra = config.in_channels - config.out_channels
    stream = Stream(
        latent=torch.randn(clips, *grid.latent_shape, device=device),
        time=torch.rand(clips, device=device),
        grid=grid,
        condition=torch.zeros(clips, extra, *grid.shape, device=device) if extra else None,
    )
    text = torch.randn(clips, case.text, config.text_dim, device=device)
    length = torch.full((clips,), case.text, device=device)
    return stream, Condition(texts={"text": Text(embedding=text, length=length)})
