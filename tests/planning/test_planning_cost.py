"""Parameters, FLOPs and bytes of a plan against the built modules, MOVA's published numbers and PyTorch's counts."""

import pytest
import torch
from mova_flops import attention_products
from mova_phases import ALL, GRIDS, grids_of, profiler, setup
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from talkies.models.build import build
from talkies.models.mova.system import MOVA
from talkies.models.wan.config import TowerConfig
from talkies.nn.attention import Attention
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig, DdpConfig, DeepspeedConfig, Fsdp2Config
from talkies.planning.activations import Activations
from talkies.planning.cost import compute, disk, h100_days
from talkies.planning.parameters import count_parts, parts_of, skeleton
from talkies.planning.work import Group, Part, Work
from talkies.planning.zero import rank_memory
from talkies.streams.batch import Condition, Stream, Text
from talkies.training.config import AllConfig, LoraConfig
from talkies.training.lora import add_lora

A14B, TOY = setup("a14b"), setup("toy")
HIGH = frozenset({"video_low"})
"""What is inactive in the turn of the high-noise expert."""


def test_full_scale_parameters_are_the_released_ones() -> None:
    parts = {part.name: part for part in count_parts(MOVA, A14B, ALL, AllConfig())}
    assert {name: part.built for name, part in parts.items()} == {
        "video_high": 14_288_901_184,
        "video_low": 14_288_901_184,
        "audio": 1_419_193_472,
        "bridge": 2_659_737_600,
    }
    assert all(part.trained == part.built for part in parts.values())


def test_full_scale_lora_is_upstreams() -> None:
    parts = count_parts(MOVA, A14B, ALL, LoraConfig(rank=16))
    assert [part.trained for part in parts] == [76_677_120, 76_677_120, 21_872_640, 25_559_040]
    assert sum(part.trained for part in count_parts(MOVA, A14B, ALL, LoraConfig(rank=8))) == 100_392_960


def test_bf16_masters_hold_the_frozen_matmuls_of_blocks_in_two_bytes() -> None:
    """By hand: of MOVA's adapter all but 1.5 % of the 32.7B frozen weights."""
    shape, model = A14B.model.shape, skeleton(MOVA, A14B, ALL)

    def linear(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs

    def blocks(tower: TowerConfig) -> int:
        ffn = linear(tower.dim, tower.ffn_dim) + linear(tower.ffn_dim, tower.dim)
        return tower.layers * (8 * linear(tower.dim, tower.dim) + ffn)

    def conditioner(own: TowerConfig, other: TowerConfig) -> int:
        return 2 * linear(own.dim, own.dim) + 2 * linear(other.dim, own.dim)

    video, audio = shape.video, shape.audio
    bridge = shape.bridge.layers * (conditioner(video, audio) + conditioner(audio, video))
    half = 2 * blocks(video) + blocks(audio) + bridge
    adapter = 76_677_120 + 76_677_120 + 21_872_640 + 25_559_040
    wide, lowered = (parts_of(MOVA, A14B, model, LoraConfig(rank=16), masters=masters) for masters in ("fp32", "bf16"))
    built = sum(part.built for part in lowered)
    assert 0.98 < half / built < 0.99
    layouts = {
        DdpConfig(): (4 * (built - half + adapter) + 2 * half, 2 * (built - half + adapter)),
        Fsdp2Config(shard=1): (4 * (built - half + adapter) + 2 * half, 0),
        DeepspeedConfig(shard=1, stage=3): (4 * (built - half + adapter) + 2 * half, None),
    }
    for layout, (weights, copies) in layouts.items():
        at_work = Work(tokens={}, bf16=True, clips=1, accumulate=1, layout=layout, checkpointing=False)
        before, after = (rank_memory(parts, at_work, Activations()) for parts in (wide, lowered))
        assert before.weights - after.weights == 2 * half
        assert after.weights == weights
        if copies is not None:
            assert after.half == copies
        assert (after.gradients, after.optimizer, after.ema) == (before.gradients, before.optimizer, before.ema)


def test_bf16_masters_change_nothing_of_what_trains() -> None:
    model = skeleton(MOVA, TOY, ALL)
    wide, lowered = (parts_of(MOVA, TOY, model, AllConfig(), masters=masters) for masters in ("fp32", "bf16"))
    assert all(not group.lowered for part in lowered for group in part.groups)
    assert [part.trained for part in lowered] == [part.trained for part in wide]


@pytest.mark.parametrize("targets", [("q", "k", "v", "o", "ffn.0", "ffn.2"), ("q",), ("ffn.2", "v")])
def test_planned_adapter_is_what_peft_adds(targets: tuple[str, ...]) -> None:
    config = LoraConfig(rank=3, targets=targets)
    model = build(MOVA, TOY, ALL, seed=0)
    add_lora(model, config, seed=0)
    added = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(part.trained for part in count_parts(MOVA, TOY, ALL, config)) == added


def test_only_what_is_built_is_counted() -> None:
    assert [part.name for part in count_parts(MOVA, TOY, frozenset({"audio"}), AllConfig())] == ["audio"]


def visible_attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention as plain matrix products, which PyTorch's counter sees on every device."""
    assert mask is None
    return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v


def step_flops(*, lora: bool, checkpointing: bool = False) -> int:
    """FLOPs that PyTorch counts in a forward and backward pass of the toy on one clip."""
    grids = grids_of("toy", *GRIDS["toy"])
    video, audio = grids["video"], grids["audio"]
    model = build(MOVA, TOY, ALL, seed=0)
    if lora:
        add_lora(model, LoraConfig(rank=1), seed=0)
    for module in model.modules():
        if isinstance(module, Attention):
            module.attend = visible_attend
    arrange(model, [*MOVA.network().units(model)], None, ComputeConfig(checkpointing=checkpointing), bf16=False)
    shape = TOY.model.shape
    extra = shape.video.in_channels - video.channels
    streams = {
        "video": Stream(
            latent=torch.zeros(1, *video.latent_shape),
            time=torch.tensor([0.5]),
            grid=video,
            condition=torch.zeros(1, extra, *video.shape),
        ),
        "audio": Stream(latent=torch.zeros(1, *audio.latent_shape), time=torch.tensor([0.5]), grid=audio),
    }
    text = Text(embedding=torch.zeros(1, 24, shape.video.text_dim), length=torch.tensor([24]))
    with FlopCounterMode(display=False) as counter:
        outputs: dict[str, Tensor] = model(streams, Condition(texts={"text": text}))  # type: ignore[arg-type]
        sum(output.sum() for output in outputs.values()).backward()  # type: ignore[union-attr]
    return counter.get_total_flops()


@pytest.mark.parametrize("lora", [False, True])
def test_planned_flops_are_those_of_a_step(lora: bool) -> None:
    """To the unit: gradients that nobody needs and the products of the adapters are counted as they are."""
    measured = step_flops(lora=lora)
    profile = profiler("toy", train=LoraConfig(rank=1) if lora else AllConfig()).whole(HIGH)
    planned = compute(profile, clips=1)
    assert planned.useful == measured
    again = step_flops(lora=lora, checkpointing=True)
    # PyTorch stops at the last tensor that a unit needs again, so that its last product is not repeated.
    assert planned.useful < again <= planned.with_recompute <= planned.useful + sum(planned.forward.values())
    assert again > 0.85 * planned.with_recompute
    assert compute(profile, clips=7).useful == 7 * planned.useful


def test_720p_flops_agree_with_the_published_training_time() -> None:
    planned = compute(profiler("720p").whole(HIGH), clips=64)
    once = sum(planned.forward.values())
    assert once == pytest.approx(3.05e16, rel=0.01)
    assert attention_products(A14B.model.shape, 176_400, 403, 512) / once == pytest.approx(0.84, abs=0.01)
    # A little less than twice the forward pass for the backward pass: gradients stop at the inputs.
    assert 3 * once * 64 > planned.useful == pytest.approx(3 * once * 64, rel=1e-4)
    # 20 days on 1,024 GPUs (MOVA, section 4 and table 7), about 77,000 steps
    assert h100_days(planned.with_recompute * 77_000) == pytest.approx(20 * 1024, rel=0.05)


def test_a_missing_bridge_or_modality_costs_nothing() -> None:
    assert set(profiler("toy", bridge=False).whole(HIGH).forward) == {"video_high", "audio"}
    assert set(profiler("toy", phase="audio_pretraining").whole(HIGH).forward) == {"audio"}
    assert set(profiler("toy", phase="video_pretraining").whole(HIGH).forward) == {"video_high"}


def test_disk_counts_the_best_and_the_one_being_written() -> None:
    ten = Group(block=False, count=1, trained=((10, 1),))
    planned = disk([Part(name="audio", built=10, groups=(ten,))], keep=2, write_rate=80.0)
    assert (planned.checkpoint, planned.peak, planned.release) == (160, 640, 40)
    assert planned.write_seconds == 2.0
