"""Is a seam seen where a window of a long film goes over into the next?

    python benchmarks/window_seams.py runs/mirage-toy-XXXXXXXX/0001/4-reference [--speakers 8] [--seconds 8]

For the sounds of new speakers of the synthetic world, films are made with several overlaps of the windows and both
kinds of noise: from the sound alone, and with the caption and a picture of the speaker from another shot. `seam`: the
largest change from a frame to the next (mean absolute difference) over each overlap, on average, divided by that over
as many frames within clips that are made apart; 1 is no seam. `sync`: of the whole film. `s per s`: seconds for a
second of film (of the processor on a CPU).
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean

from torch import Tensor, cat

from talkies.flow.config import SamplingConfig, WindowsConfig
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.generate.windows import Windows, generate_long, windows_for
from talkies.models.systems import SYSTEMS
from talkies.runs.source import open_source
from talkies.streams.codec import Media
from talkies.world.config import SyntheticSource
from talkies.world.render import Scene, draw_scene
from talkies.world.sync import sync

NEW = 5
"""The seed of a source of speakers that no recipe trains on."""
OVERLAPS = (0.0, 0.08, 0.24, 0.56, 1.04)


def scenes(model: Generator, count: int, seconds: float) -> Iterator[Scene]:
    """New speakers, each in two shots of this length."""
    assert model.shape is not None, "a model that listens makes frames"
    shot = round(seconds * model.fps)
    source = SyntheticSource(
        domain="speakers", clips=count, frames=2 * shot, shot=shot, fps=model.fps, size=model.shape[1], seed=NEW
    )
    return (draw_scene(source, index, 0) for index in range(count))


def requests_for(model: Generator, scene: Scene, index: int) -> dict[str, Request]:
    """What is given -> the request for the first shot: its sound alone, and all, with a picture from the second shot if
    the model reads one."""
    samples, frames = scene.media.samples, scene.media.frames
    assert model.listens is not None
    assert samples is not None
    assert frames is not None
    alone = Request(
        prompts=dict.fromkeys(model.text_codecs, ""),
        id=f"speaker-{index}",
        given={model.listens: samples[: len(samples) // 2]},
    )
    stored = model.system.stored(model.setup.codecs)
    refers = any(stored[name].of == "reference" for name in model.grids)
    image = frames[3 * len(frames) // 4] if refers else None
    every = replace(alone, prompts=dict.fromkeys(model.text_codecs, scene.caption), image=image)
    return {"sound": alone, "all": every}


def filmed(
    model: Generator, request: Request, sampling: SamplingConfig, config: WindowsConfig
) -> tuple[Tensor, Windows]:
    """The film for a long sound, and its windows."""
    chosen = replace(sampling, windows=config)
    windows = windows_for(model, request, chosen)
    assert windows is not None, "the sound is longer than a clip"
    return cat(list(generate_long(model, request, chosen, windows=windows, seed=0))), windows


def changes(film: Tensor) -> Tensor:
    """Mean absolute difference [F - 1] of each frame from the one before."""
    return (film[1:] - film[:-1]).abs().mean((1, 2, 3))


def clips_of(model: Generator, request: Request, sampling: SamplingConfig) -> list[Tensor]:
    """The changes within clips that are made apart."""
    film, windows = filmed(model, request, sampling, WindowsConfig(overlap=0.0, noise="own"))
    return [changes(film[at : at + windows.frames]) for at in windows.begins]


def seam(film: Tensor, windows: Windows, inside: Sequence[Tensor]) -> float:
    """The largest change within a seam, on average over seams, as a multiple of the largest one within as many frames
    of a clip (`inside`: the changes of clips). A seam begins before a window and ends after its overlap."""
    change, pairs = changes(film), windows.overlap + 1
    at = [float(change[begin - 1 : begin - 1 + pairs].max()) for begin in windows.begins[1:]]
    usual = [float(most) for clip in inside if len(clip) >= pairs for most in clip.unfold(0, pairs, 1).amax(1)]
    return fmean(at) / max(1e-9, fmean(usual))


def measured(
    model: Generator,
    sampling: SamplingConfig,
    asked: Sequence[tuple[Request, Sequence[Tensor]]],
    config: WindowsConfig,
) -> tuple[int, float, float, float]:
    """The number of windows, seconds per second, the mean seam and synchronisation of the films for requests, each with
    the changes within its clips."""
    clock = time.process_time if str(model.device) == "cpu" else time.perf_counter
    begin, length, count = clock(), 0.0, 0
    seams, scores = [], []
    for request, inside in asked:
        film, windows = filmed(model, request, sampling, config)
        seams.append(seam(film, windows, inside))
        scores.append(sync(heard(model, film, request)).correlation)
        length, count = length + len(film) / model.fps, len(windows.begins)
    return count, (clock() - begin) / length, fmean(seams), fmean(scores)


def heard(model: Generator, film: Tensor, request: Request) -> Media:
    """The film with the sound that it was made for."""
    assert model.listens is not None
    rate = model.codecs.audio[model.codec_of(model.listens)].sample_rate
    return Media(frames=film, fps=model.fps, samples=request.given[model.listens], sample_rate=rate)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run that makes video for a sound")
    parser.add_argument("--speakers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8.0, help="of the sound (8)")
    parser.add_argument("--overlaps", type=float, nargs="+", default=OVERLAPS, help="seconds")
    args = parser.parse_args(argv)
    source = open_source(str(args.run), Path, systems=SYSTEMS)
    model = source.generator()
    if model.listens is None or model.shape is None or model.shape[0] / model.fps >= args.seconds:
        parser.error(f"{args.run} needs no windows for {args.seconds:g} s of sound")
    sampling = source.recipe.sampling
    told = [requests_for(model, scene, i) for i, scene in enumerate(scenes(model, args.speakers, args.seconds))]
    print("| given | overlap | noise | windows | s per s | seam | sync |", "|---" * 7 + "|", sep="\n")
    for given in told[0]:
        asked = [(one[given], clips_of(model, one[given], sampling)) for one in told]
        for overlap, noise in product(args.overlaps, ("own", "shuffled")):
            config = WindowsConfig(overlap=overlap, noise=noise)
            count, seconds, jump, score = measured(model, sampling, asked, config)
            values = f"{overlap:.2f} s | {noise} | {count} | {seconds:.2f} | {jump:.2f} | {score:.3f}"
            print(f"| {given} | {values} |", flush=True)


if __name__ == "__main__":
    main()
