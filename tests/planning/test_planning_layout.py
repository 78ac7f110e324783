"""Plans of layouts: shares of tokens, bytes per rank, communication, step times, and layouts that fit a card."""

from dataclasses import replace
from math import gcd

import pytest
import torch
from mova_phases import ALL, TOKENS, grids_of, profiler, setup

from talkies.config import RecipeError
from talkies.models.build import build
from talkies.models.mova.system import MOVA
from talkies.parallel.config import DdpConfig, Fsdp2Config
from talkies.planning.activations import Activations, activations
from talkies.planning.communication import communication, sequence_bytes
from talkies.planning.cost import compute
from talkies.planning.gpu import MAX_RANKS, Fit, fit_memory, refuse, smallest
from talkies.planning.gpu_sizes import GPUS
from talkies.planning.layout import divisibility, shares
from talkies.planning.memory import memory
from talkies.planning.parameters import count_parts, skeleton
from talkies.planning.profile import Profile, Profiler
from talkies.planning.speed import Rate, speed
from talkies.planning.work import Work, active, dealt
from talkies.training.config import AllConfig, LoraConfig

FULL = setup("a14b")
PARTS = count_parts(MOVA, FULL, ALL, AllConfig())
PHASE2 = Work(
    tokens=TOKENS["360p"], inactive=frozenset({"video_low"}), bf16=True, clips=128, accumulate=1,
    layout=Fsdp2Config(replicate=64, shard=16, sequence=8), checkpointing=True,
)  # fmt: skip
PHASE3 = replace(PHASE2, tokens=TOKENS["720p"], clips=64, layout=replace(PHASE2.layout, sequence=16))
ALONE = replace(PHASE2, layout=DdpConfig(), clips=1)


def profile(work: Work, *, fused: bool = True) -> Profile:
    return profiler("360p" if work.tokens == PHASE2.tokens else "720p")(work, fused=fused)


def kept(work: Work, *, fused: bool = True) -> Activations:
    return activations(profile(work, fused=fused), checkpointing=work.checkpointing)


def test_tokens_are_padded_and_heads_need_not_divide() -> None:
    found = shares(PHASE2, profile(PHASE2))
    assert (found["video"].tokens, found["video"].padding) == (5390, 0)
    assert (found["audio"].tokens, found["audio"].padding) == (51, 5)
    assert (found["video"].exchange, found["video"].gather) == (8, 1)
    assert (found["audio"].exchange, found["audio"].gather) == (4, 2)
    assert {m: share.gather for m, share in shares(PHASE3, profile(PHASE3)).items()} == {"video": 2, "audio": 4}
    assert divisibility(PHASE2).batch == 128
    assert divisibility(PHASE2).sequences == (1, 2, 4, 8, 16)


@pytest.mark.parametrize(("work", "reported"), [(PHASE2, 4.6), (PHASE3, 22.5)])
def test_steps_take_the_published_time(work: Work, reported: float) -> None:
    """1,024 GPUs of 989 TFLOP/s at 35 %, counting recomputation; step times follow from MOVA, table 7."""
    geometry = "360p" if work is PHASE2 else "720p"
    rank, step = profile(work), compute(profiler(geometry).whole(work.inactive), clips=work.clips)
    found = speed(work, rank, step, Rate(peak=989e12, mfu=0.35))
    assert found.seconds == pytest.approx(reported, rel=0.25)
    assert found.mfu_recompute == pytest.approx(0.35, abs=0.005)
    assert found.mfu_useful == pytest.approx(0.75 * found.mfu_recompute, rel=1e-4)
    measured = speed(work, rank, step, Rate(measured=2 * found.sustained))
    assert measured.seconds == pytest.approx(found.seconds / 2)
    assert measured.mfu_recompute == pytest.approx(2 * found.mfu_recompute)
    eager = speed(replace(work, checkpointing=False), rank, step, Rate())
    assert eager.seconds == pytest.approx(0.75 * found.seconds, rel=1e-4)
    assert eager.mfu_useful == eager.mfu_recompute


def test_flops_of_a_sequence_group_are_those_of_one_rank_and_repeated_work() -> None:
    undivided = replace(PHASE2, layout=Fsdp2Config(shard=16), clips=16)
    whole, eighth = (sum(profile(work).forward.values()) for work in (undivided, PHASE2))
    assert whole == sum(profiler("360p").whole(PHASE2.inactive).forward.values())
    assert whole / 8 < eighth < 1.01 * whole / 8


def test_state_of_one_process_is_that_of_adamw() -> None:
    toy = setup("toy")
    model, parts = build(MOVA, toy, ALL, seed=0), count_parts(MOVA, toy, ALL, AllConfig())
    work = replace(ALONE, tokens=TOKENS["toy"], bf16=False)
    planned = memory(parts, work, activations(profiler("toy")(work), checkpointing=True))
    assert planned.weights == planned.ema == sum(p.nbytes for p in model.parameters())
    assert planned.optimizer == 2 * planned.weights
    at_work = [p for name, p in model.named_parameters() if not name.startswith("video_low.")]
    assert planned.gradients == sum(p.nbytes for p in at_work)
    assert (planned.half, planned.gathered, planned.reduced) == (0, 0, 0)
    held = (planned.weights, planned.gradients, planned.optimizer, planned.ema, planned.activations.total)
    assert planned.total == sum(held)
    assert memory(parts, replace(work, bf16=True), Activations()).half == planned.gradients // 2


def test_frozen_weights_have_no_state() -> None:
    parts = count_parts(MOVA, FULL, ALL, LoraConfig())
    planned = memory(parts, PHASE2, Activations())
    trained = sum(part.trained for part in parts)
    assert planned.optimizer == pytest.approx(8 * trained / 16, rel=0.001)
    assert planned.weights == pytest.approx(4 * (32_656_733_440 + trained) / 16, rel=0.002)


def test_the_fullest_rank_holds_the_rest_of_an_uneven_division() -> None:
    full = torch.empty(10, 3)
    assert dealt(((10, 3),), 4) == max(chunk.numel() for chunk in full.chunk(4)) == 9
    assert dealt(((1, 6),), 4) == 6
    assert dealt(((10, 3), (1, 6)), 1) == 36


def test_full_scale_state_is_16_bytes_per_parameter() -> None:
    """522 GB for 32.66 billion parameters: here with EMA, and the gradients of only one expert."""
    planned = memory(PARTS, PHASE2, Activations())
    state = planned.weights + planned.optimizer + planned.ema
    assert 16 * 32_656_733_440 / 16 < state == pytest.approx(16 * 32_656_733_440 / 16, rel=0.002)  # uneven rows
    assert planned.gradients == pytest.approx(4 * 18_367_832_256 / 16, rel=0.002)
    assert planned.host == state
    assert 2 * 2 * 351_394_304 < planned.gathered < 4e9


def test_activations_shrink_with_degree_and_recomputation() -> None:
    one, eight = (kept(replace(PHASE2, layout=Fsdp2Config(shard=16, sequence=n), clips=16 // n)) for n in (1, 8))
    assert eight.blocks == pytest.approx(one.blocks / 8, rel=0.06)  # text is whole on every rank
    everything = kept(replace(PHASE2, checkpointing=False))
    assert everything.blocks > 40 * eight.blocks
    assert everything.ends == eight.ends
    assert kept(PHASE2, fused=False).blocks > eight.blocks


def test_communication() -> None:
    found = communication(PARTS, PHASE2, profile(PHASE2))
    gradients = 4 * 18_367_832_256
    assert found.reduce_scatter == pytest.approx(gradients * 15 / 16, rel=0.002)
    assert found.all_reduce == pytest.approx(2 * gradients / 16 * 63 / 64, rel=0.002)
    assert found.ddp == 0
    assert found.total == sum(value for key, value in vars(found).items())
    twice = communication(PARTS, replace(PHASE2, accumulate=2, clips=256), profile(PHASE2))
    assert twice.total == 2 * found.total
    alone = communication(PARTS, replace(PHASE2, layout=DdpConfig(replicate=128)), profile(ALONE))
    assert alone.ddp == alone.total == 2 * 127 * 4 * 32_656_733_440 // 128
    exchange, gather = sequence_bytes(replace(PHASE2, checkpointing=False), profile(PHASE2))
    assert exchange / found.exchange == pytest.approx(2 / 3, rel=0.001)
    assert gather < found.gather
    assert sequence_bytes(PHASE2, profile(replace(PHASE2, layout=Fsdp2Config(shard=16), clips=1024))) == (0, 0)


@pytest.mark.parametrize("card", GPUS)
def test_the_smallest_layout_fits_and_divides(card: int) -> None:
    found = smallest(PARTS, PHASE2, card, profiler=profiler("360p"))
    assert found is not None
    layout = Fsdp2Config(shard=found.shard, sequence=found.sequence)
    work = replace(PHASE2, layout=layout, accumulate=found.accumulate, checkpointing=True)
    assert (work.micro, gcd(found.shard, found.sequence)) == (1, found.sequence)
    assert memory(PARTS, work, kept(work)).total == found.bytes <= card * 10**9
    for shard in (n for n in (1, 2, 4, 8, 16, 32) if n < found.shard):
        for sequence in (n for n in (1, 2, 4, 8, 16, 32) if n <= shard):
            smaller = replace(
                work, layout=Fsdp2Config(shard=shard, sequence=sequence), accumulate=128 // (shard // sequence)
            )
            assert memory(PARTS, smaller, kept(smaller)).total > card * 10**9
    assert str(found.shard) in found.overrides()


def test_cards_in_order() -> None:
    shards = [
        found.shard
        for found in (smallest(PARTS, PHASE3, card, profiler=profiler("720p")) for card in GPUS)
        if found is not None
    ]
    assert shards == sorted(shards, reverse=True)
    assert fit_memory(PARTS, PHASE2, 80, profiler=profiler("360p")).fits


def test_a_layout_that_does_not_fit_is_refused_in_one_line() -> None:
    with pytest.raises(RecipeError, match=r"phase2 needs 53\.\d GB .* 24 GB; the smallest .*shard: \d+") as caught:
        refuse("phase2", PHASE2, fit_memory(PARTS, PHASE2, 24, profiler=profiler("360p")))
    assert "\n" not in str(caught.value)
    with pytest.raises(RecipeError, match=f"no layout of at most {MAX_RANKS} ranks"):
        refuse("x", PHASE2, Fit(card=24, bytes=10**12, fits=False, smallest=None))


def test_no_layout_fits_an_endless_clip() -> None:
    grids = grids_of("a14b", (500, 2000, 2000), (403,))
    endless = replace(PHASE2, tokens=PHASE2.tokens | {"video": 500_000_000})
    profiled = Profiler(MOVA, FULL, skeleton(MOVA, FULL, ALL), grids=grids, train=AllConfig())
    assert smallest(PARTS, endless, 24, profiler=profiled) is None


def test_one_expert_is_active_at_a_time() -> None:
    assert [part.name for part in active(PARTS, PHASE2.inactive)] == ["video_high", "audio", "bridge"]
