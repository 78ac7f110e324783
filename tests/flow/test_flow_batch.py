"""Branches of guidance that differ in their texts alone go through the network together, with the same results."""

from collections.abc import Mapping

import pytest
import torch
from analytic import JOINT, GaussianDenoiser, captioned, streams, text
from test_flow_reuse import STEPS, dropped
from torch import Tensor

from talkies.flow.config import AnnealedScale, ReuseConfig, Scale, SkipLayerConfig
from talkies.flow.guidance import guided
from talkies.models.mova.system import MOVA
from talkies.streams.batch import Condition, Stream

LADDER, CONDITION = MOVA.ladder(JOINT), captioned(0.75, 1.75)
NULLS = {"text": text(0.25, -0.5)}
ALL: dict[str, Scale] = {"text": 3.0, "bridge": 2.0}


class Remembering(GaussianDenoiser):
    """With a block of attention in every stream, of which `attended` counts the rows; results depend on the step."""

    def __init__(self) -> None:
        super().__init__(std=0.7, coupling=0.5)
        self.step, self.attended = 0, 0

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        found = super().__call__(streams, condition)
        return {m: v + condition.recall(m)(lambda m=m: self.attention(streams[m], condition)) for m, v in found.items()}

    def attention(self, stream: Stream, condition: Condition) -> Tensor:
        self.attended += len(stream.latent)
        shift = self.mean(condition) + len(condition.skipped) + self.step
        return stream.latent.sin() + shift.view(-1, *[1] * (stream.latent.ndim - 1))


def outputs(batch: int, scales: Mapping[str, Scale], **options: object) -> tuple[Remembering, list[dict[str, Tensor]]]:
    """Of every step."""
    denoiser, found = Remembering(), []
    at = guided(denoiser, LADDER, scales, NULLS, steps=STEPS, batch=batch, **options)  # type: ignore[arg-type]
    for step in range(STEPS):
        denoiser.step = step
        found.append(at(step)(streams(), CONDITION))
    return denoiser, found


def rows(denoiser: GaussianDenoiser) -> list[int]:
    return [len(seen["video"].latent) for seen in denoiser.seen]


@pytest.mark.parametrize(("batch", "calls"), [(1, [2, 2, 2]), (3, [2, 2, 2]), (4, [2, 4]), (9, [2, 4])])
def test_as_many_branches_go_together_as_fit(batch: int, calls: list[int]) -> None:
    """Two clips; the rung without the Bridge has a network of its own."""
    _, alone = outputs(1, ALL)
    denoiser, found = outputs(batch, ALL)
    assert rows(denoiser) == calls * STEPS
    assert [c.without for c in denoiser.calls[: len(calls)]] == [{"bridge"}, *[frozenset()] * (len(calls) - 1)]
    for one, other in zip(alone, found, strict=True):
        for m in one:
            torch.testing.assert_close(other[m], one[m], rtol=0, atol=1e-5)


def test_texts_are_joined_once_for_all_steps() -> None:
    denoiser, _ = outputs(4, ALL)
    together = [c.texts["text"] for c, n in zip(denoiser.calls, rows(denoiser), strict=True) if n == 4]
    assert len(together) == STEPS
    assert all(one is together[0] for one in together)
    assert together[0].length.shape == (4,)


@pytest.mark.parametrize("scales", [ALL, {"text": AnnealedScale(first=4.0, last=1.0), "bridge": 2.0}])
@pytest.mark.parametrize(
    "reuse",
    [
        ReuseConfig(after=0.3, attention_every=3),
        ReuseConfig(after=0.3, branches_every=3),
        ReuseConfig(after=0.3, attention_every=2, branches_every=3),
    ],
)
@pytest.mark.parametrize("skip", [None, SkipLayerConfig(layers=(1,))])
def test_reuse_gives_and_keeps_each_branch_its_own(
    scales: Mapping[str, Scale], reuse: ReuseConfig, skip: SkipLayerConfig | None
) -> None:
    one, alone = outputs(1, scales, reuse=reuse, skip_layer=skip)
    denoiser, found = outputs(8, scales, reuse=reuse, skip_layer=skip)
    assert sum(rows(denoiser)) == sum(rows(one))
    assert len(denoiser.calls) < len(one.calls)
    assert denoiser.attended == one.attended
    for step in range(STEPS):
        for m in alone[step]:
            torch.testing.assert_close(found[step][m], alone[step][m], rtol=0, atol=1e-5)


def test_one_at_a_time_is_what_it_was() -> None:
    """In the order of the ladder, and with the texts as they are."""
    denoiser, _ = outputs(1, ALL)
    assert [dropped(c) - {"text"} for c in denoiser.calls[:3]] == [{"bridge"}, frozenset(), frozenset()]
    assert denoiser.calls[2].texts["text"] is CONDITION.texts["text"]
