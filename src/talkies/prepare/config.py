"""Recipe keys of preparation: sources of media, and the shard sets made from them."""

from typing import Annotated, Literal

from pydantic import Field

from talkies.codecs.config import CodecsConfig
from talkies.codecs.demix_config import DemixerConfig
from talkies.config import config
from talkies.config.numbers import Clips, Decibels, Loudness, Natural, NonNegative
from talkies.config.schema import added
from talkies.streams.clip_size import ClipSize
from talkies.world.config import SyntheticSource

ChannelKey = Literal["mix", "left", "right"] | Natural
Subset = Literal["basic_face", "single_character", "multiple_characters", "sound_event", "visual_mood"]
SILENCE = -45.0
"""dB: the RMS of a clip's track below which it counts as silent (arXiv 2506.08003)."""


@config
class SyncConfig:
    """Which clips are kept, by SyncNet's scores: those whose sound is at most `offset` frames off the lips, found with
    at least `confidence`; for at most `near` frames, `near_confidence` is enough, because noise and singing lower it
    (arXiv 2506.08279, section 3.7, which gives no numbers; these are ours)."""

    offset: Natural = 3
    confidence: NonNegative = 3.0
    near: Natural = 1
    near_confidence: NonNegative = 1.5


@config
class FolderSource:
    """A folder of media files, each with a caption in a .txt of the same stem.

    `channel`: the mix of a file's channels (ITU-R BS.775), or one of them: left, right, or a number from 0.
    `duplicates`: keep one of the files with the same content (drop), or all of them on one side of the split (keep).
    `avi`: how to treat AVI files whose sound is not PCM; they do not record its delay, often half a frame.
    `sync`: filter by the lip-sync scores {"offset", "confidence"} in a .sync.json of the same stem."""

    kind: Literal["folder"] = "folder"
    path: str
    heldout: Natural = 0
    channel: ChannelKey = added("mix")
    duplicates: Literal["drop", "keep"] = added("drop")
    avi: Literal["quarantine", "keep"] = added("quarantine")
    sync: SyncConfig | None = added(None)


@config
class ManifestSource:
    """A JSONL manifest: one {"media": path, "caption": text} per line, paths relative to the manifest. `channel`,
    `duplicates` and `avi` as for a folder; `sync`: by the scores "sync": {"offset", "confidence"} of each line."""

    kind: Literal["manifest"] = "manifest"
    path: str
    heldout: Natural = 0
    channel: ChannelKey = added("mix")
    duplicates: Literal["drop", "keep"] = added("drop")
    avi: Literal["quarantine", "keep"] = added("quarantine")
    sync: SyncConfig | None = added(None)


@config
class DualDemixConfig:
    """Keeps the clips on which a second demixer, `by`, agrees with `codecs.demix`: those whose `track` differs by at
    most `l1`, the mean absolute difference of its samples (full scale: 1) over the clip (arXiv 2506.08003, which gives
    no threshold)."""

    by: Annotated[DemixerConfig, Field(discriminator="kind")]
    track: str = "speech"
    l1: NonNegative


SourceConfig = Annotated[SyntheticSource | FolderSource | ManifestSource, Field(discriminator="kind")]


@config
class SetConfig:
    """One shard set: a split of a source at one geometry (HEIGHTxWIDTHxFRAMES@FPS; of sound alone seconds: 10s), with
    the modalities it keeps.

    `lufs`: loudness normalisation target (ITU-R BS.1770), None for no normalisation; `duration_token` adds the real
    duration to the caption, before a script (audio pretraining); `without`: streams of the system that are left out.

    `subset`: the clips that it takes (docs/demixing.md), by who is seen and by which tracks are silent; `silence`: the
    RMS in dB below which a track is silent; a clip whose tracks all are is quarantined; `dual_demix`: filter by a
    second demixer."""

    source: str
    split: Literal["train", "heldout", "all"] = "train"
    geometry: ClipSize
    modalities: tuple[Literal["video", "audio"], ...] = ("video", "audio")
    lufs: Loudness | None = None
    duration_token: bool = False
    without: tuple[str, ...] = added(())
    subset: Subset | None = added(None)
    silence: Decibels = added(SILENCE)
    dual_demix: DualDemixConfig | None = added(None)


@config
class PrepareConfig:
    """What `talkies prepare` makes. Codecs of a fitted kind are fitted once, on `fit_clips` clips of each set in
    `fit_sets`.

    `codecs_from` takes those that exist instead, so that a trained model can be trained further on these clips:
    those of a run, a release or a data root (relative to the recipe), or of models:/name@alias. `system`: the kind of
    model for which the sets are made; it determines what shards store (none: that of `mova`)."""

    kind: Literal["prepare"] = "prepare"
    name: str
    sources: dict[str, SourceConfig]
    codecs: CodecsConfig
    sets: dict[str, SetConfig]
    fit_sets: tuple[str, ...] = ()
    fit_clips: Clips = 256
    shard_clips: Clips = 256
    quarantine_max: Natural = 100
    seed: Natural = 0
    codecs_from: str | None = added(None)
    system: str | None = added(None)
