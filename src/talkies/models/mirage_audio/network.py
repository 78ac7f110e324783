"""What Mirage audio changes of its streams before the network takes them."""

from collections.abc import Mapping
from dataclasses import replace

from talkies.models.mochi.network import JointNetwork
from talkies.streams.batch import Stream


def placed(streams: Mapping[str, Stream]) -> dict[str, Stream]:
    """A reference ends where the clip begins, wherever in its recording it was: a voice that is given has no place."""
    return {name: _before(stream) if name == "reference" else stream for name, stream in streams.items()}


def _before(stream: Stream) -> Stream:
    seconds = stream.valid.sum(1) / float(stream.grid.rate)
    return replace(stream, start=-seconds, role="reference")


def network() -> JointNetwork:
    """The joint transformer over texts, a reference and the sound."""
    return JointNetwork(placed)
