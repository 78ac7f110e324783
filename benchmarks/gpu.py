"""The real networks on one GPU: seconds per step, MFU, and peak memory compared with the estimate of `talkies plan`.

    python benchmarks/gpu.py                                # MOVA's audio tower, and a stack of its video blocks
    python benchmarks/gpu.py --device cpu --preset toy      # the same program on any machine, without memory

audio: an optimizer step of the whole tower (bf16 autocast over fp32 weights, clipping, AdamW, EMA), as in a phase on
one GPU. 16 clips of 403 tokens saturate the matmuls, and every arm fits 80 GB; the full-scale recipe has 32 per rank.
video: forward and backward of a tower of `--blocks` blocks over one clip of 43,120 tokens, without an optimizer. Arms
(eager and compiled, with and without recomputation per block) alternate on the same weights; results are medians.
sampling: one clip of the joint recipe in `--steps` steps, guided, by all networks with at most `--blocks` blocks each,
without codecs. Its arms are the values of `sampling.offload`, one after another, each with a model of its own. MFU
counts useful FLOPs, without recomputation. An arm is left out if the plan needs more memory than the card has.
"""

import argparse
import gc
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import NoReturn

import torch
from one_sampling import OneSampling, planned, stacked
from one_tower import Bench, Case, cases

from talkies.config import UserError
from talkies.config.source import load
from talkies.models.systems import SYSTEMS
from talkies.parallel.config import ComputeConfig
from talkies.planning.cost import H100_FLOPS
from talkies.planning.render import size
from talkies.planning.sampling import SETTINGS
from talkies.recipe.config import PhaseRecipe, decode_phase

RECIPES = Path(__file__).parents[1] / "recipes" / "mova"
CASES = ["audio", "video", "sampling"]
FILES = {"a14b": RECIPES / "joint_phase2.yaml", "toy": RECIPES / "toy" / "joint_phase2.yaml"}


@dataclass(kw_only=True)
class Row:
    """One arm of one case. `planned` and `peak` in bytes, `peak` None if it is not measured; `mfu` None without
    `--peak`; `left_out`: why the arm did not run."""

    case: str
    arm: str
    planned: int
    seconds: list[float] = field(default_factory=list)
    median: float | None = None
    mfu: float | None = None
    peak: int | None = None
    ratio: float | None = None
    left_out: str | None = None

    def line(self) -> str:
        """The line of the table."""
        head = f"{self.case:<8} {self.arm:<20} "
        if self.left_out is not None:
            return f"{head} left out: {self.left_out}"
        mfu = "-" if self.mfu is None else f"{self.mfu:.1%}"
        peak, ratio = ("-", "-") if self.peak is None else (size(self.peak), f"{self.ratio:.2f}")
        return f"{head} {1e3 * (self.median or 0):>10,.1f} {mfu:>7} {peak:>11} {size(self.planned):>11} {ratio:>6}"


def measured(case: Case, arms: Sequence[ComputeConfig], args: argparse.Namespace) -> list[Row]:
    """Measure every arm of a case, alternating."""
    bench = Bench(case, torch.device(args.device))
    turns = [(_row(bench, arm), bench.arranged(arm)) for arm in arms]
    for number in range(args.warmup + args.rounds):
        for row, forwards in turns:
            if row.left_out is None:
                _turn(row, partial(bench.step, forwards), bench.device, counts=number >= args.warmup)
                bench.model.zero_grad()
    rows = [row for row, _ in turns]
    for row in rows:
        _finish(row)
        row.mfu = case.flops / row.median / args.peak if args.peak and row.median else None
    return rows


def sampled(recipe: PhaseRecipe, args: argparse.Namespace) -> list[Row]:
    """Measure every value of `sampling.offload`; a model and its copies are gone before the next is made."""
    small, device, rows = stacked(recipe, blocks=args.blocks, steps=args.steps), torch.device(args.device), []
    memory = planned(small)
    for offload in SETTINGS:
        row = _fitting(Row(case="sampling", arm=offload, planned=memory[offload]), device)
        made = OneSampling(small, offload, device) if row.left_out is None else None
        for number in range(args.warmup + args.rounds):
            if made is not None and row.left_out is None:
                _turn(row, made.step, device, counts=number >= args.warmup)
        rows.append(_finish(row))
        made = None
        _emptied(device)
    return rows


def _row(bench: Bench, arm: ComputeConfig) -> Row:
    name = f"{'compiled' if arm.compile else 'eager'}{', recomputed' if arm.checkpointing else ''}"
    return _fitting(Row(case=bench.case.modality, arm=name, planned=bench.case.planned(arm)), bench.device)


def _fitting(row: Row, device: torch.device) -> Row:
    """The row, left out if it does not fit the card."""
    if device.type == "cuda":
        available = torch.cuda.get_device_properties(device).total_memory
        too_large = row.planned > available
        row.left_out = f"{size(row.planned)} planned, {size(available)} available" if too_large else None
    return row


def _turn(row: Row, step: Callable[[], float], device: torch.device, *, counts: bool) -> None:
    """One step, which `counts` or is a warm-up."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    try:
        seconds = step()
    except torch.OutOfMemoryError:
        row.left_out = f"out of memory ({size(row.planned)} planned)"
        return
    if counts:
        row.seconds.append(seconds)
        row.peak = max(row.peak or 0, torch.cuda.max_memory_allocated(device)) if cuda else None


def _finish(row: Row) -> Row:
    """The row with its median and ratio."""
    if row.seconds and row.left_out is None:
        row.median = statistics.median(row.seconds)
        row.ratio = None if row.peak is None else row.peak / row.planned
    return row


def _emptied(device: torch.device) -> None:
    gc.collect()  # the blocks of an arm are in reference cycles
    if device.type == "cuda":
        torch.cuda.empty_cache()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text:.40} is not a number from 1 to 10000")
    return int(text)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line and check it against this machine."""
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=FILES, default="a14b")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--arms", nargs="+", choices=["eager", "compiled"], default=["eager", "compiled"])
    parser.add_argument("--clips", type=_count, default=16, help="clips of the audio step (16)")
    parser.add_argument("--blocks", type=_count, default=4, help="blocks of the video stack, and of sampling (4)")
    parser.add_argument("--steps", type=_count, default=4, help="steps of a sampling (4)")
    parser.add_argument("--rounds", type=_count, default=5, help="measured steps per arm (5)")
    parser.add_argument("--warmup", type=_count, default=2, help="warm-up steps per arm (2)")
    parser.add_argument("--peak", type=float, help="FLOP/s of the device (989e12 on a GPU: H100 and H200, dense bf16)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("this machine has no GPU; --device cpu --preset toy runs anywhere")
    if args.device == "cpu" and args.preset != "toy":
        parser.error("preset a14b needs a GPU; --device cpu --preset toy runs anywhere")
    if args.peak is not None and not 0 < args.peak < math.inf:
        parser.error(f"--peak is {args.peak}: give the FLOP/s of the device")
    if args.peak is None and args.device == "cuda":
        args.peak = H100_FLOPS
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table or the JSON."""
    args = arguments(argv)
    recipe = decode_phase(load(FILES[args.preset]), SYSTEMS)
    arms = [ComputeConfig(compile=c == "compiled", checkpointing=k) for c, k in product(args.arms, (False, True))]
    gpu = args.device == "cuda"
    device = torch.cuda.get_device_name() if gpu else "CPU"
    rows, chosen = [], [c for c in cases(recipe, blocks=args.blocks, clips=args.clips) if c.modality in args.cases]
    for case in chosen:
        rows += measured(case, arms, args)
        _emptied(torch.device(args.device))
    rows += sampled(recipe, args) if "sampling" in args.cases else []
    if args.json:
        about = {"device": device, "torch": torch.__version__, "peak_flops": args.peak, "preset": args.preset}
        sizes = {c.modality: {**c.work().tokens, "text": c.text, "clips": c.clips, "flops": c.flops} for c in chosen}
        print(json.dumps({**about, "memory_measured": gpu, "cases": sizes, "rows": [asdict(row) for row in rows]}))
        return
    print(f"{device}, torch {torch.__version__}, bf16, {args.rounds} rounds; {args.preset}")
    for case in chosen:
        tokens = case.work().tokens[case.modality]
        what = "optimizer step" if case.trains else "forward and backward"
        print(
            f"{case.modality}: {what}, {case.tower.layers} blocks, {case.clips} x {tokens:,} tokens, {case.flops:.3e}"
        )
    if "sampling" in args.cases:
        print(f"sampling: {args.steps} steps, guided, at most {args.blocks} blocks a network")
    if not gpu:
        print("peak memory is not measured on a CPU; planned memory is that of a GPU's kernels")
    print(f"{'case':<8} {'arm':<20}  {'ms':>10} {'MFU':>7} {'peak':>11} {'planned':>11} {'ratio':>6}")
    print("\n".join(row.line() for row in rows))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:  # for example, no compiler
        sys.exit(f"gpu.py: {error}")
