"""Run with the changed code of contributing.md on the path: what the page adds does what it says."""

import sys
from dataclasses import replace
from math import isclose
from pathlib import Path

import torch
from analytic import GaussianDenoiser, captioned, streams
from talkies.codecs.pooled_video import PooledVideoCodec

import talkies
from talkies.codecs.config import PooledVideoConfig
from talkies.config.source import load
from talkies.evaluation.metric_info import METRICS
from talkies.evaluation.report import evaluate_clips
from talkies.flow.config import (
    EulerSampler,
    HeunSampler,
    ParabolaWeighting,
    PowerSchedule,
    SamplerConfig,
    ShiftedSchedule,
)
from talkies.flow.loss import weight_of
from talkies.flow.sampler import sample
from talkies.flow.schedule import level_grid, level_of, u_of
from talkies.flow.tasks import chances
from talkies.models.mova.system import TASKS
from talkies.models.systems import SYSTEMS
from talkies.recipe.check import check
from talkies.recipe.config import decode_phase
from talkies.streams.codec import Media, VideoCodec

ROOT = Path(sys.argv[1])


def clip(gain: float) -> Media:
    sound = gain * torch.sin(torch.arange(16000) / 10)
    return Media(frames=None, fps=12.5, samples=sound, sample_rate=16000)


def metric() -> None:
    """Half the amplitude is 6.02 dB below, and a card shows it."""
    found = evaluate_clips([clip(0.25), clip(0.25)], [clip(0.5), clip(0.5)])
    assert isclose(found["level_db"], -6.0206, abs_tol=1e-3), found
    assert evaluate_clips([clip(0.5)] * 2, [clip(0.5)] * 2)["level_db"] == 0
    assert "evaluation/level_db" in {measure.key for measure in METRICS}


def sampler() -> None:
    """Of second order, where `euler` is of first."""
    condition = captioned(0.75, -1.0)

    def error(config: SamplerConfig, steps: int) -> float:
        denoiser, start = GaussianDenoiser(std=0.5), streams()
        levels = {name: level_grid(ShiftedSchedule(), name, steps) for name in start}
        found = sample(config, lambda _: denoiser, start, condition, levels)
        mean = denoiser.mean(condition)
        exact = {m: mean.view(-1, *[1] * (s.latent.ndim - 1)) + 0.5 * s.latent for m, s in start.items()}
        return max(float((found[m] - exact[m]).abs().max()) for m in found)

    heun, euler = HeunSampler(), EulerSampler()
    assert error(heun, 20) / error(heun, 40) > 3.5
    assert error(euler, 20) / error(euler, 40) < 2.5


def codec() -> None:
    """Latents of the Grid that the configuration says; what it has kept comes back."""
    made: VideoCodec = PooledVideoCodec(PooledVideoConfig())
    latent = made.encode(torch.rand(2, 25, 3, 32, 48) * 2 - 1)
    assert tuple(latent.shape[1:]) == made.grid(25, 32, 48, 12.5).latent_shape
    frames = made.decode(latent)
    assert frames.shape == (2, 25, 3, 32, 48)
    assert torch.allclose(made.encode(frames), latent, atol=1e-6)


def objective() -> None:
    """The weighting has mean 1; the schedule has its inverse and a grid; the task is drawn on its turn alone."""
    t = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    weight = weight_of(ParabolaWeighting(), t)
    assert weight is not None
    assert isclose(float(weight.mean()), 1.0, abs_tol=1e-3)
    schedule = PowerSchedule(power=3.0)
    for u in (0.0, 0.3, 0.9, 1.0):
        assert isclose(u_of(schedule, "video", level_of(schedule, "video", u)), u)
    assert level_grid(schedule, "video", 4) == [1.0, 0.75**3, 0.5**3, 0.25**3, 0.0]
    shares = {"joint": 0.75, "refine": 0.25}
    high, low = chances({name: replace(TASKS[name], share=share) for name, share in shares.items()}, 2)
    assert (high, low) == ({"joint": 1.0}, {"refine": 0.5, "joint": 0.5})


def adapter_format() -> None:
    """Alpha / rank times up times down is what each layer of the adapter adds; `talkies export` writes it."""
    a, b = torch.randn(2, 4), torch.randn(3, 2)
    weights = {"base_model.model.net.q.lora_A.weight": a, "base_model.model.net.q.lora_B.weight": b}
    config = '{"r": 2, "lora_alpha": 4, "target_modules": ["q"]}'
    with tempfile.TemporaryDirectory() as temporary:
        release, out = Path(temporary) / "release", Path(temporary) / "out"
        base = {"sha256": "0" * 64, "path": temporary, "name": "base"}
        write_release(release, components={}, info=INFO, adapter=(weights, config), base=base)
        assert main(["export", str(release), "--adapter", "kohya", "--out", str(out)]) == 0
        found = load_file(out / "adapter.safetensors")
    down, up, alpha = (found[f"lora_unet_net_q.{key}"] for key in ("lora_down.weight", "lora_up.weight", "alpha"))
    assert torch.equal(alpha / len(down) * up @ down, 4 / 2 * b @ a)


def recipe() -> None:
    """The new keys decode, agree with the preset, and may be gated on; a recipe without them is as it was."""
    path = ROOT / "recipes" / "mova" / "toy" / "joint_phase1.yaml"
    new = ["codecs.video.kind=pooled_video", "sampling.sampler.kind=heun", "flow.weighting={kind: parabola}"]
    new += ["flow.schedule={kind: power}", "phase.tasks={joint: 0.75, refine: 0.25}"]
    gate = "tracking.gates=[{metric: evaluation/level_db, op: '<=', value: 3}]"
    found = decode_phase(load(path, [*new, gate]), SYSTEMS)
    check(found)
    assert (found.codecs["video"].kind, found.sampling.sampler.kind) == ("pooled_video", "heun")
    assert decode_phase(load(path), SYSTEMS).sampling.sampler.kind == "euler"


assert Path(talkies.__file__).is_relative_to(ROOT)
for part in (metric, sampler, objective, codec, adapter_format, recipe):
    part()
