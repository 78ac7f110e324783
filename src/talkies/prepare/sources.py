"""Sources of media: a folder, a manifest, or the synthetic world. Each becomes an ordered list of items."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from talkies.config import DataError
from talkies.config.canonical import identifying
from talkies.config.migrations import hash_of
from talkies.config.quoting import listed, shown
from talkies.config.records import regular_bytes
from talkies.files.durable import fsync_tree, write_text
from talkies.prepare.config import FolderSource, ManifestSource, SourceConfig
from talkies.prepare.items import NOTHING, SUFFIXES, Beside, Item, ordered, read_manifest, scan
from talkies.prepare.lip_sync import FORM, SUFFIX
from talkies.prepare.paths import source_path
from talkies.world.config import SyntheticSource
from talkies.world.render import render_source
from talkies.world.speakers import clip_group

MARKER = ".rendered"


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A media file with the content of another, `of`: left out, or `kept` on the same side of the split. `differs`
    names the difference: the "caption", which is left out too, or the "sound or tags"."""

    id: str
    of: str
    kept: bool
    differs: str = ""


@dataclass(frozen=True, kw_only=True)
class MediaSource:
    """The items of a source, ordered. The first `heldout` are held out in every set, even if some are quarantined;
    `ignored` counts other files by suffix. `copies` are those found; `barred` are ids that are not trained on because
    another source holds the same content out."""

    name: str
    items: Sequence[Item]
    heldout: int
    ignored: Mapping[str, int]
    copies: Sequence[Copy] = ()
    barred: frozenset[str] = frozenset()

    def split(self, name: str) -> Sequence[Item]:
        """The items of split "train", "heldout" or "all"."""
        train = [item for item in self.items[self.heldout :] if item.id not in self.barred]
        return {"heldout": self.items[: self.heldout], "train": train, "all": self.items}[name]


def collect(
    name: str,
    config: SourceConfig,
    *,
    recipe_folder: Path,
    rendered: Path | None,
    seed: int,
    beside: Beside = NOTHING,
    progress: Callable[[int], None] | None = None,
) -> MediaSource:
    """The items of a source, with what its sets look for `beside` them. A synthetic one is rendered into folder
    `rendered` first, unless it is there already; for another one, nothing is written.

    Raises RecipeError for a missing path, DataError for a manifest that cannot be read, a source that has no more
    items than it holds out, or one that is filtered by scores, or read with tracks, that an item lacks.
    """
    ignored: Mapping[str, int] = {}
    if isinstance(config, SyntheticSource):
        assert rendered is not None, "it is rendered somewhere"
        render(config, rendered, seed, progress)
        items = ordered(scan(rendered, beside)[0], group=clip_group)
    elif isinstance(config, FolderSource):
        found, ignored = scan(source_path(name, config, recipe_folder), beside)
        items = ordered(found)
    else:
        items = ordered(read_manifest(source_path(name, config, recipe_folder), beside))
    if len(items) <= config.heldout:
        raise DataError(
            f"prepare: source {shown(name)} has {len(items)} media files and holds out {config.heldout}: nothing "
            f"is left to train on; lower `sources.{name}.heldout` or add media ({' '.join(SUFFIXES)})"
        )
    if not isinstance(config, SyntheticSource) and config.sync is not None:
        _check_scores(name, config, items)
    _check_stems(name, items)
    return MediaSource(name=name, items=items, heldout=config.heldout, ignored=ignored)


def _check_scores(name: str, config: FolderSource | ManifestSource, items: Sequence[Item]) -> None:
    """DataError for items without the lip-sync scores by which the source is filtered."""
    lacking = [item.id for item in items if item.sync is None]
    if lacking:
        place = f'its line, as "sync": {FORM}' if isinstance(config, ManifestSource) else f"NAME{SUFFIX}, as {FORM}"
        raise DataError(
            f"prepare: source {shown(name)}: `sources.{name}.sync` filters by lip-sync scores, which {len(lacking)} of "
            f"{len(items)} files lack: {listed(lacking)}; write the scores of each to {place}, or remove the key"
        )


def _check_stems(name: str, items: Sequence[Item]) -> None:
    """DataError for items without the files of their tracks."""
    lacking = {item.id: path.name for item in items for path in item.stems.values() if not path.is_file()}
    if lacking:
        files = listed([f"{id} has no {name}" for id, name in lacking.items()])
        raise DataError(
            f"prepare: source {shown(name)}: {len(lacking)} of {len(items)} files lack a file of their tracks beside "
            f"them: {files}; demix them to files, leave these tracks out (`sets.NAME.without`), or choose a "
            "`codecs.demix` that finds them itself"
        )


def render(config: SyntheticSource, folder: Path, seed: int, progress: Callable[[int], None] | None = None) -> None:
    """Render a synthetic source into `folder`, completely or not at all; an existing one is kept if it is the same."""
    key = hash_of(identifying({"source": replace(config, heldout=0), "seed": seed}))
    marker = folder / MARKER
    with suppress(OSError):
        if regular_bytes(marker, len(key) + 2).strip() == key.encode():
            return
    work = folder.with_name(f".{folder.name}.tmp")
    for stale in (folder, work):
        if stale.exists():
            shutil.rmtree(stale)
    render_source(config, work, seed, progress)
    fsync_tree(work)
    write_text(work / MARKER, key + "\n")
    work.rename(folder)
