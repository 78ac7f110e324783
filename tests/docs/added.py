"""Run with the changed code of contributing.md on the path: what the page adds does what it says."""

import sys
from math import isclose
from pathlib import Path

import torch
from analytic import GaussianDenoiser, streams, text
from talkies.codecs.pooled_video import PooledVideoCodec
from talkies.flow.heun import heun

import talkies
from talkies.codecs.config import PooledVideoConfig
from talkies.config.decode import decode
from talkies.config.source import load
from talkies.evaluation.metric_info import METRICS
from talkies.evaluation.report import evaluate_clips
from talkies.flow.euler import euler
from talkies.flow.schedule import sigma_grid
from talkies.recipe.check import check
from talkies.recipe.config import PhaseRecipe
from talkies.streams.batch import Condition
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
    condition = Condition(text=text(0.75, -1.0))

    def error(solve: object, steps: int) -> float:
        denoiser, start = GaussianDenoiser(std=0.5), streams()
        grid = {m: sigma_grid(steps, 5.0) for m in start}
        found = solve(denoiser, start, condition, grid, boundary=0.9)  # type: ignore[operator]
        mean = denoiser.mean(condition)
        exact = {m: mean.view(-1, *[1] * (s.latent.ndim - 1)) + 0.5 * s.latent for m, s in start.items()}
        return max(float((found[m] - exact[m]).abs().max()) for m in found)

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


def recipe() -> None:
    """The new keys decode, agree with the preset, and may be gated on; a recipe without them is as it was."""
    path = ROOT / "recipes" / "mova" / "toy" / "joint_phase1.yaml"
    new = ["codecs.video.kind=pooled_video", "sampling.sampler=heun"]
    gate = "tracking.gates=[{metric: evaluation/level_db, op: '<=', value: 3}]"
    found = decode(PhaseRecipe, load(path, [*new, gate]))
    check(found)
    assert (found.codecs.video.kind, found.sampling.sampler) == ("pooled_video", "heun")
    assert decode(PhaseRecipe, load(path)).sampling.sampler == "euler"


assert Path(talkies.__file__).is_relative_to(ROOT)
for part in (metric, sampler, codec, recipe):
    part()
