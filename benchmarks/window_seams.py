"""Is a seam seen where a window of a long film goes over into the next?

    python benchmarks/window_seams.py runs/mirage-toy-XXXXXXXX/0001/4-reference [--speakers 8] [--seconds 8]

For the sounds of new speakers of the synthetic world, films are made with several overlaps of the windows: from the
sound alone, and with the caption and a picture of the speaker from another shot. `seam`: the largest change from a
frame to the next over each overlap (mean absolute difference of the pictures), on average, divided by that over as many
frames elsewhere in the film; 1 is no seam. `sync`: of the whole film. `s per s`: seconds for a second of film (of the
processor on a CPU).
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from torch import Tensor, cat

from talkies.flow.config import SamplingConfig, WindowsConfig
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.generate.windows import generate_long, windows_for
from talkies.models.systems import SYSTEMS
from talkies.runs.source import open_source
from talkies.streams.codec import Media
from talkies.world.config import SyntheticSource
from talkies.world.render import Scene, draw_scene
from talkies.world.sync import sync

NEW = 5
"""The seed of a source of speakers that no recipe trains on."""
OVERLAPS = (0.0, 0.08, 0.24, 0.4, 0.56)


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


def measured(
    model: Generator, sampling: SamplingConfig, asked: Mapping[str, Sequence[Request]], overlap: float
) -> tuple[int, float, dict[str, tuple[float | None, float]]]:
    """The number of windows, seconds per second, and for what is given the mean seam and synchronisation."""
    sampling = replace(sampling, windows=WindowsConfig(overlap=overlap))
    found: dict[str, tuple[float | None, float]] = {}
    clock = time.process_time if str(model.device) == "cpu" else time.perf_counter
    begin, length, windows = clock(), 0.0, None
    for given, requests in asked.items():
        seams, scores = [], []
        for request in requests:
            windows = windows_for(model, request, sampling)
            assert windows is not None, "the sound is longer than a clip"
            film = cat(list(generate_long(model, request, sampling, windows=windows, seed=0)))
            seams.append(seam(film, windows.begins[1:], windows.overlap))
            scores.append(sync(heard(model, film, request)).correlation)
            length += len(film) / model.fps
        whole = [value for value in seams if value is not None]
        found[given] = (fmean(whole) if whole else None, fmean(scores))
    assert windows is not None
    return len(windows.begins), (clock() - begin) / length, found


def heard(model: Generator, film: Tensor, request: Request) -> Media:
    """The film with the sound that it was made for."""
    assert model.listens is not None
    rate = model.codecs.audio[model.codec_of(model.listens)].sample_rate
    return Media(frames=film, fps=model.fps, samples=request.given[model.listens], sample_rate=rate)


def seam(film: Tensor, begins: Sequence[int], overlap: int) -> float | None:
    """The largest change over each seam, on average, over that elsewhere. A seam goes from the frame before a window's
    beginning to the first one after the overlap. None if no stretch of that length is free of seams."""
    change = (film[1:] - film[:-1]).abs().mean((1, 2, 3))
    largest = change.unfold(0, overlap + 1, 1).amax(1)
    at = [begin - 1 for begin in begins if begin - 1 < len(largest)]
    elsewhere = [i for i in range(len(largest)) if all(abs(i - place) > overlap for place in at)]
    return float(largest[at].mean() / largest[elsewhere].mean()) if elsewhere else None


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
    told = [requests_for(model, scene, i) for i, scene in enumerate(scenes(model, args.speakers, args.seconds))]
    asked = {given: [one[given] for one in told] for given in told[0]}
    print(f"| overlap | windows | s per s |{''.join(f' seam, {given} | sync, {given} |' for given in asked)}")
    print("|---" * (3 + 2 * len(asked)) + "|")
    for overlap in args.overlaps:
        count, seconds, found = measured(model, source.recipe.sampling, asked, overlap)
        cells = "".join(f" {'-' if a is None else f'{a:.2f}'} | {b:.3f} |" for a, b in found.values())
        print(f"| {overlap:.2f} s | {count} | {seconds:.2f} |{cells}", flush=True)


if __name__ == "__main__":
    main()
