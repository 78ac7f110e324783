"""The released folders that MTV's backbone may come from and go to: diffusers' CogVideoX-2b, -5b and -5b-I2V."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from talkies.config.canonical import to_dict
from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.models.cogvideox.keys import NAMES
from talkies.models.cogvideox.released import CLASS, config, sizes
from talkies.models.mtv.config import PRESETS, MtvConfig
from talkies.models.mtv.schedules import STEPS, TEXT_SCALE, flow, sampling, scheduler
from talkies.models.released import check_fixed, check_parts, reading
from talkies.streams.layout import CONFIG, Held, HeldCodec, Json, Layout

INDEX, SCHEDULER, FOLDER = "model_index.json", "scheduler/scheduler_config.json", "transformer"
PIPELINE, IMAGE_PIPELINE = "CogVideoXPipeline", "CogVideoXImageToVideoPipeline"
OTHER: Literal["mtv-5b"] = "mtv-5b"
"""Its control is that of a backbone whose sizes no preset has."""
_PARTS = {
    "scheduler": ["diffusers", "CogVideoXDDIMScheduler"],
    "text_encoder": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "T5Tokenizer"],
    FOLDER: ["diffusers", CLASS],
    "vae": ["diffusers", "AutoencoderKLCogVideoX"],
}


def _video_section(values: Json) -> dict[str, Any]:
    blocks = values.get("block_out_channels")
    if not isinstance(blocks, list) or not 0 < len(blocks) <= 8:
        raise ValueError(f"vae/{CONFIG}: `block_out_channels` must be a list of up to 8 whole numbers")
    stride = values.get("temporal_compression_ratio", 4)
    whole = int(stride) if isinstance(stride, float) and stride.is_integer() else stride
    return {
        "kind": "cogvideox",
        "channels": values.get("latent_channels"),
        "stride": whole,
        "block": 2 ** (len(blocks) - 1),
    }


class CogVideoXLayout:
    """The pipeline's folder. Both components of the backbone lie in its `transformer`."""

    components: Mapping[str, Held] = {
        name: Held(folder=FOLDER, classes=(CLASS,), ours=names.ours, theirs=names.theirs)
        for name, names in NAMES.items()
    }
    codecs: Mapping[str, HeldCodec] = {
        "video": HeldCodec(folders={"": "vae"}, section=_video_section),
        "text": HeldCodec(
            folders={"text_encoder": "text_encoder", "tokenizer": "tokenizer"},
            section=lambda values: {"kind": "t5", "dim": values.get("d_model")},
        ),
    }
    files = (INDEX, SCHEDULER)
    geometry = "480x720x49@8"

    def phase(self, components: Collection[str]) -> dict[str, Any]:
        """The backbone's own task."""
        assert {*components} == {*self.components}, "they lie in one folder"
        return {"kind": "video_pretraining"}

    def model(self, configs: Mapping[str, Json], files: Mapping[str, Json]) -> dict[str, Any]:
        """The preset of these sizes, if there is one."""
        _check_index(files.get(INDEX))
        with reading(f"{FOLDER}/{CONFIG}"):
            found = sizes(configs["video"])
        known = next((name for name, preset in PRESETS.items() if preset.backbone == found), None)
        values: dict[str, Any] = to_dict(MtvConfig(preset=OTHER, backbone=None if known else found))
        return {**values, "preset": known or OTHER}

    def sections(self, model: Any, components: Collection[str], configs: Mapping[str, Json]) -> dict[str, Any]:
        """The VAE, and the text encoder, whose padding the backbone attends to."""
        backbone: CogVideoXConfig = model.shape.backbone
        channels, stride = backbone.out_channels, backbone.temporal_compression
        needed: dict[str, dict[str, Any]] = {
            "video": {"kind": "cogvideox", "channels": channels, "stride": stride},
            "text": {"kind": "t5", "dim": backbone.text_dim, "length": backbone.text_length, "padding": "encoded"},
        }
        held = {name: self.codecs[name].section(values) for name, values in configs.items()}
        return {name: {**section, **held.get(name, {})} for name, section in needed.items()}

    def sampling(self, files: Mapping[str, Json]) -> dict[str, Any]:
        """Of the scheduler's class, 50 steps and the text scale 6."""
        return _of_schedule(sampling, files)

    def flow(self, files: Mapping[str, Json]) -> dict[str, Any]:
        """Of the scheduler, which differs between the released models."""
        return _of_schedule(flow, files)

    def taken(self, components: Collection[str], files: Mapping[str, Json]) -> dict[str, float]:
        """Steps and the text scale, which no folder says."""
        return {"steps": STEPS, "text scale": TEXT_SCALE}

    def config(self, component: str, model: Any) -> dict[str, Any]:
        """That of the whole backbone."""
        return config(_backbone(model))

    def written(self, model: Any, components: Collection[str], sampling: Any, flow: Any) -> dict[str, dict[str, Any]]:
        """model_index.json and the schedule."""
        made, backbone = scheduler(sampling, flow), _backbone(model)
        pipeline = PIPELINE if backbone.in_channels == backbone.out_channels else IMAGE_PIPELINE
        parts = {**_PARTS, "scheduler": ["diffusers", made["_class_name"]]}
        return {INDEX: {"_class_name": pipeline, **parts}, SCHEDULER: made}


def _backbone(model: Any) -> CogVideoXConfig:
    """ValueError for another backbone."""
    backbone = model.shape.backbone
    if not isinstance(backbone, CogVideoXConfig):
        raise ValueError(f"the backbone of `model.preset` {model.preset} is a tower of Wan, which has no layout")
    return backbone


def _check_index(index: Json | None) -> None:
    """ValueError for a model_index.json of another pipeline."""
    if index is None:
        return
    with reading(INDEX):
        if index.get("_class_name") != IMAGE_PIPELINE:
            check_fixed({"_class_name": None, **index}, {"_class_name": PIPELINE})
        check_parts(index, _PARTS)


def _of_schedule(read: Any, files: Mapping[str, Json]) -> dict[str, Any]:
    """What `read` finds in the scheduler. ValueError without one: released models differ in their noise."""
    if SCHEDULER not in files:
        raise ValueError(f"{SCHEDULER} is missing, which says what the network predicts: download it")
    with reading(SCHEDULER):
        found: dict[str, Any] = read(files[SCHEDULER])
    return found


LAYOUTS: Mapping[str, Layout] = {"cogvideox": CogVideoXLayout()}
"""Name -> description, for `talkies import` and `talkies export`."""
