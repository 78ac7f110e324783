"""The report of a preparation: what was kept, what was dropped, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from talkies.config.numbers import Natural, NonNegative
from talkies.config.records import Kind, Name, record
from talkies.prepare.sources import Copy

MAX_SHOWN = 5
DIFFERENT = {"": "", "caption": ", whose other caption is kept", "sound or tags": ", but with other sound or tags"}
"""The remark about a copy, by what differs from the original."""


@record
class Quarantined:
    """A media file that was left out of a set."""

    id: str
    reason: Name
    detail: str


@record
class SetReport:
    """One set of `kept` clips that last `seconds`. Of these, `truncated` have captions that the text encoder cuts,
    `padded` are padded with silence, `peak_limited` stay below the loudness target because of their peak, `late` begin
    later than their file, where pictures or sound are missing; `treated` counts clips by the treatment of their frames
    ("laid on white": they were transparent). `outside` clips are not in the set's subset, and not quarantined.
    `fingerprint` is the shard set's; the work took `took` seconds; `reused` if it was done before."""

    kept: Natural
    seconds: NonNegative
    truncated: Natural
    padded: Natural
    peak_limited: Natural
    late: Natural = 0
    outside: Natural = 0
    treated: dict[str, Natural] = field(default_factory=dict)
    quarantined: tuple[Quarantined, ...]
    fingerprint: str
    took: NonNegative
    reused: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def lines(self, name: str) -> list[str]:
        """For the terminal: one line for the set, and one per reason for quarantine with the first files."""
        notes = {
            "outside of its subset": self.outside,
            "quarantined": len(self.quarantined),
            "captions truncated": self.truncated,
            "padded with silence": self.padded,
            "limited by their peak": self.peak_limited,
            "begun later than their files": self.late,
        } | dict(self.treated)
        counts = "".join(f", {count} {note}" for note, count in notes.items() if count)
        source = "reused" if self.reused else f"{self.took:.1f} s"
        return [f"{name}: {self.kept} clips, {self.seconds:.0f} s{counts} ({source})", *_reasons(self.quarantined)]


@record
class PreparedRecord:
    """prepared.json: the `key` of what a set was made from, and its report."""

    key: Name
    report: SetReport


@record
class ReportRecord:
    """report.json: the part of a Report that other commands read."""

    codecs: dict[str, str]


REPORT = Kind(holds=ReportRecord, about="prepare", remedy="run `talkies prepare` again", limit=1 << 28)
PREPARED = Kind(holds=PreparedRecord, about="prepare", remedy="run `talkies prepare`, which makes the set again")


def _reasons(quarantined: Sequence[Quarantined]) -> list[str]:
    lines = []
    for reason, count in Counter(entry.reason for entry in quarantined).most_common():
        entries = [entry for entry in quarantined if entry.reason == reason]
        files = "; ".join(plain(f"{entry.id} ({entry.detail})") for entry in entries[:MAX_SHOWN])
        lines.append(f"  {reason}: {count}: {files}{'; ...' if count > MAX_SHOWN else ''}")
    return lines


def _copied(name: str, copies: Sequence[Copy]) -> list[str]:
    """One line per kind of copies; copies whose own caption was left out come first."""
    lines = []
    for kept, words in ((False, "left out"), (True, "kept on one side of the split")):
        group = sorted((copy for copy in copies if copy.kept == kept), key=lambda copy: copy.differs != "caption")
        if group:
            files = "; ".join(plain(f"{copy.id} (as {copy.of}{DIFFERENT[copy.differs]})") for copy in group[:MAX_SHOWN])
            lines.append(
                f"source {name}: copies {words}: {len(group)}: {files}{'; ...' if len(group) > MAX_SHOWN else ''}"
            )
    others = sum(copy.differs == "caption" for copy in copies)
    if others:
        lines.append(f"source {name}: {others} of them had other captions, which are left out with them")
    return lines


def plain(text: str) -> str:
    """On one line and without control characters: file names may contain any character."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def reasons(quarantined: Sequence[Quarantined]) -> str:
    """The reasons for quarantine, on one line."""
    return " |".join(_reasons(quarantined)).strip()


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole preparation. `manifest` is the sha256 over every set's fingerprint and every codec's identity: it names
    the data. `ignored` counts files that are not media, by source and suffix; `copies` are files with the content of
    another, by source."""

    recipe: str
    manifest: str
    codecs: Mapping[str, str]
    sets: Mapping[str, SetReport]
    ignored: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    copies: Mapping[str, Sequence[Copy]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def summary(self) -> str:
        """One line."""
        dropped = sum(len(report.quarantined) for report in self.sets.values())
        kept = sum(report.kept for report in self.sets.values())
        return f"{len(self.sets)} sets, {kept} clips ({dropped} quarantined), manifest {self.manifest[:12]}"

    def lines(self) -> list[str]:
        """For the terminal: every set, with what was dropped and why."""
        lines = [line for name, report in self.sets.items() for line in report.lines(name)]
        for name, counts in self.ignored.items():
            files = ", ".join(f"{count} {plain(suffix)}" for suffix, count in counts.items())
            lines.append(f"source {name}: ignored beside the media: {files}")
        lines += [line for name, copies in self.copies.items() for line in _copied(name, copies)]
        return [*lines, self.summary()]
