"""The side data of decoded frames."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import count
from typing import Any

import av
from av.filter import Graph
from av.sidedata.sidedata import Type

# Kinds are numbered from 0.
FIRST_UNKNOWN = 1 + len(Type)


def side_data(frame: Any, kind: Type) -> bytes | None:
    """The data of one kind; None if the frame has none."""
    try:
        found = frame.side_data
    except ValueError:  # PyAV refuses the whole list if it does not know one kind (EXIF, view number)
        found = _known(frame).side_data
    return bytes(found[kind]) if kind in found else None


def without(frame: Any, kind: Type) -> Any:
    """The same frame without the data of one kind."""
    number: Any = kind.value
    return _deleted(frame, [number])


def _known(frame: Any) -> Any:
    """The same frame without the kinds that PyAV does not know."""
    return _deleted(frame, count(FIRST_UNKNOWN))


def _deleted(frame: Any, kinds: Iterable[int]) -> Any:
    graph = Graph()
    nodes = [source(graph, frame)]
    for kind in kinds:
        try:
            nodes.append(graph.add("sidedata", f"mode=delete:type={kind}"))
        except av.FFmpegError:  # libav has no more kinds
            break
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    nodes[0].push(frame)
    return nodes[-1].pull()


def source(graph: Graph, frame: Any) -> Any:
    """A source node of a filter graph, for frames like this one."""
    return graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        time_base=str(frame.time_base or Fraction(1, 1000)),
        pixel_aspect="1/1",
        colorspace=str(int(frame.colorspace)),
        range=str(int(frame.color_range)),
    )
