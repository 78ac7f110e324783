"""Makes the picture of the README: frames of a sample, its waveform, and the mouth's opening over the loudness.

python benchmarks/sample_picture.py runs/mova-toy-XXXXXXXX/0001/sample.mp4 docs/images/sample.png

The two curves are the signals of the synchronisation metric, measured on the decoded frames and sound. Command 1 of the
README writes a suitable file.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from talkies.media.frames import read_frames
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.world.sync import correlation, loudness_envelope, mouth_opening

FRAMES, SIDE, WAVE = 12, 96, 120
PAPER, WAVEFORM, LOUDNESS, MOUTH = "#ffffff", "#d5dae2", "#c8283c", "#1f4fa3"
LEGEND = 22


def opened(path: Path) -> tuple[Tensor, Tensor, int, float]:
    """Frames uint8 [F, 3, H, W], samples [S], sample rate and frame rate of a file."""
    info = probe(path)
    assert info.fps is not None, f"{path} has no video"
    assert info.frames is not None, f"{path} does not declare its number of frames"
    assert info.audio_rate is not None, f"{path} has no sound"
    frames = read_frames(path, frames=info.frames, fps=info.fps, height=info.height or 0, width=info.width or 0)
    samples = read_audio(path, sample_rate=info.audio_rate, seconds=info.frames / info.fps)
    return frames, samples, info.audio_rate, info.fps


def film(frames: Tensor) -> Image.Image:
    """FRAMES frames in a row, enlarged by an integer factor so that their pixels stay sharp."""
    chosen = frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)].permute(0, 2, 3, 1).numpy()
    factor = max(1, -(-SIDE // chosen.shape[1]))
    large = chosen.repeat(factor, 1).repeat(factor, 2)
    return Image.fromarray(np.concatenate(list(large), axis=1))


def curve(draw: ImageDraw.ImageDraw, signal: Tensor, width: int, top: int, colour: str) -> None:
    """Draw a signal [F], scaled from its minimum to its maximum, one point in the middle of each frame's time."""
    spread = (signal - signal.min()) / (signal.max() - signal.min())
    points = [((i + 0.5) * width / len(spread), top + (1 - float(v)) * (WAVE - 12) + 6) for i, v in enumerate(spread)]
    draw.line(points, fill=colour, width=3, joint="curve")


def picture(path: Path) -> Image.Image:
    """The whole picture."""
    frames, samples, rate, fps = opened(path)
    row = film(frames)
    page = Image.new("RGB", (row.width, row.height + WAVE + LEGEND), PAPER)
    page.paste(row)
    draw, top = ImageDraw.Draw(page), row.height
    edges = np.linspace(0, len(samples), row.width + 1).round().astype(int)
    peak = float(samples.abs().max())
    for x, (first, last) in enumerate(pairwise(edges)):
        part = samples[first:last] / peak * (WAVE - 12) / 2
        middle = top + WAVE / 2
        draw.line([(x, middle - float(part.max())), (x, middle - float(part.min()))], fill=WAVEFORM)
    mouth = mouth_opening(frames.float() / 127.5 - 1)
    loud = loudness_envelope(samples, rate, fps, len(frames))
    curve(draw, loud, row.width, top, LOUDNESS)
    curve(draw, mouth, row.width, top, MOUTH)
    font = ImageFont.load_default(14)
    y = top + WAVE + 3
    draw.text((8, y), "mouth opening, in the frames", fill=MOUTH, font=font)
    draw.text((230, y), "loudness, in the sound", fill=LOUDNESS, font=font)
    draw.text((410, y), f"correlation {correlation(mouth, loud):.2f}", fill="#46536b", font=font)
    return page


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sample", type=Path, help="an mp4 written by `talkies sample`")
    parser.add_argument("out", type=Path, help="the PNG")
    args = parser.parse_args()
    picture(args.sample).quantize(128).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
