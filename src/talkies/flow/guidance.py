"""Classifier-free guidance over two conditions, text and Bridge (MOVA, section 5.1, eq. 6, and section 7.2)."""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import NamedTuple

from torch import Tensor

from talkies.streams import Modality
from talkies.streams.batch import Condition, Denoiser, Stream, Text


class Branch(NamedTuple):
    """The conditions of one evaluation of the denoiser: the caption or the empty one; modalities coupled or not."""

    text: bool
    bridge: bool


FULL = Branch(text=True, bridge=True)
LADDER = (Branch(text=False, bridge=False), Branch(text=False, bridge=True), FULL)


def rungs(text_scale: float, bridge_scale: float) -> list[tuple[Branch, float]]:
    """The branches that the scales need, each with the scale of its difference from the previous one (1 for the first).

    v = 1 v(0,0) + s_B [v(0,c_B) - v(0,0)] + s_T [v(c_T,c_B) - v(0,c_B)] is a ladder of three scales (1, s_B, s_T).
    Collected by branch, each v has the weight (own scale - next scale), so a branch whose scale equals the next one
    drops out (and so does the last if its scale is 0): (1, 1) needs one evaluation; s_B = 1 or s_B = s_T two; s_T = 1
    with another s_B three, because v(0,c_B) keeps the weight s_B - 1.
    """
    scales = (1.0, bridge_scale, text_scale)
    steps = zip(LADDER, scales, (*scales[1:], 0.0), strict=True)
    return [(branch, scale) for branch, scale, following in steps if scale != following]


def guided(denoiser: Denoiser, *, null_text: Text, text_scale: float, bridge_scale: float) -> Denoiser:
    """A denoiser that extrapolates from the empty caption (batch 1) and from uncoupled modalities; a scale of 1 is off.

    Evaluates `denoiser` once per branch needed (see `rungs`) and combines in fp32; (1, 1) returns `denoiser` itself.
    Raises ValueError if a scale is not finite and, when called, if a Bridge scale has no Bridge to act on.
    """
    for name, scale in (("text_scale", text_scale), ("bridge_scale", bridge_scale)):
        if not isfinite(scale):
            raise ValueError(f"sampling.{name} is {scale}: it must be a finite number, 1 for no guidance")
    needed = rungs(text_scale, bridge_scale)
    if needed == [(FULL, 1.0)]:
        return denoiser

    def call(streams: Mapping[Modality, Stream], condition: Condition) -> dict[Modality, Tensor]:
        if bridge_scale != 1:
            _check_coupled(streams, condition, bridge_scale)
        (first, _), *others = needed
        below = result = _evaluate(denoiser, streams, condition, first, null_text)
        for branch, scale in others:
            above = _evaluate(denoiser, streams, condition, branch, null_text)
            result = {m: v + scale * (above[m] - below[m]) for m, v in result.items()}
            below = above
        return result

    return call


def _check_coupled(streams: Mapping[Modality, Stream], condition: Condition, bridge_scale: float) -> None:
    if len(streams) < 2 or not condition.coupled:
        found = f"only {', '.join(streams)} is denoised" if len(streams) < 2 else "the modalities are not coupled"
        raise ValueError(
            f"sampling.bridge_scale is {bridge_scale}, but {found}, so there is no Bridge to guide with; "
            "set sampling.bridge_scale to 1"
        )


def _evaluate(
    denoiser: Denoiser, streams: Mapping[Modality, Stream], condition: Condition, branch: Branch, null_text: Text
) -> dict[Modality, Tensor]:
    text = condition.text if branch.text else _expand(null_text, condition.text.embedding.shape[0])
    coupled = condition.coupled and branch.bridge
    velocities = denoiser(streams, replace(condition, text=text, coupled=coupled))
    return {m: v.float() for m, v in velocities.items()}


def _expand(text: Text, batch: int) -> Text:
    return Text(embedding=text.embedding.expand(batch, -1, -1), length=text.length.expand(batch))
