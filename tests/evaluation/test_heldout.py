"""Held-out loss at fixed noise."""

from collections.abc import Mapping
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from talkies.evaluation.heldout import heldout_loss
from talkies.flow.config import FlowConfig, StreamFlowConfig
from talkies.flow.draw import gaussian
from talkies.models.build import build_mova
from talkies.models.mova.config import PRESETS, MovaConfig
from talkies.streams import Grid, Modality
from talkies.streams.batch import Batch, Condition, Stream, Text

TOY = PRESETS["toy"]
GRIDS: dict[Modality, Grid] = {
    "video": Grid(channels=TOY.video.out_channels, shape=(2, 2, 2), rate=Fraction(6)),
    "audio": Grid(channels=TOY.audio.out_channels, shape=(4,), rate=Fraction(25)),
}
FLOW = FlowConfig(video=StreamFlowConfig(shift=5.0), audio=StreamFlowConfig(shift=1.0))
FIXED = {"seed": 3, "boundary": 0.9, "mask_channels": 2}


def batch(first: int, last: int, modalities: tuple[Modality, ...] = ("video", "audio")) -> Batch:
    """Clips first ... last - 1 of an endless set; each is the same in any batch."""
    ids = tuple(f"clip{i}" for i in range(first, last))
    shapes = {m: GRIDS[m].latent_shape for m in modalities}
    latents = {m: gaussian(0, ids, [0] * len(ids), m, shape) for m, shape in shapes.items()}
    embedding = gaussian(0, ids, [0] * len(ids), "text", (5, 64))
    return Batch(
        ids=ids,
        visits=tuple(range(len(ids))),
        captions=ids,
        latents=latents,
        masks={m: torch.ones(len(ids), shape[1], dtype=torch.bool) for m, shape in shapes.items()},
        padded=frozenset(),
        grids={m: GRIDS[m] for m in modalities},
        image=gaussian(0, ids, [0] * len(ids), "image", GRIDS["video"].latent_shape) if "video" in modalities else None,
        text=Text(embedding=embedding, length=torch.full((len(ids),), 5)),
        null_text=Text(embedding=torch.zeros(1, 5, 64), length=torch.ones(1, dtype=torch.int64)),
    )


class Zero:
    """A denoiser that predicts zeros and records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[Modality, float], int]] = []

    def __call__(self, streams: Mapping[Modality, Stream], condition: Condition) -> dict[Modality, Tensor]:
        self.calls.append(({m: float(s.time[0]) for m, s in streams.items()}, condition.expert))
        return {m: torch.zeros_like(s.latent) for m, s in streams.items()}


def test_keys_levels_and_experts() -> None:
    denoiser = Zero()
    metrics = heldout_loss(denoiser, [batch(0, 2)], FLOW, bins=2, **FIXED)
    assert list(metrics) == [
        "heldout/video", "heldout/video/bin0", "heldout/video/bin1",
        "heldout/audio", "heldout/audio/bin0", "heldout/audio/bin1",
    ]  # fmt: skip
    (low, late), (high, early) = denoiser.calls
    assert low == pytest.approx({"video": 5 * 0.25 / 2, "audio": 0.25})
    assert high == pytest.approx({"video": 5 * 0.75 / 4, "audio": 0.75})
    assert (late, early) == (1, 0)
    assert metrics["heldout/video"] == pytest.approx(
        (metrics["heldout/video/bin0"] + metrics["heldout/video/bin1"]) / 2
    )


def test_a_known_velocity_gives_a_known_loss() -> None:
    """Zero prediction: the loss is the mean square of noise - data, with the noise of (seed, id, bin)."""
    given = batch(0, 3)
    metrics = heldout_loss(Zero(), [given], FLOW, bins=1, **FIXED)
    noise = gaussian(3, given.ids, [0, 0, 0], "heldout/audio", GRIDS["audio"].latent_shape)
    assert metrics["heldout/audio"] == pytest.approx(float((noise - given.latents["audio"]).square().mean()), rel=1e-6)
    again = heldout_loss(Zero(), [given], FLOW, bins=1, **{**FIXED, "seed": 4})
    assert again["heldout/audio"] != metrics["heldout/audio"]


def test_does_not_depend_on_the_batch_size_or_visits() -> None:
    model = build_mova(
        MovaConfig(preset="toy"), components=frozenset({"video_high", "video_low", "audio", "bridge"}), seed=0
    ).eval()
    collective = heldout_loss(model, [batch(0, 5)], FLOW, bins=3, **FIXED)
    apart = heldout_loss(model, [batch(0, 2), batch(2, 5)], FLOW, bins=3, **FIXED)
    assert collective == pytest.approx(apart, rel=1e-6)
    assert collective == heldout_loss(model, [batch(0, 5)], FLOW, bins=3, **FIXED)
    assert all(p.grad is None for p in model.parameters())


def test_one_modality_alone() -> None:
    metrics = heldout_loss(Zero(), [batch(0, 2, ("audio",))], FLOW, bins=1, **FIXED)
    assert set(metrics) == {"heldout/audio", "heldout/audio/bin0"}


def test_padding_does_not_count() -> None:
    given = batch(0, 2, ("audio",))
    given.masks["audio"][0, 2:] = False
    metrics = heldout_loss(Zero(), [given], FLOW, bins=1, **FIXED)
    given.latents["audio"][0, :, 2:] = 100
    assert heldout_loss(Zero(), [given], FLOW, bins=1, **FIXED) == metrics
    given.masks["audio"][0] = False
    alone = heldout_loss(Zero(), [batch(1, 2, ("audio",))], FLOW, bins=1, **FIXED)
    assert heldout_loss(Zero(), [given], FLOW, bins=1, **FIXED) == alone


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 is needed"):
        heldout_loss(Zero(), [batch(0, 1)], FLOW, bins=0, **FIXED)
    with pytest.raises(ValueError, match="no clips"):
        heldout_loss(Zero(), [], FLOW, bins=1, **FIXED)
    given = batch(0, 1, ("audio",))
    given.masks["audio"][:] = False
    with pytest.raises(ValueError, match="no clip holds valid audio"):
        heldout_loss(Zero(), [given], FLOW, bins=1, **FIXED)
