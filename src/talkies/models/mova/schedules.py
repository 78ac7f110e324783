"""The scheduler of a released folder and our `sampling`, both ways (docs/mova.md: Sampling)."""

from typing import Any

from talkies.config.quoting import shown
from talkies.models.released import check_fixed
from talkies.streams.layout import Json

STEPS, TEXT_SCALE, SHIFT = 50, 5.0, 5.0
"""The released pipelines' defaults."""
PAIR = "FlowMatchPairScheduler"
_PLAIN: dict[str, Any] = {
    "use_dynamic_shifting": False,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "shift_terminal": None,
}
_FIXED: dict[str, dict[str, Any]] = {
    PAIR: {"sigma_min": 0.0, "sigma_max": 1.0, "extra_one_step": True, "num_train_timesteps": 1000},
    "UniPCMultistepScheduler": {
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "num_train_timesteps": 1000,
        "final_sigmas_type": "zero",
        "predict_x0": True,
        "thresholding": False,
        "steps_offset": 0,
        "rescale_betas_zero_snr": False,
        "sigma_min": None,
        "sigma_max": None,
        **_PLAIN,
    },
    "FlowMatchEulerDiscreteScheduler": {
        "num_train_timesteps": 1000,
        "invert_sigmas": False,
        "stochastic_sampling": False,
        **_PLAIN,
    },
}
"""Class of a scheduler -> what our schedule is, by its keys. Their solvers may differ: ours is Euler's."""
_SHIFT = {PAIR: "shift", "UniPCMultistepScheduler": "flow_shift", "FlowMatchEulerDiscreteScheduler": "shift"}


def sampling(scheduler: Json | None, streams: tuple[str, ...]) -> dict[str, Any]:
    """The recipe's `sampling` with the shift of a scheduler_config.json (None: the released one) for all streams.
    ValueError names a key that our schedule cannot follow."""
    shift = SHIFT if scheduler is None else _shift(scheduler)
    schedule = {"kind": "shifted", "shifts": dict.fromkeys(streams, shift)}
    return {"steps": STEPS, "schedule": schedule, "scales": {"text": TEXT_SCALE}}


def _shift(scheduler: Json) -> float:
    name = scheduler.get("_class_name", PAIR)
    if name not in _FIXED:
        raise ValueError(f"`_class_name` is {shown(name)}, and must be one of {', '.join(_FIXED)}")
    check_fixed(scheduler, _FIXED[name])
    if name == PAIR:
        _check_pair(scheduler)
    shift = scheduler.get(_SHIFT[name])
    if type(shift) not in (int, float) or not 0 < float(shift) < 1000:  # type: ignore[arg-type]
        raise ValueError(f"`{_SHIFT[name]}` is {shown(shift)}, and must be a number above 0")
    return float(shift)  # type: ignore[arg-type]


def _check_pair(scheduler: Json) -> None:
    """Every key of MOVA's own scheduler decides the noise levels, so one that is unknown may only be off."""
    needed = _FIXED[PAIR]
    for key in needed:
        if key not in scheduler:
            raise ValueError(f"`{key}` is missing, and must be {shown(needed[key])}")
    for key, value in scheduler.items():
        if not (key in needed or key.startswith("_") or key in ("shift", "num_inference_steps")) and value:
            raise ValueError(f"`{key}` is {shown(value)}, which our schedule cannot follow")


def pair_scheduler(config: Any) -> dict[str, Any]:
    """The scheduler_config.json of a released MOVA, from the decoded `sampling` of a recipe. ValueError names a key
    that it cannot express."""
    return {"_class_name": PAIR, **_FIXED[PAIR], "shift": _one_shift(config)}


def flow_scheduler(config: Any) -> dict[str, Any]:
    """As `pair_scheduler`, for a pipeline of diffusers."""
    name = "FlowMatchEulerDiscreteScheduler"
    return {"_class_name": name, **_FIXED[name], "shift": _one_shift(config)}


def _one_shift(config: Any) -> float:
    if config.schedule.kind != "shifted":
        raise ValueError(f"`sampling.schedule.kind` is {config.schedule.kind}, and a scheduler has a shift: shifted")
    shifts = {config.schedule.shift(stream) for stream in ("video", "audio")}
    if len(shifts) > 1:
        raise ValueError("`sampling.schedule.shifts` differ between video and audio, and a scheduler has one shift")
    return float(shifts.pop())
