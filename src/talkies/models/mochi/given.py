"""What the network is given: streams and texts, checked against its shape and what was built of it."""

from collections.abc import Collection, Mapping

from torch import Tensor

from talkies.config.quoting import listed, shown
from talkies.models.mochi.config import JointShape
from talkies.streams.batch import Condition, Stream, Text


def streams_of(
    streams: Mapping[str, Stream], condition: Condition, shape: JointShape, built: Collection[str]
) -> dict[str, Stream]:
    """The streams that are used. ValueError for other names, a stream whose component is not `built`, latents or noise
    levels of other shapes, and a grid that the patch does not divide."""
    given = {name: stream for name, stream in streams.items() if name not in condition.without}
    known = shape.streams
    if shape.target not in given or given.keys() - known.keys():
        others = listed(sorted(known.keys() - {shape.target}))
        raise ValueError(
            f"the network takes {shape.target}, and besides only {others}; got {listed(sorted(given)) or 'nothing'}"
        )
    batch = given[shape.target].latent.shape[0]
    for name, stream in given.items():
        if known[name] not in built:
            raise ValueError(f"a {name} stream needs the component {shown(name)}, but this model was built without it")
        needed = (batch, shape.modalities[known[name]].channels, *stream.grid.shape)
        if tuple(stream.latent.shape) != needed:
            raise ValueError(
                f"{name}: the network takes latents with the grid's shape, {needed}, but got "
                f"{tuple(stream.latent.shape)}: the codec belongs to another model"
            )
        if stream.time.shape != (batch,):
            raise ValueError(
                f"{name}: {batch} latents need one noise level each, but got levels {tuple(stream.time.shape)}"
            )
        stream.grid.token_shape(shape.patch_of(name))
    return given


def texts_of(condition: Condition, latent: Tensor, shape: JointShape, built: Collection[str]) -> dict[str, Text]:
    """The text of every text component that is `built`; an empty one if there is none. ValueError for one of another
    shape, or whose component is not built."""
    texts = {name: text for name, text in condition.texts.items() if name not in condition.without}
    found = {}
    for name in shape.texts:
        if name in built:
            found[name] = _text_of(name, texts.get(name), latent, shape.modalities[name].channels)
        elif name in texts:
            raise ValueError(f"a {name} needs the component {shown(name)}, but this model was built without it")
    return found


def _text_of(name: str, text: Text | None, latent: Tensor, width: int) -> Text:
    batch = latent.shape[0]
    if text is None:
        return Text(embedding=latent.new_zeros(batch, 0, width), length=latent.new_zeros(batch).long())
    if text.embedding.shape[::2] != (batch, width) or text.length.shape != (batch,):
        raise ValueError(
            f"{batch} latents need a {name} [{batch}, L, {width}] with a length each, but got "
            f"{tuple(text.embedding.shape)} and lengths {tuple(text.length.shape)}"
        )
    return text
