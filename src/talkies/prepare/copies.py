"""Copies of media files (`likeness`): on one side of the split, told, and (unless the source says keep) used once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from talkies.config import DataError
from talkies.config.shown import shown
from talkies.prepare.clips import Rejected, read_caption
from talkies.prepare.config import PrepareConfig, SourceConfig
from talkies.prepare.geometry import Geometry
from talkies.prepare.hashes import MISSING, Hashes
from talkies.prepare.items import Item
from talkies.prepare.likeness import FilePlace, Likeness, likenesses
from talkies.prepare.sources import Copy, MediaSource
from talkies.world.config import SyntheticSource

Contents = Mapping[str, Likeness]
"""By the ids of a source's items."""


def settle_copies(
    sources: Mapping[str, MediaSource], config: PrepareConfig, hashes: Mapping[str, Hashes], window: Geometry
) -> dict[str, MediaSource]:
    """The sources with copies left out or brought to one side, and without clips to train on that any source holds out.

    Depends on names and contents only, so that the jobs of an array agree. A source without copies stays as it is.
    Raises DataError for a source in which nothing is left to train on.
    """
    contents = _contents(sources, config, hashes, window)
    settled = {
        name: _one_side(source, contents[name], keep=_keeps(config.sources[name])) for name, source in sources.items()
    }
    held = {
        contents[name][item.id].kin: (name, item.id)
        for name, source in settled.items()
        for item in source.split("heldout")
    }
    return {name: _apart(source, contents[name], held) for name, source in settled.items()}


def _keeps(source: SourceConfig) -> bool:
    return not isinstance(source, SyntheticSource) and source.duplicates == "keep"


def _contents(
    sources: Mapping[str, MediaSource], config: PrepareConfig, hashes: Mapping[str, Hashes], window: Geometry
) -> dict[str, Contents]:
    """What names the content of every item, by source and id. Of rendered clips, the file; of what is missing, its
    place."""
    files = {name: {item.id: hashes[name].media(item) for item in source.items} for name, source in sources.items()}
    places = {
        files[name][item.id]: FilePlace(path=item.media, hashes=hashes[name])
        for name, source in sources.items()
        if not isinstance(config.sources[name], SyntheticSource)
        for item in source.items
    }
    places.pop(MISSING, None)
    found = likenesses(places, window)
    return {name: {id: _named(name, id, sha, found) for id, sha in shas.items()} for name, shas in files.items()}


def _named(source: str, id: str, sha: str, found: Contents) -> Likeness:
    name = f"{source}: {id}" if sha == MISSING else sha
    return found.get(sha, Likeness(same=name, kin=name))


def _one_side(source: MediaSource, contents: Contents, *, keep: bool) -> MediaSource:
    """A source whose kin stand where the first of them stood; of copies one is left, unless all are kept."""
    families: dict[str, dict[str, list[Item]]] = {}
    for item in source.items:
        likeness = contents[item.id]
        families.setdefault(likeness.kin, {}).setdefault(likeness.same, []).append(item)
    if len(families) == len(source.items):
        return source
    left = {
        kin: [item for group in family.values() for item in (group if keep else [_chosen(group)])]
        for kin, family in families.items()
    }
    first = _held_out(source, contents, left, keep=keep)
    held, train = ([item for kin in left if (kin in first) == out for item in left[kin]] for out in (True, False))
    if not train:
        raise DataError(
            f"prepare: source {shown(source.name)} has {len(families)} different media files (copies and other sound "
            f"for the same pictures go to one side of the split) and holds out {source.heldout}: nothing is left to "
            f"train on; lower `sources.{source.name}.heldout` or add media"
        )
    copies = [copy for family in families.values() for copy in _copies([*family.values()], keep=keep)]
    return replace(source, items=[*held, *train], heldout=len(held), copies=copies)


def _held_out(source: MediaSource, contents: Contents, left: Mapping[str, Sequence[Item]], *, keep: bool) -> set[str]:
    """The kin that is held out. Where copies are left out, as many files as the recipe says, copies not counted."""
    if keep:
        return {contents[item.id].kin for item in source.items[: source.heldout]}
    found, count = set[str](), 0
    for kin, items in left.items():
        if count >= source.heldout:
            break
        found.add(kin)
        count += len(items)
    return found


def _copies(groups: Sequence[Sequence[Item]], *, keep: bool) -> list[Copy]:
    """What is told of a family: the copies in each group, and the groups that are no copies of each other."""
    chosen = [_chosen(group) for group in groups]
    head = _chosen(chosen)
    found = [Copy(id=one.id, of=head.id, kept=True, differs="sound or tags") for one in chosen if one.id != head.id]
    for group, one in zip(groups, chosen, strict=True):
        caption = _caption(one)
        for item in group:
            if item.id != one.id:
                other = not keep and _caption(item) not in (None, caption)
                found.append(Copy(id=item.id, of=one.id, kept=keep, differs="caption" if other else ""))
    return found


def _chosen(group: Sequence[Item]) -> Item:
    """The one with the shortest name that has a caption: "c3.mp4" before "c3 (1).mp4"."""
    named = sorted(group, key=lambda item: (len(PurePosixPath(item.id).stem), len(item.id), item.id))
    return next((item for item in named if _caption(item) is not None), named[0]) if len(named) > 1 else named[0]


def _caption(item: Item) -> str | None:
    try:
        return read_caption(item.caption)
    except Rejected:
        return None


def _apart(source: MediaSource, contents: Contents, held: Mapping[str, tuple[str, str]]) -> MediaSource:
    """A source that does not train on what another one holds out."""
    train = source.split("train")
    found = [item for item in train if contents[item.id].kin in held and held[contents[item.id].kin][0] != source.name]
    if not found:
        return source
    if len(found) == len(train):
        raise DataError(
            f"prepare: every media file that source {shown(source.name)} has to train on is held out in another source"
        )
    copies = [Copy(id=item.id, of="{}: {}".format(*held[contents[item.id].kin]), kept=False) for item in found]
    return replace(source, barred=frozenset(item.id for item in found), copies=[*source.copies, *copies])
