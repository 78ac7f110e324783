"""A plan as text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from talkies.planning.cost import HASH_RATE, UTILISATION, h100_days
from talkies.streams import Grid
from talkies.streams.clip_size import spelled

if TYPE_CHECKING:  # plan.py imports torch, which the plan of a preparation does not need
    from talkies.planning.plan import Plan


def render(plan: "Plan") -> str:
    """The plan in sections, for a terminal of 80 columns."""
    title = f"{plan.name}: {plan.kind}, {plan.system} {plan.preset}, {plan.precision}, {_layout(plan)}"
    sections = [_parameters(plan), _latents(plan), _compute(plan), _speed(plan), _memory(plan)]
    sections += [part for part in (_communication(plan), _card(plan)) if part] + [_duration(plan)]
    return "\n\n".join([title, *("\n".join(lines) for lines in sections)])


def _layout(plan: "Plan") -> str:
    layout = plan.parallel
    if layout.ranks == 1:
        return "one process"
    if layout.kind == "ddp":
        return f"{layout.ranks} ranks (ddp)"
    kind, degrees = str(layout.kind), f"replicate {layout.replicate} x shard {layout.shard}, sequence {layout.sequence}"
    if layout.kind == "deepspeed":
        kind = f"deepspeed ZeRO-{layout.stage}{', optimizer offloaded' if layout.offload else ''}"
    return f"{layout.ranks:,} ranks ({kind}: {degrees})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns, the first one left and the others right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    pads = [str.ljust, *[str.rjust] * (len(head) - 1)]
    lines = ["  ".join(pad(c, w) for pad, c, w in zip(pads, row, widths, strict=True)) for row in (head, *rows)]
    return [line.rstrip() for line in lines]


def _parameters(plan: "Plan") -> list[str]:
    rows = [(part.name, part.built, part.trained) for part in plan.parts]
    rows.append(("total", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    return table(("parameters", "built", "trained"), [(name, f"{a:,}", f"{b:,}") for name, a, b in rows])


def _latents(plan: "Plan") -> list[str]:
    rows = []
    for name, x in plan.latents.items():
        share = plan.shares.get(name)
        per_rank = f"{share.tokens:,}" if share else f"{x.tokens:,}"
        padding = f"{share.padding:,}" if share else "0"
        rows.append((name, " x ".join(map(str, x.shape)), f"{x.tokens:,}", per_rank, padding))
    head = (f"latents of {spelled(plan.geometry)} ({plan.seconds:.2f} s)", "shape", "tokens", "per rank", "padding")
    lines = table(head, rows)
    hybrids = [f"{m} {share.exchange} x {share.gather}" for m, share in plan.shares.items() if share.gather > 1]
    if hybrids:
        lines.append(f"any number of heads will do; ranks that exchange heads x that gather keys: {', '.join(hybrids)}")
    lines.append(f"{plan.readers:,} readers of different clips, micro-batch {plan.micro_batch:,}")
    near, sequences = plan.divisibility, ", ".join(map(str, plan.divisibility.sequences))
    lines.append(f"global batch: any multiple of {near.batch:,} (next: {', '.join(f'{n:,}' for n in near.batches)})")
    return [*lines, f"sequence degrees inside the shard group: {sequences}"] if plan.ranks > 1 else lines


def _compute(plan: "Plan") -> list[str]:
    compute, steps = plan.compute, plan.duration.steps
    rows = [(f"forward, {name}, one clip", f"{flops:.3e}") for name, flops in compute.forward.items()]
    rows.append((f"optimizer step, {plan.duration.clips // steps:,} clips", f"{compute.useful:.3e}"))
    rows.append(("  activations recomputed", f"{compute.with_recompute:.3e}"))
    rows.append((f"whole phase, {steps:,} steps", f"{plan.flops:.3e}"))
    days = h100_days(compute.with_recompute * steps)
    lines = table(("compute", "FLOPs"), rows)
    if days >= 0.1:
        lines.append(
            f"about {days:,.1f} days of one H100 at {UTILISATION:.0%} of its bf16 peak, activations recomputed"
        )
    return lines


def _speed(plan: "Plan") -> list[str]:
    speed, phase = plan.speed, plan.speed.seconds * plan.duration.steps
    rows = [
        ("FLOPs per rank and step", f"{speed.flops:.3e}"),
        ("seconds per step", f"{speed.seconds:,.3g}"),
        ("MFU, useful", f"{speed.mfu_useful:.1%}"),
        ("MFU, counting recomputation", f"{speed.mfu_recompute:.1%}"),
        ("days of the whole phase", f"{phase / 86400:,.3g}"),
    ]
    head = f"speed at {speed.sustained / 1e12:,.4g} of {speed.peak / 1e12:,.4g} TFLOP/s per rank"
    return table((head, ""), rows)


def _memory(plan: "Plan") -> list[str]:
    memory, kept = plan.memory, plan.memory.activations
    recomputed = "insides of the block computed again" if plan.checkpointing else "insides of blocks"
    rows = [
        ("fp32 weights" if plan.masters == "fp32" else "weights, frozen matmuls' in bf16", memory.weights),
        ("bf16 copy in use", memory.half),
        ("gradients", memory.gradients),
        ("fp32 masters and AdamW moments" if plan.parallel.kind == "deepspeed" else "AdamW moments", memory.optimizer),
        ("EMA", memory.ema),
        ("gathered weights", memory.gathered),
        ("gradients on their way", memory.reduced),
        (f"activations: {recomputed}", kept.blocks),
        ("activations: between blocks", kept.inputs),
        ("activations: embeddings, heads, losses", kept.ends),
        ("gradients inside a block", kept.working),
        ("codecs of degraded conditions, and their sounds", memory.beside),
        ("while one is encoded, before the activations", memory.working),
        ("total", memory.total),
        ("main memory, optimizer offloaded", memory.offloaded),
        ("main memory, while a checkpoint is written", memory.host),
    ]
    return table(
        ("memory per rank (GPU kernels, no torch.compile)", ""), [(text, size(count)) for text, count in rows if count]
    )


def _communication(plan: "Plan") -> list[str]:
    sent = plan.communication
    rows = [
        ("all-gather of weights", sent.all_gather),
        ("reduce-scatter of gradients", sent.reduce_scatter),
        ("all-reduce of gradients", sent.all_reduce),
        ("sequence all-to-all", sent.exchange),
        ("sequence gathers", sent.gather),
        ("DDP all-reduce", sent.ddp),
        ("total", sent.total),
    ]
    shown = [(text, size(count)) for text, count in rows if count]
    return table(("sent per rank and step", ""), shown) if shown else []


def _card(plan: "Plan") -> list[str]:
    if plan.fit is None:
        return []
    found = plan.fit.smallest
    lines = [f"fits a GPU of {plan.fit.card} GB: {plan.fit.bytes / 1e9:,.1f} GB are needed"]
    if found is not None:
        lines.append(f"smallest layout that fits it, {found.bytes / 1e9:,.1f} GB: {found.overrides()}")
    return lines


def _duration(plan: "Plan") -> list[str]:
    duration, disk = plan.duration, plan.disk
    rows = [
        ("steps", f"{duration.steps:,}"),
        ("clips", f"{duration.clips:,}"),
        ("hours of media", f"{duration.hours:,.1f}"),
        ("checkpoints written", f"{duration.checkpoints:,}"),
        ("validations", f"{duration.validations:,}"),
        ("disk: one checkpoint", size(disk.checkpoint)),
        (f"  written at {disk.write_rate / 1e9:,.3g} GB/s, all ranks together", f"{disk.write_seconds:,.3g} s"),
        (f"  hashed at {HASH_RATE / 1e9:g} GB/s a rank, and at resume", f"{disk.hash_seconds / plan.ranks:,.3g} s"),
        ("disk: checkpoints at most", size(disk.peak)),
        ("disk: release", size(disk.release)),
    ]
    return table(("run", ""), rows)


def size(count: int) -> str:
    """Bytes in the unit with one to four digits before the point: 1,023.9 MiB, 1.0 GiB."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count:,} B" if unit == "B" else f"{value:,.1f} {unit}"


def render_sets(name: str, sets: Mapping[str, Mapping[str, Grid]]) -> str:
    """The shard sets of a preparation."""
    rows = [
        (f"{key}, {modality}", " x ".join(map(str, grid.latent_shape)), f"{float(grid.rate):g}")
        for key, grids in sets.items()
        for modality, grid in grids.items()
    ]
    return "\n".join(table((f"{name}: shard sets", "latent", "steps/s"), rows))
