"""The conditions of requests: latents as they are given, or encoded from media."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from talkies.config import DataError
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.streams.batch import Stream

Tiles = tuple[int, int] | None
"""Side and overlap of the squares in which pictures are coded; None: they are coded as a whole."""


def condition_of(model: Generator, requests: Sequence[Request], name: str, tiles: Tiles = None) -> Stream | None:
    """The stream `name` that the requests give, or None if they leave it out. `tiles`: pictures are encoded in them."""
    stored = model.system.stored(model.setup.codecs)[name]
    if stored.of == "passage":
        return _passages(model, requests, name)
    if name in requests[0].latents:
        latent = torch.stack([r.latents[name] for r in requests]).to(model.device)
    elif name in requests[0].given:
        latent = _encoded(model, requests, name, tiles)
    elif stored.of == "first frame":
        latent = _first_frames(model, requests, tiles)
    elif stored.of == "reference" and any(r.image is not None for r in requests):
        latent = _stills(model, requests, name, tiles)
    else:
        return None
    return Stream(
        latent=latent,
        time=torch.zeros(len(requests), device=model.device),
        grid=model.grids[name],
        role="reference" if stored.of == "reference" else "condition",
        start=_starts(model, requests, name) if stored.of == "reference" else None,
    )


def _starts(model: Generator, requests: Sequence[Request], name: str) -> Tensor:
    """When the references of the requests were seen; an image without a time counts as seen right after the clip, as
    most of those that a preparation takes are."""
    assert model.shape is not None, "a reference belongs to a video"
    end = model.shape[0] / model.fps
    return torch.tensor([r.starts.get(name, end) for r in requests], device=model.device)


def latents_of(model: Generator, codec: str, frames: Tensor, tiles: Tiles) -> Tensor:
    """The latents [B, C, T, h, w] of frames on the model's device; frames that are encoded in tiles visit it a tile at
    a time."""
    place = model.device if tiles is None else "cpu"
    return model.codecs.latent(codec, frames.to(place), tiles).to(model.device)


def _encoded(model: Generator, requests: Sequence[Request], name: str, tiles: Tiles) -> Tensor:
    """The latents [B, C, *shape] of media that the requests give."""
    codec, values = model.codec_of(name), torch.stack([r.given[name] for r in requests])
    if codec in model.codecs.audio:
        return model.codecs.audio[codec].encode(values.to(model.device))
    return latents_of(model, codec, values, tiles)


def _passages(model: Generator, requests: Sequence[Request], name: str) -> Stream | None:
    """Passages of any lengths, encoded each alone, as if they ended where the clip begins; padding is masked. None if
    the requests leave them out."""
    if name not in requests[0].latents and name not in requests[0].given:
        return None
    latents = [_passage(model, r, name) for r in requests]
    lengths = torch.tensor([latent.shape[1] for latent in latents], device=model.device)
    steps = int(lengths.max())
    grid = replace(model.grids[name], shape=(steps,))
    return Stream(
        latent=torch.stack([torch.nn.functional.pad(x, (0, steps - x.shape[1])) for x in latents]),
        time=torch.zeros(len(requests), device=model.device),
        grid=grid,
        role="reference",
        mask=None if bool((lengths == steps).all()) else torch.arange(steps, device=model.device) < lengths[:, None],
        start=-lengths / float(grid.rate),
    )


def _passage(model: Generator, request: Request, name: str) -> Tensor:
    """The latents [C, T] of a passage that is given as latents, or as samples."""
    if name in request.latents:
        return request.latents[name].to(model.device)
    codec = model.codecs.audio[model.codec_of(name)]
    return codec.encode(request.given[name][None].to(model.device))[0]


def _first_frames(model: Generator, requests: Sequence[Request], tiles: Tiles) -> Tensor:
    """The latent [B, C, T, h, w] of (first frame, then mid-grey frames), encoded whole (docs/mova.md: First frame)."""
    name, shape = model.stream_of("video"), model.shape
    assert name is not None, "a first frame belongs to a video"
    assert shape is not None
    frames, height, width = shape
    place = model.device if tiles is None else "cpu"
    clips = torch.zeros(len(requests), frames, 3, height, width, device=place)
    for clip, r in zip(clips, requests, strict=True):
        given = r.given.get(name)
        first = r.image if given is None else given[0]
        clip[0] = 1.0 if first is None else _checked(first, r.id, height, width)
    return latents_of(model, model.codec_of(name), clips, tiles)


def _stills(model: Generator, requests: Sequence[Request], name: str, tiles: Tiles) -> Tensor:
    """The latents [B, C, T, h, w] of clips in which the image stands still, as long as the reference's Grid."""
    images = []
    for r in requests:
        if r.image is None:
            raise ValueError(f"request {r.id} has no image, but others of the batch have one")
        images.append(r.image)
    return _standing(model, requests, name, images, tiles)


def first_steps(model: Generator, requests: Sequence[Request], name: str, tiles: Tiles) -> Tensor:
    """The first latent step [B, C, 1, h, w] of clips in which the image stands still (without one, mid-grey)."""
    assert model.shape is not None
    grey = torch.zeros(3, *model.shape[1:])
    images = [grey if r.image is None else r.image for r in requests]
    return _standing(model, requests, name, images, tiles)[:, :, :1]


def _standing(
    model: Generator, requests: Sequence[Request], name: str, images: Sequence[Tensor], tiles: Tiles
) -> Tensor:
    """The latents [B, C, T, h, w] of clips of `still_frames` frames that all show one image, one for each request."""
    codec = model.codec_of(name)
    assert model.shape is not None
    _, height, width = model.shape
    checked = [_checked(image, r.id, height, width) for image, r in zip(images, requests, strict=True)]
    frames = model.codecs.video[codec].still_frames
    return latents_of(model, codec, torch.stack(checked)[:, None].expand(-1, frames, -1, -1, -1), tiles)


def _checked(image: Tensor, name: str, height: int, width: int) -> Tensor:
    if image.shape != (3, height, width):
        raise DataError(
            f"image of request {name} has shape {tuple(image.shape)}, but the grid needs (3, {height}, {width}); "
            "read it with talkies.generate.image.load_image"
        )
    if not bool(image.abs().max() <= 1):
        raise DataError(
            f"image of request {name} has values outside [-1, 1]: scale its 0..255 pixels by 1 / 127.5 and subtract 1"
        )
    return image
