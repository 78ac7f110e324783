"""From request to decoded clip: the code path that `sample`, validation and gates share."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from talkies.config import CheckpointError
from talkies.flow.config import SamplingConfig, Scale
from talkies.flow.guidance import StepDenoiser, guided
from talkies.flow.held import held
from talkies.flow.ladder import left_out
from talkies.flow.sampler import sample
from talkies.flow.schedule import level_grid
from talkies.generate.beginnings import beginnings_of, begun, check_beginnings
from talkies.generate.conditions import Tiles, condition_of
from talkies.generate.model import Generator
from talkies.generate.noise import Noise
from talkies.generate.request import Request
from talkies.streams import Grid
from talkies.streams.batch import Condition, Memory, Stream, Text
from talkies.streams.codec import Media


def generate(
    model: Generator,
    requests: Sequence[Request],
    sampling: SamplingConfig,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> list[Media]:
    """One Media per request, on the CPU: those that last equally long are made as one batch, or if `sampling.batch` is
    above 1, as batches of at most so many.

    `progress` is called with the number of steps that a batch has done. With frames, the sound is cut to their
    duration. Raises DataError for an image, a given stream or a grid that does not fit the codecs, ValueError for
    sampling values that cannot be used, CheckpointError for latents that are not finite.
    """
    assert requests, "at least one request"
    made: dict[int, Media] = {}
    groups = _groups(model, requests)
    for lasting, numbers in groups:
        _check(lasting, [requests[number] for number in numbers], sampling)
    for lasting, numbers in groups:
        size = len(numbers) if sampling.batch == 1 else sampling.batch
        for begin in range(0, len(numbers), size):
            some = numbers[begin : begin + size]
            media = _batch(lasting, [requests[number] for number in some], sampling, seed=seed, progress=progress)
            made |= dict(zip(some, media, strict=True))
    return [made[number] for number in range(len(requests))]


def _groups(model: Generator, requests: Sequence[Request]) -> list[tuple[Generator, list[int]]]:
    """The numbers of the requests for equally many latent steps, and the model for these."""
    found: dict[tuple[Grid, ...], tuple[Generator, list[int]]] = {}
    for number, request in enumerate(requests):
        lasting = model.lasting(request.seconds)
        found.setdefault(tuple(lasting.grids.values()), (lasting, []))[1].append(number)
    return [*found.values()]


def _batch(
    model: Generator,
    requests: Sequence[Request],
    sampling: SamplingConfig,
    *,
    seed: int,
    progress: Callable[[int], None] | None,
) -> list[Media]:
    made = [name for name in model.targets if name not in requests[0].given]
    prompts = {name: [r.prompts[name] for r in requests] for name in model.text_codecs}
    own = sampling.windows is not None and sampling.windows.noise == "own"
    noise = Noise(model=model, requests=requests, seed=seed, own=own)
    # Not inference_mode: training runs sample too, and what a network caches here (RoPE tables, FSDP's gathered
    # parameters) must remain usable in a later backward pass.
    with torch.no_grad():
        denoiser = _guided(model, requests, sampling)
        streams = _streams(model, requests, made, noise, tiles=sampling.tile_sides)
        latents = sample(
            sampling.sampler,
            held(denoiser, beginnings_of(model, requests, streams), model.target),
            model.system.network().inputs(model.setup, streams),
            Condition(texts=_encoded(model, prompts, len(requests))),
            {name: level_grid(sampling.schedule, name, sampling.steps) for name in made},
            target=model.target,
            noise=noise.added,
            inactive=model.system.parts(model.setup).inactive,
            on_step=progress,
        )
        return _decoded(model, requests, latents, sampling.tile_sides)


def _guided(model: Generator, requests: Sequence[Request], sampling: SamplingConfig) -> StepDenoiser:
    """The denoiser of every step, with guidance away from the negative prompts of the requests."""
    return guided(
        model.denoiser,
        model.system.ladder(model.setup),
        _scales(model, requests[0], sampling),
        _encoded(model, {name: _negatives(requests, name) for name in model.text_codecs}, len(requests)),
        steps=sampling.steps,
        skip_layer=sampling.skip_layer,
        reuse=sampling.reuse,
        batch=sampling.batch,
    )


def _scales(model: Generator, request: Request, sampling: SamplingConfig) -> dict[str, Scale]:
    """Without those of passages that are not given: evaluations with and without one are the same, and one is saved."""
    stored = model.system.stored(model.setup.codecs)
    given = request.given.keys() | request.latents.keys()
    absent = {name for name in model.grids if stored[name].of == "passage" and name not in given}
    return {name: scale for name, scale in sampling.scales.items() if name not in absent}


def _encoded(model: Generator, texts: Mapping[str, list[str]], batch: int) -> dict[str, Text]:
    """By name, for `batch` requests: one text for all, or one for each. What the network computes of them alone it
    computes once."""
    found = {
        name: model.texts.encoded(codec, model.codecs.text[codec], texts[name])
        for name, codec in model.text_codecs.items()
    }
    return {name: replace(text.to(model.device).expand(batch), cache=Memory()) for name, text in found.items()}


def _negatives(requests: Sequence[Request], name: str) -> list[str]:
    """What stands for a dropped text: of every request, or, if none names it, the empty caption once for all."""
    return [r.negative.get(name, "") for r in requests] if any(name in r.negative for r in requests) else [""]


def _check(model: Generator, requests: Sequence[Request], sampling: SamplingConfig) -> None:
    """Refuse invalid requests, and grids that do not fit the codecs, before anything is computed; warn of prompts that
    a text encoder truncates."""
    shape, _ = model.shape, model.samples
    scales = _scales(model, requests[0], sampling)
    replaced = left_out(model.system.ladder(model.setup), scales, sampling.steps) & model.text_codecs.keys()
    for r in requests:
        if r.image is not None and shape is None:
            raise ValueError(f"request {r.id} has an image, but no video is generated; remove the image")
        _check_alike(r, requests[0])
        if unknown := sorted(r.given.keys() - set(model.grids)):
            raise ValueError(f"request {r.id} gives {unknown[0]}, which this model does not have")
        check_beginnings(model, r)
        if unused := sorted(r.negative.keys() - replaced):
            raise ValueError(
                f"request {r.id} has a negative prompt for {unused[0]}, which no evaluation leaves out: set a guidance "
                "scale other than 1, or remove it"
            )
        for name, codec in model.text_codecs.items():
            for what, text in (("prompt", r.prompts[name]), ("negative prompt", r.negative.get(name, ""))):
                if excess := model.codecs.text[codec].overflow(text):
                    warnings.warn(
                        f"{what} of request {r.id} is too long: its last {excess} units are lost", stacklevel=3
                    )
    if not set(model.targets) - requests[0].given.keys():
        raise ValueError("every stream is given: nothing is left to make")


def _check_alike(request: Request, first: Request) -> None:
    """ValueError for conditions that only one of two requests of a batch has. (An image may be missing where a white
    frame or nothing stands for it.)"""
    for what, of_one, of_other in (
        ("have other given streams", request.given, first.given),
        ("have latents of other conditions", request.latents, first.latents),
        ("begin with other streams", request.begins, first.begins),
    ):
        if of_one.keys() != of_other.keys():
            raise ValueError(f"requests {request.id} and {first.id} of one batch {what}")


def _streams(
    model: Generator, requests: Sequence[Request], made: Sequence[str], noise: Noise, *, tiles: Tiles
) -> dict[str, Stream]:
    """The streams that are made, noise but for clean beginnings, and the conditions that are given."""
    ones = torch.ones(len(requests), device=model.device)
    streams: dict[str, Stream] = {}
    for name, grid in model.grids.items():
        if name in made:
            stream = Stream(latent=noise.initial(name), time=ones, grid=grid)
            streams[name] = begun(model, requests, name, stream, tiles)
        elif (condition := condition_of(model, requests, name, tiles)) is not None:
            streams[name] = condition
    return streams


def _decoded(model: Generator, requests: Sequence[Request], latents: Mapping[str, Tensor], tiles: Tiles) -> list[Media]:
    """The clips on the CPU, in [-1, 1]; a given stream as it was given."""
    for name, latent in latents.items():
        if not bool(latent.isfinite().all()):
            raise CheckpointError(
                f"sampled {name} latents are not finite: the weights are damaged, or the guidance scales are too large"
            )
    video, audio = model.stream_of("video"), model.stream_of("audio")
    frames = samples = None
    if video is not None and video in latents:
        frames = model.codecs.film(model.codec_of(video), latents[video], tiles).float().clamp(-1, 1)
    if audio is not None and audio in latents:
        sound = model.codecs.sound(model.codec_of(audio)).decode(latents[audio])
        samples = sound[:, : model.samples if video is not None else None].float().clamp(-1, 1).cpu()
    return [
        Media(
            frames=r.given.get(video or "") if frames is None else frames[i],
            fps=model.fps,
            samples=r.given.get(audio or "") if samples is None else samples[i],
            sample_rate=1 if audio is None else model.codecs.audio[model.codec_of(audio)].sample_rate,
        )
        for i, r in enumerate(requests)
    ]
