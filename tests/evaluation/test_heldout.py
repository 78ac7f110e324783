"""Held-out loss at fixed noise."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from talkies.codecs.config import LinearVideoConfig
from talkies.evaluation.heldout import heldout_loss
from talkies.flow.config import CosmapWeighting, FlowConfig, ShiftedSchedule, VPredictionTarget
from talkies.flow.draw import gaussian
from talkies.models.build import build
from talkies.models.mova.config import COMPONENTS, PRESETS, JointConfig, MovaConfig
from talkies.models.mova.network import MovaNetwork
from talkies.models.mova.system import MOVA
from talkies.streams import Grid
from talkies.streams.batch import Batch, Condition, Denoiser, Stream, Text

TOY = PRESETS["toy"]
GRIDS: dict[str, Grid] = {
    "video": Grid(channels=TOY.video.out_channels, shape=(2, 2, 2), rate=Fraction(6)),
    "audio": Grid(channels=TOY.audio.out_channels, shape=(4,), rate=Fraction(25)),
    "image": Grid(channels=TOY.video.out_channels, shape=(2, 2, 2), rate=Fraction(6)),
}
FLOW = FlowConfig(schedule=ShiftedSchedule(shifts={"video": 5.0, "audio": 1.0}))
SETUP = SimpleNamespace(
    model=MovaConfig(preset="toy"), phase=JointConfig(), codecs={"video": LinearVideoConfig(stride=2)}
)
FIXED = {"inputs": partial(MovaNetwork().inputs, SETUP), "inactive": MOVA.parts(SETUP).inactive}


def losses(
    denoiser: Denoiser,
    batches: list[Batch],
    bins: int,
    targets: tuple[str, ...] = ("video", "audio"),
    *,
    flow: FlowConfig = FLOW,
    seed: int = 3,
) -> dict[str, float]:
    return heldout_loss(denoiser, batches, flow, targets, bins=bins, seed=seed, **FIXED)


def batch(first: int, last: int, names: tuple[str, ...] = ("video", "audio", "image")) -> Batch:
    """Clips first ... last - 1 of an endless set; each is the same in any batch."""
    ids = tuple(f"clip{i}" for i in range(first, last))
    latents = {m: gaussian(0, ids, [0] * len(ids), m, GRIDS[m].latent_shape) for m in names}
    embedding = gaussian(0, ids, [0] * len(ids), "text", (5, 64))
    return Batch(
        ids=ids,
        visits=tuple(range(len(ids))),
        streams={
            m: Stream(
                latent=x,
                time=torch.zeros(len(ids)),
                grid=GRIDS[m],
                mask=torch.ones(len(ids), GRIDS[m].shape[0], dtype=torch.bool),
            )
            for m, x in latents.items()
        },
        captions={"text": ids},
        texts={"text": Text(embedding=embedding, length=torch.full((len(ids),), 5))},
        null_texts={"text": Text(embedding=torch.zeros(1, 5, 64), length=torch.ones(1, dtype=torch.int64))},
    )


def mask_of(given: Batch) -> Tensor:
    mask = given.streams["audio"].mask
    assert mask is not None
    return mask


class Zero:
    """A denoiser that predicts zeros and records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, float], set[str]]] = []

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        self.calls.append(({m: float(s.time[0]) for m, s in streams.items()}, set(condition.inactive)))
        return {m: torch.zeros_like(s.latent) for m, s in streams.items()}


def test_keys_levels_and_experts() -> None:
    denoiser = Zero()
    metrics = losses(denoiser, [batch(0, 2)], 2)
    assert list(metrics) == [
        "heldout/video", "heldout/video/bin0", "heldout/video/bin1",
        "heldout/audio", "heldout/audio/bin0", "heldout/audio/bin1",
    ]  # fmt: skip
    (low, late), (high, early) = denoiser.calls
    assert low == pytest.approx({"video": 5 * 0.25 / 2, "audio": 0.25})
    assert high == pytest.approx({"video": 5 * 0.75 / 4, "audio": 0.75})
    assert (late, early) == ({"video_high"}, {"video_low"})
    assert metrics["heldout/video"] == pytest.approx(
        (metrics["heldout/video/bin0"] + metrics["heldout/video/bin1"]) / 2
    )


def test_a_known_velocity_gives_a_known_loss() -> None:
    """Zero prediction: the loss is the mean square of noise - data, with the noise of (seed, id, bin)."""
    given = batch(0, 3)
    metrics = losses(Zero(), [given], 1)
    noise = gaussian(3, given.ids, [0, 0, 0], "heldout/audio", GRIDS["audio"].latent_shape)
    assert metrics["heldout/audio"] == pytest.approx(
        float((noise - given.streams["audio"].latent).square().mean()), rel=1e-6
    )
    again = losses(Zero(), [given], 1, seed=4)
    assert again["heldout/audio"] != metrics["heldout/audio"]


def test_does_not_depend_on_the_batch_size_or_visits() -> None:
    model = build(MOVA, SETUP, COMPONENTS, seed=0).eval()
    collective = losses(model, [batch(0, 5)], 3)
    apart = losses(model, [batch(0, 2), batch(2, 5)], 3)
    assert collective == pytest.approx(apart, rel=1e-6)
    assert collective == losses(model, [batch(0, 5)], 3)
    assert all(p.grad is None for p in model.parameters())


def test_one_stream_alone() -> None:
    metrics = losses(Zero(), [batch(0, 2, ("audio",))], 1, ("audio",))
    assert set(metrics) == {"heldout/audio", "heldout/audio/bin0"}


def test_padding_does_not_count() -> None:
    given = batch(0, 2, ("audio",))
    mask_of(given)[0, 2:] = False
    metrics = losses(Zero(), [given], 1, ("audio",))
    given.streams["audio"].latent[0, :, 2:] = 100
    assert losses(Zero(), [given], 1, ("audio",)) == metrics
    mask_of(given)[0] = False
    alone = losses(Zero(), [batch(1, 2, ("audio",))], 1, ("audio",))
    assert losses(Zero(), [given], 1, ("audio",)) == alone


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 is needed"):
        losses(Zero(), [batch(0, 1)], 0)
    with pytest.raises(ValueError, match="no clips"):
        losses(Zero(), [], 1)
    given = batch(0, 1, ("audio",))
    mask_of(given)[:] = False
    with pytest.raises(ValueError, match="no clip holds valid audio"):
        losses(Zero(), [given], 1, ("audio",))


def test_only_the_targets_are_noised_and_measured() -> None:
    """The first frame goes to the network as it is; a stream that is no target stays clean."""
    denoiser = Zero()
    assert losses(denoiser, [batch(0, 2)], 1, ("audio",)).keys() == {"heldout/audio", "heldout/audio/bin0"}
    assert denoiser.calls == [({"video": 0.0, "audio": 0.5}, set())]


def test_the_objective_of_training_is_measured() -> None:
    """Its target and its weighting."""
    given = batch(0, 3)
    x0, noise = (
        given.streams["audio"].latent,
        gaussian(3, given.ids, [0] * 3, "heldout/audio", GRIDS["audio"].latent_shape),
    )
    target = (noise - x0) / 2**0.5
    found = losses(Zero(), [given], 1, flow=replace(FLOW, target=VPredictionTarget()))
    assert found["heldout/audio"] == pytest.approx(float(target.square().mean()), rel=1e-5)
    weighted = losses(Zero(), [given], 1, flow=replace(FLOW, weighting=CosmapWeighting()))
    assert weighted["heldout/audio"] == pytest.approx(
        losses(Zero(), [given], 1)["heldout/audio"] * 4 / torch.pi, rel=1e-5
    )
