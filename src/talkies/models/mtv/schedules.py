"""The scheduler of a released CogVideoX and our `flow` and `sampling`, both ways."""

from typing import Any

from talkies.config.quoting import listed, shown
from talkies.flow.config import ZeroSnrVPredictionTarget
from talkies.models.released import check_fixed, number
from talkies.streams.layout import Json

STEPS, TEXT_SCALE = 50, 6.0
"""The released pipeline's defaults."""
SAMPLERS = {"CogVideoXDDIMScheduler": "ddim", "CogVideoXDPMScheduler": "dpm_sde"}
"""Class of a scheduler -> the kind of our sampler, which makes the same steps."""
TIMESTEPS = 1000
_ABSENT: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "snr_shift_scale": 3.0,
    "clip_sample": True,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "rescale_betas_zero_snr": False,
}
"""What the classes take for keys that are not there."""
_FIXED: dict[str, Any] = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "num_train_timesteps": TIMESTEPS,
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 0,
}
"""What our path and our schedule are, by the keys that say so."""


def flow(scheduler: Json) -> dict[str, Any]:
    """The recipe's `flow`, from a scheduler_config.json. ValueError names a key that ours cannot follow."""
    values = {**_ABSENT, **scheduler}
    check_fixed(values, _FIXED)
    betas = {key: number(key, values) for key in ("beta_start", "beta_end")}
    if not betas["beta_start"] <= betas["beta_end"] < 1:
        raise ValueError(f"`beta_end` is {betas['beta_end']:g}, and must lie between `beta_start` and 1")
    target = {**betas, "steps": TIMESTEPS, "snr_shift": number("snr_shift_scale", values)}
    return {
        "schedule": {"kind": "uniform_grid", "steps": TIMESTEPS},
        "target": {"kind": "zero_snr_v_prediction", **target},
    }


def sampling(scheduler: Json) -> dict[str, Any]:
    """The recipe's `sampling`: steps of equal length, which `trailing` means, from the last timestep on."""
    name = scheduler.get("_class_name")
    if name not in SAMPLERS:
        raise ValueError(f"`_class_name` is {shown(name)}, and must be one of {listed([*SAMPLERS])}")
    return {
        "steps": STEPS,
        "schedule": {"kind": "uniform"},
        "sampler": {"kind": SAMPLERS[name]},
        "scales": {"text": TEXT_SCALE},
    }


def scheduler(sampling: Any, flow: Any) -> dict[str, Any]:
    """The scheduler_config.json, from the decoded `sampling` and `flow` of a recipe. ValueError names a key that it
    cannot express."""
    target = flow.target
    if not isinstance(target, ZeroSnrVPredictionTarget):
        raise ValueError(f"`flow.target.kind` is {target.kind}, and that of CogVideoX is zero_snr_v_prediction")
    if target.steps != TIMESTEPS:
        raise ValueError(f"`flow.target.steps` is {target.steps}, and CogVideoX has {TIMESTEPS}")
    if sampling.schedule.kind != "uniform":
        raise ValueError(f"`sampling.schedule.kind` is {sampling.schedule.kind}, and a scheduler's steps are uniform")
    name = next(name for name, kind in SAMPLERS.items() if kind == sampling.sampler.kind)
    betas = {"beta_start": target.beta_start, "beta_end": target.beta_end}
    return {"_class_name": name, **betas, "snr_shift_scale": target.snr_shift, **_FIXED}
