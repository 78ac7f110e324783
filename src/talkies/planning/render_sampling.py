"""A plan of sampling as text."""

from talkies.config.quoting import listed
from talkies.planning.render import table
from talkies.planning.sampling import SamplingPlan, fits


def render_sampling(plan: SamplingPlan) -> str:
    """The plan as text, for a terminal of 80 columns."""
    rows = [
        ("activations of what is evaluated at once", plan.activations),
        ("kept of texts: keys and values", plan.texts),
        ("kept by sampling.reuse", plan.reused),
        ("latents", plan.latents),
        ("encoding pictures, beside the encoder", plan.encoding),
        ("decoding, beside the decoder", plan.decoding),
    ]
    each = f"{plan.steps:,} steps of {plan.evaluations} evaluations"
    lines = table(("memory of one clip", "GB"), [(text, _gb(count, 2)) for text, count in rows if count])
    head = ("--offload", "weights", "encoding", "evaluating", "decoding", "host", "per step", "per clip")
    keys = ("weights", "encoding", "evaluating", "decoding", "host", "per_step", "per_clip")
    settings = [(one.offload, *(_gb(getattr(one, key), 1) for key in keys)) for one in plan.settings]
    found = [f"{plan.name}: sampling on one GPU, {plan.precision}, {each}", "", *lines, ""]
    found.append("GB: weights of the network, peaks on the device by stage, main memory (host),")
    found += ["and copies to the device per step and per clip", *table(head, settings)]
    if plan.card is not None:
        fit = ", ".join(one.offload for one in plan.settings if fits(one, plan.card))
        chosen = "" if plan.chosen is None else f"; chosen, the fastest: --offload {plan.chosen}"
        found.append(f"fits a GPU of {plan.card} GB: {fit}{chosen}")
    if plan.lacks:
        found.append(f"not in the release, so that `sample` refuses it: codecs {listed(plan.lacks)}")
        found.append("they are counted as the released ones: import a folder that has them")
    return "\n".join(found)


def _gb(count: int, places: int) -> str:
    """Bytes in GB; what is there never reads as 0."""
    least = 10**-places
    return f"<{least}" if 0 < count < least / 2 * 1e9 else f"{count / 1e9:,.{places}f}"
