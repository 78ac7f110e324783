"""Copies of media files (`duplicates`): kept on one side of the split, reported, and used once (unless `duplicates` is
keep)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from talkies.config import DataError
from talkies.config.quoting import shown
from talkies.prepare.captions import read_caption
from talkies.prepare.config import PrepareConfig, SourceConfig
from talkies.prepare.duplicates import FilePlace, Likeness, likenesses
from talkies.prepare.geometry import Geometry
from talkies.prepare.hashes import MISSING, Hashes
from talkies.prepare.items import Item
from talkies.prepare.rejection import Rejected
from talkies.prepare.sources import Copy, MediaSource
from talkies.streams.system import System
from talkies.world.config import SyntheticSource

Contents = Mapping[str, Likeness]
"""Likeness by the id of a source's item."""


def resolve_copies(
    sources: Mapping[str, MediaSource],
    config: PrepareConfig,
    hashes: Mapping[str, Hashes],
    window: Geometry,
    system: System,
) -> dict[str, MediaSource]:
    """The sources with copies left out or moved to one side of the split, and without training clips that any source
    holds out. Of several copies the one is used whose caption the `system` can use.

    Depends on names and contents only, so that the jobs of an array agree. A source without copies is unchanged.
    Raises DataError for a source with nothing left to train on.
    """
    contents = _contents(sources, config, hashes, window)
    resolved = {
        name: _one_side(source, contents[name], keep=_keeps(config.sources[name]), system=system)
        for name, source in sources.items()
    }
    heldout = {
        contents[name][item.id].kin: (name, item.id)
        for name, source in resolved.items()
        for item in source.split("heldout")
    }
    return {name: _without(heldout, source, contents[name]) for name, source in resolved.items()}


def _keeps(source: SourceConfig) -> bool:
    return not isinstance(source, SyntheticSource) and source.duplicates == "keep"


def _contents(
    sources: Mapping[str, MediaSource], config: PrepareConfig, hashes: Mapping[str, Hashes], window: Geometry
) -> dict[str, Contents]:
    """The Likeness of every item, by source and id. A rendered clip is named by its file, a missing one by its id."""
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


def _one_side(source: MediaSource, contents: Contents, *, keep: bool, system: System) -> MediaSource:
    """The source with kin moved to the position of their first item, and one of several copies, unless all are kept."""
    families: dict[str, dict[str, list[Item]]] = {}
    for item in source.items:
        likeness = contents[item.id]
        families.setdefault(likeness.kin, {}).setdefault(likeness.same, []).append(item)
    if len(families) == len(source.items):
        return source
    kept = {
        kin: [item for group in family.values() for item in (group if keep else [_chosen(group, system)])]
        for kin, family in families.items()
    }
    heldout_kin = _held_out(source, contents, kept, keep=keep)
    heldout, train = (
        [item for kin in kept if (kin in heldout_kin) == out for item in kept[kin]] for out in (True, False)
    )
    if not train:
        raise DataError(
            f"prepare: source {shown(source.name)} has {len(families)} different media files (copies, and other sound "
            f"for the same pictures, are on one side of the split) and holds out {source.heldout}: nothing is left to "
            f"train on; lower `sources.{source.name}.heldout` or add media"
        )
    copies = [copy for family in families.values() for copy in _copies([*family.values()], keep=keep, system=system)]
    return replace(source, items=[*heldout, *train], heldout=len(heldout), copies=copies)


def _held_out(source: MediaSource, contents: Contents, kept: Mapping[str, Sequence[Item]], *, keep: bool) -> set[str]:
    """The kin that are held out. If copies are left out: as many files as the recipe says, not counting copies."""
    if keep:
        return {contents[item.id].kin for item in source.items[: source.heldout]}
    heldout, count = set[str](), 0
    for kin, items in kept.items():
        if count >= source.heldout:
            break
        heldout.add(kin)
        count += len(items)
    return heldout


def _copies(groups: Sequence[Sequence[Item]], *, keep: bool, system: System) -> list[Copy]:
    """The report of a family of kin: the copies in each group, and the groups that are not copies of each other."""
    originals = [_chosen(group, system) for group in groups]
    head = _chosen(originals, system)
    copies = [
        Copy(id=item.id, of=head.id, kept=True, differs="sound or tags") for item in originals if item.id != head.id
    ]
    for group, original in zip(groups, originals, strict=True):
        caption = _caption(original, system)
        for item in group:
            if item.id != original.id:
                other = not keep and _caption(item, system) not in (None, caption)
                copies.append(Copy(id=item.id, of=original.id, kept=keep, differs="caption" if other else ""))
    return copies


def _chosen(group: Sequence[Item], system: System) -> Item:
    """The item with the shortest name among those with a usable caption: "c3.mp4" before "c3 (1).mp4"."""
    named = sorted(group, key=lambda item: (len(PurePosixPath(item.id).stem), len(item.id), item.id))
    return next((item for item in named if _caption(item, system) is not None), named[0]) if named[1:] else named[0]


def _caption(item: Item, system: System) -> str | None:
    """None for a caption that cannot be read, or of which the system can make nothing."""
    try:
        caption = read_caption(item.caption)
    except Rejected:
        return None
    return caption if system.captions.unfit(caption) is None else None


def _without(heldout: Mapping[str, tuple[str, str]], source: MediaSource, contents: Contents) -> MediaSource:
    """The source without training items that another source holds out; `heldout[kin]` is (source, id)."""
    train = source.split("train")
    kins = {item.id: contents[item.id].kin for item in train}
    barred = [item for item in train if heldout.get(kins[item.id], (source.name, ""))[0] != source.name]
    if not barred:
        return source
    if len(barred) == len(train):
        raise DataError(
            f"prepare: every training file of source {shown(source.name)} is held out by another source; add media, or "
            "remove the copies from one of them"
        )
    copies = [Copy(id=item.id, of="{}: {}".format(*heldout[kins[item.id]]), kept=False) for item in barred]
    return replace(source, barred=frozenset(item.id for item in barred), copies=[*source.copies, *copies])
