"""Deinterlaces video: a frame of two fields, taken at different times, becomes the first field's picture."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import av
from av.filter import Graph

from talkies.media.interlace_detection import Order
from talkies.media.sidedata import source

TOP_FIRST, BOTTOM_FIRST = (2, 4), (3, 5)
"""libavcodec's AV_FIELD_*, grouped by the field that is shown first, whichever is stored first."""
UNMARKED = ("cfhd", "ffvhuff", "huffyuv", "jpeg2000", "magicyuv", "png", "qtrle", "utvideo")
"""Decoders that do not mark interlaced frames; for them, the container's field order applies to all frames."""


def progressive(
    shown: Iterator[tuple[float, Any]], stream: Any, notice: Callable[[], object], order: Order | None = None
) -> Iterator[tuple[float, Any]]:
    """The same frames at the same times. From the first interlaced one on, interlaced frames are replaced by libav's
    bwdif: the lines of the field that is shown first, with the lines between them interpolated. `notice` is called at
    that first one. Frames that are not marked stay unchanged, combed or not, unless `order` is given for all of them.
    """
    parity = order or _container_parity(stream)
    before: Any = None
    for time, frame in shown:
        if frame.interlaced_frame or parity:
            notice()
            yield from _deinterlaced(before, (time, frame), shown, parity)
            return
        before = frame
        yield time, frame


def _container_parity(stream: Any) -> str:
    """ "tff" or "bff" if only the container records the field order, else ""."""
    order = stream.codec_context.field_order
    if stream.codec_context.name not in UNMARKED:
        return ""
    return "tff" if order in TOP_FIRST else "bff" if order in BOTTOM_FIRST else ""


def _deinterlaced(
    before: Any, first: tuple[float, Any], rest: Iterator[tuple[float, Any]], parity: str
) -> Iterator[tuple[float, Any]]:
    graph, sink = _graph(first[1], parity)
    times: deque[float | None] = deque()
    if before is not None and before.format.name == first[1].format.name:
        graph.push(before)  # a neighbour improves the first interlaced frame
        times.append(None)
    graph.push(first[1])
    times.append(first[0])
    for time, frame in rest:
        graph.push(frame)
        times.append(time)
        yield from _pulled(sink, times)
    graph.push(None)
    yield from _pulled(sink, times)


def _graph(frame: Any, parity: str) -> tuple[Graph, Any]:
    graph = Graph()
    graph.threads = 1
    nodes = [source(graph, frame)]
    if parity:
        nodes.append(graph.add("setfield", f"mode={parity}"))
    nodes += [graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    return graph, nodes[-1]


def _pulled(sink: Any, times: deque[float | None]) -> Iterator[tuple[float, Any]]:
    """The frames that are ready: one for each that was pushed, in order; the last one comes at the end."""
    while True:
        try:
            frame = sink.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        time = times.popleft()
        if time is not None:
            yield time, frame
