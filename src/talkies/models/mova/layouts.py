"""The released folders that MOVA's components may come from and go to: MOVA's own, Wan2.2's, and diffusers'."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from talkies.config.canonical import to_dict
from talkies.models.mova.config import COMPONENTS, EXPERTS, PRESETS, BridgeConfig, MovaConfig, MovaShape
from talkies.models.mova.schedules import SHIFT, STEPS, TEXT_SCALE, flow_scheduler, pair_scheduler, sampling
from talkies.models.released import LARGEST, check_fixed, check_parts, reading
from talkies.models.wan.config import TowerConfig
from talkies.models.wan.keys import from_diffusers, to_diffusers
from talkies.models.wan.released import DIFFUSERS, MOVA_AUDIO, MOVA_VIDEO, WAN, TowerForm
from talkies.streams.layout import Held, HeldCodec, Json, Layout

INDEX, SCHEDULER = "model_index.json", "scheduler/scheduler_config.json"
FULL = PRESETS["a14b"]
_BRIDGE_FIXED = {
    "interaction_strategy": "full",
    "apply_cross_rope": True,
    "apply_first_frame_bias_in_rope": False,
    "trainable_condition_scale": False,
    "pooled_adaln": False,
}
_PHASES = {
    frozenset(EXPERTS): "video_pretraining",
    frozenset({"audio"}): "audio_pretraining",
    frozenset(COMPONENTS): "joint",
}


@dataclass(frozen=True, kw_only=True)
class MovaLayout:
    """A form of folders; `forms`: of the towers' config.json, by modality; `index`: the model_index.json to write, if
    this form has one; `scheduler`: writes its schedule."""

    components: Mapping[str, Held]
    codecs: Mapping[str, HeldCodec]
    forms: Mapping[str, TowerForm]
    index: Mapping[str, Any] | None = None
    scheduler: Callable[[Any], dict[str, Any]] | None = None
    geometry: str = "352x640x193@24"
    files: tuple[str, ...] = field(default=(INDEX, SCHEDULER))

    def phase(self, components: Collection[str]) -> dict[str, Any]:
        """Both experts, the audio tower, or all four."""
        kind = _PHASES.get(frozenset(components))
        if kind is None:
            wanted = EXPERTS if set(components) < set(EXPERTS) or "audio" not in self.components else COMPONENTS
            lacking = [self.components[name].folder for name in wanted if name not in components]
            raise ValueError(f"it lacks {', '.join(lacking)}")
        return {"kind": kind}

    def model(self, configs: Mapping[str, Json], files: Mapping[str, Json]) -> dict[str, Any]:
        """The preset of these sizes, if there is one."""
        found = {name: self._sizes(name, values) for name, values in configs.items() if name != "bridge"}
        self._check_index(files.get(INDEX))
        high, low = (found.get(name) for name in EXPERTS)
        if high != low:
            raise ValueError("the sizes of the two video experts differ, and must be equal")
        width = next(iter(found.values())).text_dim
        # What the folder lacks is built by no phase of it.
        video, audio = high or replace(FULL.video, text_dim=width), found.get("audio")
        audio = audio or replace(FULL.audio, text_dim=width)
        bridge = _bridge(configs["bridge"], video, audio) if "bridge" in configs else FULL.bridge
        shape = MovaShape(video=video, audio=audio, bridge=bridge, boundary=_boundary(files.get(INDEX, {})))
        known = next((name for name, preset in PRESETS.items() if preset == shape), None)
        values: dict[str, Any] = to_dict(MovaConfig(sizes=shape))
        return {**values, "preset": known, "sizes": values["sizes"] if known is None else None}

    def sections(self, model: Any, components: Collection[str], configs: Mapping[str, Json]) -> dict[str, Any]:
        """Those of the modalities that the components make, and the text encoder."""
        shape: MovaShape = model.shape
        needed = {
            "video": {"kind": "wan", "channels": shape.video.out_channels},
            "audio": {"kind": "mova_dac", "channels": shape.audio.out_channels},
            "text": {"kind": "umt5", "dim": shape.video.text_dim},
        }
        made = {"text", *("audio" for name in components if name == "audio")}
        made |= {"video" for name in components if name in EXPERTS}
        held = {name: self.codecs[name].section(values) for name, values in configs.items()}
        return {name: held.get(name, section) for name, section in needed.items() if name in made}

    def sampling(self, files: Mapping[str, Json]) -> dict[str, Any]:
        """Of the scheduler, 50 steps and the text scale 5."""
        with reading(SCHEDULER):
            return sampling(files.get(SCHEDULER), ("video", "audio"))

    def flow(self, files: Mapping[str, Json]) -> dict[str, Any]:
        """Rectified flow, the default."""
        return {}

    def taken(self, components: Collection[str], files: Mapping[str, Json]) -> dict[str, float]:
        """Steps and the text scale, which no layout says; boundary and shift without their files."""
        found: dict[str, float] = {}
        if {*EXPERTS} & {*components} and "boundary_ratio" not in files.get(INDEX, {}):
            found["boundary"] = FULL.boundary
        if SCHEDULER not in files:
            found["shift"] = SHIFT
        return {**found, "steps": STEPS, "text scale": TEXT_SCALE}

    def config(self, component: str, model: Any) -> dict[str, Any]:
        """With the class of this layout."""
        shape: MovaShape = model.shape
        form = self.forms.get(_modality(component))
        tower = shape.audio if component == "audio" else shape.video
        values = _bridge_config(shape) if form is None else form.config(tower)
        return {"_class_name": self.components[component].classes[0], **values}

    def written(self, model: Any, components: Collection[str], sampling: Any, flow: Any) -> dict[str, dict[str, Any]]:
        """model_index.json and the schedule, where this form has them."""
        if self.index is None or self.scheduler is None:
            return {}
        if flow.target.kind != "velocity":
            raise ValueError(f"`flow.target.kind` is {flow.target.kind}, and that of this layout is velocity")
        parts = {name: part for name, part in self.index.items() if _is_there(self, name, components)}
        schedule = self.scheduler(sampling)
        scheduler = [self.index["scheduler"][0], schedule["_class_name"]]
        return {
            INDEX: {**parts, "scheduler": scheduler, "boundary_ratio": model.shape.boundary},
            SCHEDULER: schedule,
        }

    def _check_index(self, index: Json | None) -> None:
        """ValueError for a model_index.json of another pipeline."""
        if index is None or self.index is None:
            return
        needed = {"_class_name": self.index["_class_name"], "expand_timesteps": False}
        with reading(INDEX):
            check_fixed({"_class_name": None, **index}, needed)
            check_parts(index, self.index)

    def _sizes(self, component: str, values: Json) -> TowerConfig:
        with reading(f"{self.components[component].folder}/config.json"):
            return self.forms[_modality(component)].sizes(values)


def _is_there(layout: MovaLayout, name: str, components: Collection[str]) -> bool:
    """Whether an entry of model_index.json belongs to a folder with these components."""
    component = next((ours for ours, held in layout.components.items() if held.folder == name), None)
    return component is None or component in components


def _modality(component: str) -> str:
    return "video" if component in EXPERTS else component


def _boundary(index: Json) -> float:
    value = index.get("boundary_ratio", FULL.boundary)
    if type(value) not in (int, float) or not 0 < value < 1:
        raise ValueError(f"{INDEX}: `boundary_ratio` must lie between 0 and 1")
    return float(value)


def _bridge(values: Json, video: TowerConfig, audio: TowerConfig) -> BridgeConfig:
    """Of its config.json, which repeats sizes of the towers."""
    rate, eps = values.get("audio_fps", FULL.bridge.rate), values.get("eps", FULL.bridge.eps)
    with reading("dual_tower_bridge/config.json"):
        check_fixed(values, {**_BRIDGE_FIXED, **_repeated(video, audio)})
        if not all(type(value) in (int, float) and 0 < value <= LARGEST for value in (rate, eps)):
            raise ValueError("`audio_fps` and `eps` must be numbers above 0")
    return BridgeConfig(layers=min(video.layers, audio.layers), rate=float(rate), eps=float(eps))


def _repeated(video: TowerConfig, audio: TowerConfig) -> dict[str, Any]:
    return {
        "visual_layers": video.layers,
        "audio_layers": audio.layers,
        "visual_hidden_dim": video.dim,
        "audio_hidden_dim": audio.dim,
        "head_dim": video.head_dim,
    }


def _bridge_config(shape: MovaShape) -> dict[str, Any]:
    repeated = _repeated(shape.video, shape.audio)
    if shape.bridge.layers != min(shape.video.layers, shape.audio.layers):
        raise ValueError(f"`model` has {shape.bridge.layers} layers of the Bridge, and a released one has them all")
    return {**repeated, "audio_fps": shape.bridge.rate, "eps": shape.bridge.eps, **_BRIDGE_FIXED}


def _video_section(config: Json) -> dict[str, Any]:
    strides = {"stride": config.get("scale_factor_temporal", 4), "block": config.get("scale_factor_spatial", 8)}
    return {"kind": "wan", "channels": config.get("z_dim", 16), **strides}


def _audio_section(config: Json) -> dict[str, Any]:
    rates = config.get("encoder_rates")
    if not isinstance(rates, list) or not all(type(rate) is int for rate in rates):
        raise ValueError("audio_vae/config.json: `encoder_rates` must be a list of whole numbers")
    sizes = {"channels": config.get("latent_dim"), "sample_rate": config.get("sample_rate"), "hop": prod(rates)}
    return {"kind": "mova_dac", **sizes}


_EXPERT = ("WanModel",)
_TEXT = HeldCodec(
    folders={"text_encoder": "text_encoder", "tokenizer": "tokenizer"},
    section=lambda config: {"kind": "umt5", "dim": config.get("d_model")},
)
_PARTS = {"text_encoder": ["transformers", "UMT5EncoderModel"], "tokenizer": ["transformers", "T5TokenizerFast"]}
MOVA_FOLDER = MovaLayout(
    components={
        "video_high": Held(folder="video_dit", classes=_EXPERT),
        "video_low": Held(folder="video_dit_2", classes=_EXPERT),
        "audio": Held(folder="audio_dit", classes=("WanAudioModel",)),
        "bridge": Held(folder="dual_tower_bridge", classes=("DualTowerConditionalBridge",)),
    },
    codecs={
        "video": HeldCodec(folders={"": "video_vae"}, section=_video_section),
        "audio": HeldCodec(folders={"": "audio_vae"}, section=_audio_section),
        "text": _TEXT,
    },
    forms={"video": MOVA_VIDEO, "audio": MOVA_AUDIO},
    index={
        "_class_name": "MOVA",
        "audio_dit": ["mova.diffusion.models.wan_audio_dit", "WanAudioModel"],
        "audio_vae": ["mova.diffusion.models.dac_vae", "DAC"],
        "audio_vae_type": "dac",
        "dual_tower_bridge": ["mova.diffusion.models.interactionv2", "DualTowerConditionalBridge"],
        "scheduler": ["mova.diffusion.schedulers.flow_match_pair", "FlowMatchPairScheduler"],
        **_PARTS,
        "video_dit": ["mova.diffusion.models.wan_video_dit", "WanModel"],
        "video_dit_2": ["mova.diffusion.models.wan_video_dit", "WanModel"],
        "video_vae": ["diffusers", "AutoencoderKLWan"],
    },
    scheduler=pair_scheduler,
)
WAN_FOLDER = MovaLayout(
    components={
        "video_high": Held(folder="high_noise_model", classes=_EXPERT),
        "video_low": Held(folder="low_noise_model", classes=_EXPERT),
    },
    codecs={},
    forms={"video": WAN},
    files=("configuration.json",),
)
DIFFUSERS_FOLDER = MovaLayout(
    components={
        name: Held(folder=folder, classes=("WanTransformer3DModel",), ours=from_diffusers, theirs=to_diffusers)
        for name, folder in zip(EXPERTS, ("transformer", "transformer_2"), strict=True)
    },
    codecs={"video": HeldCodec(folders={"": "vae"}, section=_video_section), "text": _TEXT},
    forms={"video": DIFFUSERS},
    index={
        "_class_name": "WanImageToVideoPipeline",
        "image_encoder": [None, None],
        "image_processor": [None, None],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        **_PARTS,
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    },
    scheduler=flow_scheduler,
)
LAYOUTS: Mapping[str, Layout] = {"mova": MOVA_FOLDER, "wan": WAN_FOLDER, "diffusers": DIFFUSERS_FOLDER}
"""Name -> description, for `talkies import` and `talkies export`."""
