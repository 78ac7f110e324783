"""A plan as text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from talkies.planning.cost import UTILISATION, h100_days
from talkies.streams import Grid, Modality

if TYPE_CHECKING:  # plan.py imports torch, which the plan of a preparation does without
    from talkies.planning.plan import Plan


def render(plan: "Plan") -> str:
    """The plan in sections, for a terminal of 80 columns."""
    title = f"{plan.name}: {plan.kind}, mova {plan.preset}, {plan.precision}, one process"
    sections = [_parameters(plan), _latents(plan), _compute(plan), _memory(plan), _duration(plan)]
    return "\n\n".join([title, *("\n".join(lines) for lines in sections)])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns, the first flush left and the others right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    pads = [str.ljust, *[str.rjust] * (len(head) - 1)]
    lines = ["  ".join(pad(c, w) for pad, c, w in zip(pads, row, widths, strict=True)) for row in (head, *rows)]
    return [line.rstrip() for line in lines]


def _parameters(plan: "Plan") -> list[str]:
    rows = [(part.name, part.built, part.trained) for part in plan.parts]
    rows.append(("total", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    return _table(("parameters", "built", "trained"), [(name, f"{a:,}", f"{b:,}") for name, a, b in rows])


def _latents(plan: "Plan") -> list[str]:
    rows = [(name, " x ".join(map(str, x.shape)), f"{x.tokens:,}") for name, x in plan.latents.items()]
    return _table((f"latents of {plan.geometry} ({plan.seconds:.2f} s)", "shape", "tokens"), rows)


def _compute(plan: "Plan") -> list[str]:
    compute, steps = plan.compute, plan.duration.steps
    rows = [(f"forward, {name}, one clip", f"{flops:.3e}") for name, flops in compute.forward.items()]
    rows.append((f"optimizer step, {plan.duration.clips // steps:,} clips", f"{compute.useful:.3e}"))
    rows.append(("  activations recomputed", f"{compute.with_recompute:.3e}"))
    rows.append((f"whole phase, {steps:,} steps", f"{plan.flops:.3e}"))
    days = h100_days(compute.with_recompute * steps)
    lines = _table(("compute", "FLOPs"), rows)
    if days >= 0.1:
        lines.append(
            f"about {days:,.1f} days of one H100 at {UTILISATION:.0%} of its bf16 peak, activations recomputed"
        )
    return lines


def _memory(plan: "Plan") -> list[str]:
    names = {
        "weights": "fp32 weights",
        "half": "bf16 copy in use",
        "gradients": "gradients",
        "optimizer": "AdamW moments",
        "ema": "EMA",
        "total": "total, without activations",
    }
    rows = [(text, size(getattr(plan.memory, key))) for key, text in names.items()]
    return _table(("memory per rank", ""), rows)


def _duration(plan: "Plan") -> list[str]:
    duration, disk = plan.duration, plan.disk
    rows = [
        ("steps", f"{duration.steps:,}"),
        ("clips", f"{duration.clips:,}"),
        ("hours of media", f"{duration.hours:,.1f}"),
        ("checkpoints written", f"{duration.checkpoints:,}"),
        ("validations", f"{duration.validations:,}"),
        ("disk: one checkpoint", size(disk.checkpoint)),
        ("disk: checkpoints at most", size(disk.peak)),
        ("disk: release", size(disk.release)),
    ]
    return _table(("run", ""), rows)


def size(count: int) -> str:
    """Bytes in the unit that leaves one to four digits before the point: 1,023.9 MiB, 1.0 GiB."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count:,} B" if unit == "B" else f"{value:,.1f} {unit}"


def render_sets(name: str, sets: Mapping[str, Mapping[Modality, Grid]]) -> str:
    """The shard sets of a preparation."""
    rows = [
        (f"{key}, {modality}", " x ".join(map(str, grid.latent_shape)), f"{float(grid.rate):g}")
        for key, grids in sets.items()
        for modality, grid in grids.items()
    ]
    return "\n".join(_table((f"{name}: shard sets", "latent", "steps/s"), rows))
