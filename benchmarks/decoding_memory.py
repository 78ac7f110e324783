"""The memory that decoding and encoding take on a device, and what tiles change: `python
benchmarks/decoding_memory.py`.

Bytes are counted on the meta device, with the sizes of the released VAEs: every tensor that is alive at once beside the
weights, in fp32, but no workspace of a kernel. Errors are those of VAEs with random weights, small ones, against
coding as a whole.
"""

import argparse
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLMochi, AutoencoderKLWan
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from talkies.codecs.cogvideox import CogVideoXVideoCodec
from talkies.codecs.config import CogVideoXVideoConfig, MochiVideoConfig, WanVideoConfig
from talkies.codecs.geometry import frames_of
from talkies.codecs.mochi import MochiVideoCodec
from talkies.codecs.video_vae import VideoVae
from talkies.codecs.wan import WanVideoCodec

SIZES = {"wan": (720, 1280, 49), "mochi": (480, 848, 5), "cogvideox": (480, 720, 13)}
"""Height, width and latent steps that are decoded together: eight seconds of MOVA; of Mochi any number, by piece;
of CogVideoX 49 frames."""
SMALL = 192, 320
"""Pixels, for errors."""


class Live(TorchDispatchMode):
    """Counts the bytes of the storages that operators make, while they are alive: `now` and at the `peak`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and count what it made."""
        out = func(*args, **(kwargs or {}))
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in given | self._known:
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: Any) -> None:
        size, key = storage.nbytes(), storage._cdata
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def released(kind: str, device: str) -> VideoVae:
    """The VAE of its released size, with random weights."""
    with torch.device(device):
        if kind == "wan":
            return WanVideoCodec(WanVideoConfig(), AutoencoderKLWan())
        if kind == "cogvideox":
            return CogVideoXVideoCodec(CogVideoXVideoConfig(), AutoencoderKLCogVideoX())
        return MochiVideoCodec(MochiVideoConfig(), AutoencoderKLMochi())


def small(kind: str) -> VideoVae:
    """One of a fraction of the channels."""
    torch.manual_seed(0)
    if kind == "wan":
        return WanVideoCodec(WanVideoConfig(), AutoencoderKLWan(base_dim=4, z_dim=16, num_res_blocks=1))
    if kind == "cogvideox":
        network = AutoencoderKLCogVideoX(block_out_channels=(32,) * 4, layers_per_block=1)
        return CogVideoXVideoCodec(CogVideoXVideoConfig(), network)
    widths = {"encoder_block_out_channels": (32,) * 4, "decoder_block_out_channels": (32,) * 4}
    return MochiVideoCodec(MochiVideoConfig(), AutoencoderKLMochi(**widths, layers_per_block=(1,) * 5))


def peak(vae: VideoVae, latent: Tensor, *, joined: bool) -> int:
    """The most bytes beside weights and latent, where the pictures leave the device, or are `joined` on it."""
    with torch.no_grad(), Live() as live:
        made: Any = vae.network.decode(latent[None]).sample if joined else None
        for made in () if joined else vae.pictures(latent):
            del made
    return live.peak


def encoding_peak(vae: VideoVae, frames: Tensor) -> int:
    """The most bytes beside weights, `frames` among them."""
    with torch.no_grad(), Live() as live:
        vae.network.encode(frames)
    return live.peak + frames.nbytes


def memory(kind: str, tiles: Iterable[int]) -> None:
    """Print the peaks."""
    height, width, steps = SIZES[kind]
    vae = released(kind, "meta")
    channels = vae.config.channels

    def latent(h: int, w: int) -> Tensor:
        return torch.empty(channels, steps, h // 8, w // 8, device="meta")

    print(f"{kind} {height}x{width}, {steps} latent steps: GiB")
    print(f"  whole, joined on the device  {peak(vae, latent(height, width), joined=True) / 2**30:8.2f}")
    print(f"  whole, piece by piece        {peak(vae, latent(height, width), joined=False) / 2**30:8.2f}")
    for size in tiles:
        found = peak(vae, latent(min(size, height), min(size, width)), joined=False)
        print(f"  tiles of {size:<20}{found / 2**30:8.2f}")
    frames = frames_of(vae.config, steps)
    for size in (max(height, width), *(tiles if vae.encodes_tiles else ())):
        clip = torch.empty(1, 3, frames, min(size, height), min(size, width), device="meta")
        print(f"  encoding, tiles of {size:<10}{encoding_peak(vae, clip) / 2**30:8.2f}")


def errors(kind: str, tiles: Iterable[int], overlaps: Iterable[int]) -> None:
    """Print the RMS and the largest errors, in percent of full scale, of noise that is decoded."""
    vae, (height, width) = small(kind), SMALL
    steps = {"wan": 2, "mochi": 5, "cogvideox": 3}[kind]
    latent = torch.randn(1, vae.config.channels, steps, height // 8, width // 8)
    whole = vae.film(latent)
    print(f"{kind} {height}x{width}, deviation {float(whole.std()) * 50:.2f} %: RMS and largest error, %")
    for size in tiles:
        for overlap in (o for o in overlaps if 2 * o <= size):
            apart = vae.film(latent, (size, overlap)) - whole
            found = float(apart.square().mean().sqrt()) * 50, float(apart.abs().max()) * 50
            print(f"  tiles of {size}, overlap {overlap:<4}{found[0]:8.3f}{found[1]:8.2f}", flush=True)
    coarse = torch.randn(frames_of(vae.config, steps), 3, height // 8, width // 8)
    frames = interpolate(coarse, scale_factor=8, mode="bilinear").clamp(-1, 1)[None]
    if not vae.encodes_tiles:
        return
    exact = vae.encode(frames)
    print(f"{kind} encoding: RMS and largest error, in percent of the latents' deviation")
    for size in tiles:
        for overlap in (o for o in overlaps if 2 * o <= size):
            apart = (vae.encode(frames, (size, overlap)) - exact) / exact.std() * 100
            found = float(apart.square().mean().sqrt()), float(apart.abs().max())
            print(f"  tiles of {size}, overlap {overlap:<4}{found[0]:8.3f}{found[1]:8.2f}", flush=True)


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=[*SIZES], choices=[*SIZES])
    parser.add_argument("--tiles", nargs="+", type=int, default=[512, 256, 128, 64])
    parser.add_argument("--overlaps", nargs="+", type=int, default=[0, 16, 32, 64])
    args = parser.parse_args()
    for kind in args.kinds:
        memory(kind, args.tiles)
        errors(kind, [size for size in args.tiles if size < min(SMALL)], args.overlaps)


if __name__ == "__main__":
    main()
