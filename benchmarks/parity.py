"""Errors of our towers and of diffusers' with the same weights, against fp64: relative L2 norms of what is predicted.

    python benchmarks/parity.py --seeds 5

tower: a random Wan transformer whose weights are bf16 numbers, as released ones are. Ours in bf16 computes as sampling
does: matmuls in bf16, under autocast, everything else in fp32. diffusers' WanTransformer3DModel in bf16 is as
`from_pretrained(torch_dtype=torch.bfloat16)` makes it: time embedding, norms and modulations in fp32, and bf16 inputs.
encode, decode: a random AutoencoderKLWan. Ours is the same network behind a codec, always in fp32.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from statistics import fmean

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor, nn

from talkies.codecs.config import WanVideoConfig
from talkies.codecs.wan import WanVideoCodec
from talkies.models.wan.config import TowerConfig
from talkies.models.wan.keys import tower_from_diffusers
from talkies.models.wan.tower import Tower
from talkies.nn.lowering import hold_lowered
from talkies.parallel.autocasted import Autocasted
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text

SMALL = TowerConfig(
    dim=384, ffn_dim=1024, heads=3, layers=8, patch=(1, 2, 2), in_channels=36, out_channels=16, text_dim=256
)
SHAPE, WORDS = (4, 8, 12), 32
ARMS = ("ours, fp32", "diffusers, fp32", "ours, bf16", "diffusers, bf16")
Errors = dict[str, float]


def error(found: Tensor, exact: Tensor) -> float:
    """||found - exact|| / ||exact||."""
    return float((found.double() - exact).norm() / exact.norm())


def transformer(config: TowerConfig, seed: int) -> WanTransformer3DModel:
    """Random weights that are bf16 numbers, in fp32; norms away from 1."""
    torch.manual_seed(seed)
    model = WanTransformer3DModel(
        patch_size=config.patch,
        num_attention_heads=config.heads,
        attention_head_dim=config.head_dim,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.layers,
        eps=config.eps,
    )
    for name, parameter in model.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.2)
        parameter.data = parameter.data.bfloat16().float()
    return model.eval().requires_grad_(False)


def lowered(model: WanTransformer3DModel) -> WanTransformer3DModel:
    """In bf16, but for what diffusers keeps in fp32."""
    kept = WanTransformer3DModel._keep_in_fp32_modules
    for name, parameter in model.named_parameters():
        if not any(part in name.split(".") for part in kept):
            parameter.data = parameter.data.bfloat16()
    return model


class Ours:
    """A tower as a Denoiser."""

    def __init__(self, tower: Tower) -> None:
        self.tower = tower

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        """The velocity of the video."""
        return {"video": self.tower(streams["video"], condition.texts["text"].embedding)}


@torch.no_grad()
def tower_errors(config: TowerConfig, seed: int) -> Errors:
    """By arm, for one set of weights and inputs."""
    theirs = transformer(config, seed)
    tower = Tower(config).eval().requires_grad_(False)
    tower.load_state_dict(tower_from_diffusers(theirs.state_dict()))
    grid = Grid(channels=config.out_channels, shape=SHAPE, rate=Fraction(6))
    latent, text = torch.randn(1, config.in_channels, *SHAPE), torch.randn(1, WORDS, config.text_dim)
    time = torch.rand(1)

    def ours(latent: Tensor, text: Tensor, *, bf16: bool = False) -> Tensor:
        given, shown = latent[:, : grid.channels], latent[:, grid.channels :]
        stream = Stream(latent=given, condition=shown, time=time, grid=grid)
        condition = Condition(texts={"text": Text(embedding=text, length=torch.tensor([WORDS]))})
        denoiser = Autocasted(Ours(tower), torch.device("cpu")) if bf16 else Ours(tower)
        return denoiser({"video": stream}, condition)["video"]

    def diffusers(dtype: torch.dtype) -> Tensor:
        inputs = {"hidden_states": latent.to(dtype), "encoder_hidden_states": text.to(dtype)}
        found: Tensor = theirs(**inputs, timestep=1000 * time).sample
        return found

    found = {ARMS[0]: ours(latent, text), ARMS[1]: diffusers(torch.float32)}
    lowered(theirs)
    found[ARMS[3]] = diffusers(torch.bfloat16)
    exact = tower.double()
    reference = ours(latent.double(), text.double())
    hold_lowered(exact.float())
    found[ARMS[2]] = ours(latent, text, bf16=True)
    return {arm: error(found[arm], reference) for arm in ARMS}


@torch.no_grad()
def vae_errors(seed: int) -> dict[str, Errors]:
    """By direction and arm; ours has no bf16."""
    torch.manual_seed(seed)
    network = AutoencoderKLWan(base_dim=16, z_dim=16, num_res_blocks=1).eval().requires_grad_(False)
    for parameter in network.parameters():  # bf16 numbers, which `to` does not round
        parameter.data = parameter.data.bfloat16().float()
    codec = WanVideoCodec(WanVideoConfig(), network)
    frames = torch.rand(1, 9, 3, 32, 48) * 2 - 1
    mean, std = codec.mean[0], codec.std[0]

    def encoded(dtype: torch.dtype) -> Tensor:
        mode = nn.Module.to(network, dtype).encode(frames.transpose(1, 2).to(dtype)).latent_dist.mode()
        return (mode - mean.to(dtype)) / std.to(dtype)

    def decoded(latent: Tensor, dtype: torch.dtype) -> Tensor:
        scaled = latent.to(dtype) * std.to(dtype) + mean.to(dtype)
        pixels: Tensor = nn.Module.to(network, dtype).decode(scaled).sample.clamp(-1, 1).transpose(1, 2)
        return pixels

    latent = codec.encode(frames)
    ours = {"encode": latent, "decode": codec.decode(latent)}
    theirs: dict[str, Callable[[torch.dtype], Tensor]] = {"encode": encoded, "decode": lambda t: decoded(latent, t)}
    found = {}
    for name, run in theirs.items():
        exact, single = run(torch.float64), run(torch.float32)
        found[name] = {ARMS[0]: error(ours[name], exact), ARMS[1]: error(single, exact)}
        found[name] |= {ARMS[2]: float("nan"), ARMS[3]: error(run(torch.bfloat16), exact)}
    return found


def table(errors: Mapping[str, Sequence[Errors]]) -> str:
    """Means over seeds, and the largest in parentheses."""
    lines = [f"{'':<8}" + "".join(f"{arm:>26}" for arm in ARMS)]
    for name, runs in errors.items():
        cells = [f"{fmean(run[arm] for run in runs):.2e} ({max(run[arm] for run in runs):.2e})" for arm in ARMS]
        lines.append(f"{name:<8}" + "".join(f"{'-' if 'nan' in cell else cell:>26}" for cell in cells))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table or the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, choices=range(1, 101), default=5, metavar="1..100")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    errors: dict[str, list[Errors]] = {"tower": [], "encode": [], "decode": []}
    for seed in range(args.seeds):
        errors["tower"].append(tower_errors(SMALL, seed))
        for name, found in vae_errors(seed).items():
            errors[name].append(found)
    print(json.dumps(errors) if args.json else table(errors))


if __name__ == "__main__":
    main()
