"""What the network is given: streams and a text, checked against its shape and what was built of it."""

from collections.abc import Collection, Mapping

from torch import Tensor

from talkies.config.quoting import listed, shown
from talkies.models.mirage.config import MirageShape
from talkies.streams.batch import Condition, Stream, Text

STREAMS = ("video", "reference", "sound")
MODALITY = {"video": "video", "reference": "video", "text": "text", "sound": "sound"}
"""What attends together, in order -> the component with its weights."""


def patch_of(name: str, shape: MirageShape) -> tuple[int, ...]:
    """Latent steps that one token of a stream folds."""
    return (1,) if name == "sound" else shape.patch


def streams_of(
    streams: Mapping[str, Stream], condition: Condition, shape: MirageShape, built: Collection[str]
) -> dict[str, Stream]:
    """The streams that are used. ValueError for other names, a stream whose component is not `built`, latents or noise
    levels of other shapes, and a grid that the patch does not divide."""
    given = {name: stream for name, stream in streams.items() if name not in condition.without}
    if "video" not in given or given.keys() - set(STREAMS):
        raise ValueError(f"Mirage takes video, and besides sound and reference; got {listed(sorted(given))}")
    batch = given["video"].latent.shape[0]
    for name, stream in given.items():
        if MODALITY[name] not in built:
            raise ValueError(f"a {name} stream needs the component {shown(name)}, but this model was built without it")
        needed = (batch, shape.modality(MODALITY[name]).channels, *stream.grid.shape)
        if tuple(stream.latent.shape) != needed:
            raise ValueError(
                f"{name}: the network takes latents with the grid's shape, {needed}, but got "
                f"{tuple(stream.latent.shape)}: the codec belongs to another model"
            )
        if stream.time.shape != (batch,):
            raise ValueError(
                f"{name}: {batch} latents need one noise level each, but got levels {tuple(stream.time.shape)}"
            )
        stream.grid.token_shape(patch_of(name, shape))
    return given


def text_of(condition: Condition, latent: Tensor, shape: MirageShape, built: Collection[str]) -> Text | None:
    """The text; an empty one if there is none, and None if its component is not `built`. ValueError for one of another
    shape, or whose component is not built."""
    text = None if "text" in condition.without else condition.texts.get("text")
    batch, width = latent.shape[0], shape.text.channels
    if "text" not in built:
        if text is not None:
            raise ValueError("a text needs the component 'text', but this model was built without it")
        return None
    if text is None:
        return Text(embedding=latent.new_zeros(batch, 0, width), length=latent.new_zeros(batch).long())
    if text.embedding.shape[::2] != (batch, width) or text.length.shape != (batch,):
        raise ValueError(
            f"{batch} latents need a text [{batch}, L, {width}] with a length each, but got "
            f"{tuple(text.embedding.shape)} and lengths {tuple(text.length.shape)}"
        )
    return text
