"""How well a model makes one stream of a clip for another that is given."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from talkies.evaluation.given import given_metrics
from talkies.flow.config import SamplingConfig
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.runs.condition_arms import next_of
from talkies.runs.validation import first_frames
from talkies.signals.answer import check_signal
from talkies.streams.batch import Batch
from talkies.streams.codec import Media


def task_metrics(
    model: Generator, batches: Sequence[Batch], real: Sequence[Media], sampling: SamplingConfig, *, seed: int
) -> dict[str, float]:
    """`given_metrics` of every task of the model's phase that gives a stream, as `TASK/...`. `real`: the clips of the
    batches, decoded, in order."""
    metrics: dict[str, float] = {}
    for name, task in model.system.parts(model.setup).tasks.items():
        if not task.given:
            continue
        media = {model.stream_of("video"): "frames", model.stream_of("audio"): "samples"}
        fields = [media[stream] for stream in task.given]
        make = partial(_made, model, batches, sampling=sampling, streams=task.given, seed=seed)
        made, swapped = make(given=real), make(given=next_of(real))
        found = given_metrics(made, swapped, real, fields=fields)
        metrics |= {f"{name}/{key}": value for key, value in found.items()}
    return metrics


def _made(
    model: Generator,
    batches: Sequence[Batch],
    *,
    given: Sequence[Media],
    sampling: SamplingConfig,
    streams: frozenset[str],
    seed: int,
) -> list[Media]:
    """The clips of the batches, made with these streams of `given`."""
    clips: list[Media] = []
    for batch in batches:
        check_signal()
        images, start = first_frames(batch, model), len(clips)
        requests = [
            Request(
                prompts={text: captions[i] for text, captions in batch.captions.items()},
                image=images[i],
                id=name,
                given={stream: _values(model, given[start + i], stream) for stream in streams},
            )
            for i, name in enumerate(batch.ids)
        ]
        clips += generate(model, requests, sampling, seed=seed)
    return clips


def _values(model: Generator, clip: Media, stream: str) -> Tensor:
    """A stream of a clip as a request gives it."""
    if stream == model.stream_of("video"):
        assert clip.frames is not None
        return clip.frames
    assert clip.samples is not None
    assert model.samples is not None
    return torch.nn.functional.pad(clip.samples, (0, max(0, model.samples - len(clip.samples))))[: model.samples]
