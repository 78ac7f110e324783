"""Measures what autograd keeps of a forward pass and what sequence groups send, to compare the plan with."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from talkies.flow.loss import per_sample_loss
from talkies.models.build import initialise
from talkies.models.mova.config import PRESETS, BridgeConfig, JointConfig, MovaShape
from talkies.models.mova.network import Mova
from talkies.models.mova.system import MOVA
from talkies.models.wan.config import TowerConfig
from talkies.nn.rope import Rope
from talkies.parallel.config import DdpConfig, Fsdp2Config
from talkies.planning.parameters import skeleton
from talkies.planning.profile import Profiler
from talkies.planning.standin import tensors
from talkies.planning.work import Work
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text
from talkies.training.config import AllConfig, LoraConfig

MID = MovaShape(
    video=TowerConfig(
        dim=384, ffn_dim=1024, heads=8, layers=3, patch=(1, 2, 2), in_channels=26, out_channels=12, text_dim=128
    ),
    audio=TowerConfig(
        dim=288, ffn_dim=768, heads=6, layers=2, patch=(1,), in_channels=16, out_channels=16, text_dim=128
    ),
    bridge=BridgeConfig(layers=2, rate=50.0),
)
SHAPES = {"toy": PRESETS["toy"], "mid": MID}
LATENTS: dict[str, dict[str, tuple[int, ...]]] = {
    "toy": {"video": (7, 8, 8), "audio": (27,)},
    "mid": {"video": (5, 16, 18), "audio": (101,)},
}
TEXTS, CLIPS = {"toy": 24, "mid": 61}, 2
BUILT = frozenset({"video_high", "audio", "bridge"})


def grids(name: str) -> dict[str, Grid]:
    shape, sizes = SHAPES[name], LATENTS[name]
    return {
        "video": Grid(channels=shape.video.out_channels, shape=sizes["video"], rate=Fraction(6)),
        "audio": Grid(channels=shape.audio.out_channels, shape=sizes["audio"], rate=Fraction(50)),
    }


def tokens(name: str) -> dict[str, int]:
    patches = {"video": SHAPES[name].video.patch, "audio": SHAPES[name].audio.patch}
    return {m: grid.tokens(patches[m]) for m, grid in grids(name).items()}


def network(name: str) -> Mova:
    model = Mova(SHAPES[name], components=BUILT)
    initialise(model, 0)
    return model


def loss(model: Mova, name: str) -> Tensor:
    """The loss of one micro-batch, as a phase computes it."""
    shape, geometry = SHAPES[name], grids(name)
    extra = shape.video.in_channels - shape.video.out_channels
    streams: dict[str, Stream] = {}
    for m, grid in geometry.items():
        condition = torch.zeros(CLIPS, extra, *grid.shape) if m == "video" else None
        latent = torch.zeros(CLIPS, *grid.latent_shape)
        streams[m] = Stream(latent=latent, time=torch.rand(CLIPS), grid=grid, condition=condition)
    text = Text(embedding=torch.randn(CLIPS, TEXTS[name], shape.video.text_dim), length=torch.full((CLIPS,), 3))
    out = model(streams, Condition(texts={"text": text}))
    valid = {m: torch.ones(CLIPS, grid.shape[0], dtype=torch.bool) for m, grid in geometry.items()}
    losses = [per_sample_loss(out[m], torch.zeros_like(out[m]), valid[m]).mean() for m in out]
    return torch.stack(losses).sum()


class _Casts(TorchDispatchMode):
    """Collects the storages of parameters that autocast casts: they do not count as activations."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__()
        self.kept = list(parameters)
        self.weights = {p.untyped_storage()._cdata for p in self.kept}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].untyped_storage()._cdata in self.weights:
            self.kept.append(out)
            self.weights.add(out.untyped_storage()._cdata)
        return out


def saved(model: nn.Module, forward: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """Bytes of the storages that `forward` keeps for its backward pass, each counted once, without parameters."""
    found, out = storages(model, forward)
    return sum(found.values()), out


def storages(
    model: nn.Module, forward: Callable[[], Tensor], recomputed: Iterable[nn.Module] = ()
) -> tuple[dict[int, int], Tensor]:
    """Storage -> bytes of what `forward` keeps for its backward pass, without parameters; also of the tensors within
    what `recomputed` units are called with (in tuples, mappings, dataclasses), which recomputation keeps in closures
    that no hook sees."""
    casts, found, alive = _Casts(model.parameters()), {}, []

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in casts.weights:
            found[storage._cdata] = storage.nbytes()
            alive.append(x)
        return x

    def note(_: nn.Module, args: Any, kwargs: Any) -> None:
        for x in tensors(((*args, *kwargs.values()),)):
            pack(x)

    handles = [unit.register_forward_pre_hook(note, with_kwargs=True) for unit in recomputed]
    with casts, torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = forward()
    for handle in handles:
        handle.remove()
    return found, out


@contextmanager
def ropes_of(units: Iterable[nn.Module]) -> Iterator[dict[int, int]]:
    """Storage -> bytes of every RoPE that the units are called with."""
    found: dict[int, int] = {}

    def note(_: nn.Module, args: Any) -> None:
        for value in args:
            for rope in value if isinstance(value, tuple) else (value,):
                if isinstance(rope, Rope):
                    storage = rope.rotations.untyped_storage()
                    found[storage._cdata] = storage.nbytes()

    handles = [unit.register_forward_pre_hook(note) for unit in units]
    yield found
    for handle in handles:
        handle.remove()


SENT = {
    "all_to_all_single": ("exchange", lambda size, n: size * (n - 1) / n),
    "all_gather_into_tensor": ("all_gather", lambda size, n: size * (n - 1)),
    "all_gather_single": ("all_gather", lambda size, n: size * (n - 1)),
    "reduce_scatter_tensor": ("reduce_scatter", lambda size, n: size * (n - 1) / n),
    "reduce_scatter_single": ("reduce_scatter", lambda size, n: size * (n - 1) / n),
    "all_reduce": ("all_reduce", lambda size, n: 2 * size * (n - 1) / n),
}
"""Collective (older and newer names) -> its kind, and the bytes that a ring of n ranks sends for `size` input bytes."""


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """The bytes that this rank sends to others, by kind; collectives issued by DDP's C++ code are not seen."""
    sent = dict.fromkeys((kind for kind, _ in SENT.values()), 0)

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        kind, share = SENT[name]

        def call(*args: Any, **kwargs: Any) -> Any:
            tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
            given = kwargs.get("input", tensors[-1])
            sent[kind] += round(share(given.nbytes, dist.get_world_size(kwargs.get("group"))))
            return real(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in SENT:
            if hasattr(dist, name):
                patch.setattr(dist, name, counting(name, getattr(dist, name)))
        yield sent


def setup(name: str) -> Any:
    """The joint phase of this shape, as a system sees it."""
    text = SimpleNamespace(dim=SHAPES[name].video.text_dim, length=TEXTS[name])
    codecs = {"video": SimpleNamespace(stride=2), "audio": None, "text": text}
    return SimpleNamespace(model=SimpleNamespace(shape=SHAPES[name], bridge=True), phase=JointConfig(), codecs=codecs)


def profiler(name: str, rank: int = 0) -> Profiler:
    """What profiles the same network; with a LoRA of this rank, 0 if all weights train."""
    model, geometry = skeleton(MOVA, setup(name), BUILT), grids(name)
    train = LoraConfig(rank=rank) if rank else AllConfig()
    return Profiler(MOVA, setup(name), model, grids=geometry | {"image": geometry["video"]}, train=train)


def work(name: str, degree: int, *, checkpointing: bool, mode: str) -> Work:
    """The same according to the plan. mode: fp32, bf16 (the weights of blocks, as FSDP casts them) or autocast."""
    layout = DdpConfig() if mode == "autocast" else Fsdp2Config(shard=degree, sequence=degree)
    return Work(
        tokens=tokens(name), inactive=frozenset({"video_low"}), bf16=mode != "fp32", clips=CLIPS, accumulate=1,
        layout=layout, checkpointing=checkpointing,
    )  # fmt: skip
