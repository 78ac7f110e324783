"""Known beginnings of what is made: clean for a model that was shown clean latent steps, else noised and held.

Clean ones come from the request's `begins`, or are a still of its image.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from talkies.flow.held import Beginning
from talkies.flow.known import with_known
from talkies.generate.conditions import Tiles, first_steps
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.streams.batch import Stream


def check_beginnings(model: Generator, request: Request) -> None:
    """ValueError for a beginning of a stream that is not made, or of another shape."""
    for name, latent in request.begins.items():
        if name not in model.targets or name in request.given:
            raise ValueError(f"request {request.id} begins with {name}, which is not made")
        channels, steps, *space = model.grids[name].latent_shape
        known = latent.shape[1] if latent.ndim > 1 else 0
        if not 0 < known < steps or tuple(latent.shape) != (channels, known, *space):
            raise ValueError(
                f"request {request.id} begins with {name} latents {tuple(latent.shape)}: needed "
                f"{(channels, f'1 to {steps - 1}', *space)}"
            )


def beginnings_of(model: Generator, requests: Sequence[Request], streams: Mapping[str, Stream]) -> dict[str, Beginning]:
    """What is known of the streams that are made, but for those that take it clean; the latents of these streams are
    still the initial noise."""
    return {
        name: Beginning(data=_begins(model, requests, name), noise=streams[name].latent)
        for name in requests[0].begins
        if name not in model.known
    }


def _begins(model: Generator, requests: Sequence[Request], name: str) -> Tensor:
    return torch.stack([r.begins[name] for r in requests]).to(model.device)


def begun(model: Generator, requests: Sequence[Request], name: str, stream: Stream, tiles: Tiles) -> Stream:
    """With the known beginning of a stream that takes it clean: latent steps that are given, or a still."""
    if name not in model.known:
        return stream
    if name in requests[0].begins:
        return with_known(stream, _begins(model, requests, name), stream.time > 0)
    pictured = [r.image is not None for r in requests]
    if name != model.pictured or not any(pictured):
        return stream
    known = torch.tensor(pictured, device=model.device)
    return with_known(stream, first_steps(model, requests, name, tiles), known)
