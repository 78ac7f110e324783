"""A plan of sampling as text."""

from talkies.planning.render import size, table
from talkies.planning.sampling import SamplingPlan, fits


def render_sampling(plan: SamplingPlan) -> str:
    """The plan as text, for a terminal of 80 columns."""
    rows = [
        ("activations of an evaluation", plan.activations),
        ("kept of texts: keys and values", plan.texts),
        ("kept by sampling.reuse", plan.reused),
        ("latents", plan.latents),
        ("encoding pictures, beside the encoder", plan.encoding),
        ("decoding, beside the decoder", plan.decoding),
    ]
    each = f"{plan.steps:,} steps of {plan.evaluations} evaluations"
    lines = table(("memory of one clip", ""), [(text, size(count)) for text, count in rows if count])
    head = ("sampling.offload", "weights", "encoding", "evaluating", "decoding", "host", "copied/step", "/clip")
    keys = ("weights", "encoding", "evaluating", "decoding", "host", "per_step", "per_clip")
    settings = [(one.offload, *(f"{getattr(one, key) / 1e9:,.1f}" for key in keys)) for one in plan.settings]
    found = [f"{plan.name}: sampling on one GPU, {plan.precision}, {each}", "", *lines, "", *table(head, settings)]
    found.append("GB: weights of the network, peaks on the device, main memory, copies to the device")
    if plan.card is not None:
        fit = ", ".join(one.offload for one in plan.settings if fits(one, plan.card))
        found.append(f"fits a GPU of {plan.card} GB: {fit}; chosen, the fastest: --offload {plan.chosen}")
    return "\n".join(found)
