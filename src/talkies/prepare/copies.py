"""Files with the same content: on one side of the split, told, and (unless the source says keep) used once.

The same are files of the same bytes, and files whose first window decodes to the same pictures and the same sound: what
another container holds, and what was cut off behind the window. The window is the shortest of the recipe's sets.
Hashing costs nothing beyond what names a set's content already; for the window every file's head is decoded once (one
picture and its sound), the pictures of the window only where that agrees, and both are remembered by the file's sha256.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import av

from talkies.config import DataError
from talkies.config.shown import shown
from talkies.media.container import MediaError
from talkies.media.content import content_digest
from talkies.prepare.clips import Rejected, read_caption
from talkies.prepare.config import PrepareConfig, SourceConfig, SyntheticSource
from talkies.prepare.geometry import Geometry
from talkies.prepare.hashes import MISSING, Hashes
from talkies.prepare.items import Item
from talkies.prepare.sources import Copy, Source


def settle_copies(
    sources: Mapping[str, Source], config: PrepareConfig, hashes: Mapping[str, Hashes], window: Geometry
) -> dict[str, Source]:
    """The sources with copies left out or brought to one side, and without clips to train on that any source holds out.

    Depends on names and contents only, so that the jobs of an array agree. A source without copies stays as it is.
    Raises DataError for a source in which nothing is left to train on.
    """
    contents = _contents(sources, config, hashes, window)
    settled = {
        name: _one_side(source, contents[name], keep=_keeps(config.sources[name])) for name, source in sources.items()
    }
    held = {
        contents[name][item.id]: (name, item.id) for name, source in settled.items() for item in source.split("heldout")
    }
    return {name: _apart(source, contents[name], held) for name, source in settled.items()}


def _keeps(source: SourceConfig) -> bool:
    return not isinstance(source, SyntheticSource) and source.duplicates == "keep"


def _contents(
    sources: Mapping[str, Source], config: PrepareConfig, hashes: Mapping[str, Hashes], window: Geometry
) -> dict[str, dict[str, str]]:
    """What names the content of every item, by source and id. Of rendered clips, the file; of what is missing, its
    place."""
    files = {name: {item.id: hashes[name].media(item) for item in source.items} for name, source in sources.items()}
    shas: dict[str, tuple[Hashes, Item]] = {}
    for name, source in sources.items():
        if not isinstance(config.sources[name], SyntheticSource):
            shas |= {files[name][item.id]: (hashes[name], item) for item in source.items}
    shas.pop(MISSING, None)
    digests = {sha: _digest(*place, sha, 1, window) for sha, place in shas.items()}
    # A picture and the window's sound name the content; where they agree, it takes all pictures.
    often = Counter(digests.values())
    digests |= {sha: _digest(*shas[sha], sha, window.frames, window) for sha in shas if often[digests[sha]] > 1}
    return {
        name: {id: f"{name}: {id}" if sha == MISSING else digests.get(sha, sha) for id, sha in found.items()}
        for name, found in files.items()
    }


def _one_side(source: Source, contents: Mapping[str, str], *, keep: bool) -> Source:
    """A source whose copies stand where the first of them stood; of each group one is left, unless all are kept."""
    groups: dict[str, list[Item]] = {}
    for item in source.items:
        groups.setdefault(contents[item.id], []).append(item)
    if len(groups) == len(source.items):
        return source
    chosen = {content: _chosen(group) for content, group in groups.items()}
    copies = [
        Copy(id=item.id, of=chosen[content].id, kept=keep)
        for content, group in groups.items()
        for item in group
        if item.id != chosen[content].id
    ]
    first = list(dict.fromkeys(contents[item.id] for item in source.items[: source.heldout]))
    if not keep:  # as many are held out as the recipe says, copies not counted
        first = list(groups)[: source.heldout]
    rest = [content for content in groups if content not in set(first)]
    held, train = ([item for c in side for item in (groups[c] if keep else [chosen[c]])] for side in (first, rest))
    if not train:
        raise DataError(
            f"prepare: source {shown(source.name)} has {len(groups)} media files of different content and holds out "
            f"{source.heldout}: nothing is left to train on; lower `sources.{source.name}.heldout` or add media"
        )
    return replace(source, items=[*held, *train], heldout=len(held), copies=copies)


def _chosen(group: Sequence[Item]) -> Item:
    """The first by name that has a caption."""
    named = sorted(group, key=lambda item: item.id)
    return next((item for item in named if _captioned(item)), named[0]) if len(named) > 1 else named[0]


def _captioned(item: Item) -> bool:
    try:
        read_caption(item.caption)
    except Rejected:
        return False
    return True


def _apart(source: Source, contents: Mapping[str, str], held: Mapping[str, tuple[str, str]]) -> Source:
    """A source that does not train on what another one holds out."""
    train = source.split("train")
    found = [item for item in train if contents[item.id] in held and held[contents[item.id]][0] != source.name]
    if not found:
        return source
    if len(found) == len(train):
        raise DataError(
            f"prepare: every media file that source {shown(source.name)} has to train on is held out in another source"
        )
    copies = [Copy(id=item.id, of="{}: {}".format(*held[contents[item.id]]), kept=False) for item in found]
    return replace(source, barred=frozenset(item.id for item in found), copies=[*source.copies, *copies])


def _digest(hashes: Hashes, item: Item, sha: str, frames: int, window: Geometry) -> str:
    """Of the first pictures and the window's sound; the file's own sha256 where it cannot be decoded."""

    def make() -> str:
        try:
            return content_digest(item.media, frames=frames, seconds=window.seconds)
        except (MediaError, ValueError):
            return sha

    return hashes.remembered(f"{sha}\0{frames}\0{window.seconds}", av.__version__, make)
