"""Tracks of a clip's sound: read from files or demixed, in the window of the clip, under the rules of the set."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.io import wavfile
from torch import Tensor
from track_system import TrackSystem

from talkies.codecs.config import LogMelConfig
from talkies.codecs.demix import BandDemixer
from talkies.codecs.demix_config import BandsConfig
from talkies.codecs.load import load_demixer
from talkies.codecs.log_mel import LogMelEncoder
from talkies.config import DataError, RecipeError
from talkies.data.shards import ShardSet
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.media.timeline import Beginning
from talkies.media.write import write_mp4
from talkies.media.write_sound import write_media
from talkies.prepare.clips import read_clip
from talkies.prepare.config import PrepareConfig
from talkies.prepare.items import Item
from talkies.prepare.pipeline import Report, prepare
from talkies.prepare.plan import plan
from talkies.prepare.reading import Reader
from talkies.prepare.sounds import read_sound
from talkies.prepare.tracks import Window, read_tracks
from talkies.streams.codec import Media

RATE = 16000
PITCHES = {"music": 50.0, "speech": 600.0, "effects": 5000.0}
TEXT = {"kind": "bytes", "dim": 16, "length": 6}
WAVES: dict[str, Any] = {
    "sound": {"kind": "waveform", "hop": 640},
    "mix": {"kind": "waveform", "hop": 640},
    "text": TEXT,
}
FILES: dict[str, Any] = {**WAVES, "demix": {"kind": "tracks"}}
BANDS: dict[str, Any] = {**WAVES, "demix": {"kind": "bands"}}
ALL: dict[str, Any] = {
    "source": "media",
    "split": "all",
    "geometry": "1s",
    "modalities": ["audio"],
    "without": ["heard"],
}
FILMS: dict[str, Any] = {**ALL, "geometry": "32x32x25@25", "modalities": ["video", "audio"]}
Tracks = Mapping[str, Tensor]
Clip = Callable[..., Path]
Run = Callable[..., Report]


def parted(seconds: float, *, levels: Mapping[str, float] = {}, rate: int = RATE) -> dict[str, Tensor]:
    """Three tracks [S] in bands of their own; each is louder and softer at its own pace."""
    time = torch.arange(round(rate * seconds)) / rate
    found = {}
    for number, (name, pitch) in enumerate(PITCHES.items()):
        swell = 0.6 + 0.4 * (2 * torch.pi * (1 + number) * time).sin()
        found[name] = levels.get(name, 0.2) * swell * (2 * torch.pi * pitch * time).sin()
    return found


def stems(media: Path, tracks: Tracks, *, rate: int = RATE, label: str = "") -> None:
    """The files of the tracks beside a media file."""
    for name, samples in tracks.items():
        sound = Media(frames=None, fps=25, samples=samples, sample_rate=rate)
        write_media(media.with_suffix(f"{label}.{name}.wav"), sound, tags={})


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Write a wav, or an mp4 with pictures, that is the mix of its tracks."""

    def write(name: str, tracks: Tracks, *, caption: str = "a square hums", frames: int = 0, rate: int = RATE) -> Path:
        path = tmp_path / "media" / name
        path.parent.mkdir(exist_ok=True)
        pixels = torch.rand(frames, 3, 32, 32, generator=torch.Generator().manual_seed(len(name))) * 2 - 1
        sound = torch.stack([*tracks.values()]).sum(0)
        media = Media(frames=pixels if frames else None, fps=25, samples=sound, sample_rate=rate)
        (write_mp4 if frames else write_media)(path, media, tags={})
        path.with_suffix(".txt").write_text(caption)
        return path

    return write


@pytest.fixture
def run(tmp_path: Path, recipe: Callable[..., PrepareConfig]) -> Run:
    """Prepare the folder; keywords are those of the set."""

    def once(
        codecs: dict[str, Any], system: TrackSystem | None = None, *, base: dict[str, Any] = ALL, **keys: Any
    ) -> Report:
        made = recipe(codecs=codecs, sets={"all": {**base, **keys}}, fit_sets=[])
        root = tmp_path / "root"
        return prepare(made, root, systems=[system or TrackSystem()], recipe_folder=tmp_path, progress=False)

    return once


def stored(tmp_path: Path, index: int = 0) -> dict[str, Tensor]:
    """The streams of a clip, as a waveform codec stored them: [S]."""
    clip = ShardSet.open(tmp_path / "root" / "sets" / "all").read(index)
    return {name: one.values.mT.reshape(-1) for name, one in clip.streams.items() if name != "video"}


def test_files_of_tracks_are_stored_as_they_are(clip: Clip, run: Run, tmp_path: Path) -> None:
    tracks = parted(1.5)
    path = clip("a.wav", tracks)
    stems(path, tracks)
    report = run(FILES)
    assert report.ignored == {}
    assert (report.sets["all"].kept, report.sets["all"].treated) == (1, {})
    found = stored(tmp_path)
    for name in PITCHES:
        torch.testing.assert_close(found[name], tracks[name][:RATE], atol=1e-6, rtol=0)
    torch.testing.assert_close(sum(found[name] for name in PITCHES), found["audio"], atol=1e-6, rtol=0)
    header = ShardSet.open(tmp_path / "root" / "sets" / "all").header
    assert header.codec_configs["demix"] == {"kind": "tracks", "names": ["speech", "effects", "music"], "label": None}
    assert header.codecs["demix"] == report.codecs["demix"]
    assert "demix" not in header.made_by.values()


def test_tracks_have_the_gain_of_their_mix(clip: Clip, run: Run, tmp_path: Path) -> None:
    tracks = parted(1.5)
    stems(clip("a.wav", tracks), tracks)
    run(FILES, lufs=-30)
    found = stored(tmp_path)
    gain = found["audio"].norm() / torch.stack([*tracks.values()]).sum(0)[:RATE].norm()
    assert gain < 0.5
    torch.testing.assert_close(found["speech"], gain * tracks["speech"][:RATE], atol=1e-5, rtol=0)


def test_a_film_and_the_files_of_its_tracks_begin_together(
    clip: Clip, recipe: Callable[..., PrepareConfig], tmp_path: Path
) -> None:
    """The film's sound is AAC at 22.05 kHz, the files of its tracks are PCM at 44.1 kHz."""
    path = clip("a.mp4", parted(2.0, rate=22050), frames=50, rate=22050)
    stems(path, parted(2.0, rate=44100), rate=44100)
    codecs = {**FILES, "video": {"kind": "linear_video", "channels": 4, "motion": 1}}
    made = recipe(codecs=codecs, sets={"all": FILMS})
    prepare(made, tmp_path / "root", systems=[TrackSystem()], recipe_folder=tmp_path, progress=False)
    found = stored(tmp_path)
    mix, middle = torch.stack([found[name] for name in PITCHES]).sum(0), slice(800, -800)
    assert (mix - found["audio"])[middle].norm() < 0.05 * found["audio"][middle].norm()


def test_bands_are_demixed_from_the_whole_file(clip: Clip, run: Run, tmp_path: Path) -> None:
    tracks = parted(3.0)
    clip("a.wav", tracks)
    report = run(BANDS)
    found = stored(tmp_path)
    demixer = load_demixer(BandsConfig(), key="codecs.demix")
    whole = demixer.demix(read_audio(tmp_path / "media" / "a.wav", sample_rate=RATE, seconds=3))
    for name in PITCHES:
        torch.testing.assert_close(found[name], whole[name][:RATE], atol=1e-6, rtol=0)
        inside = slice(2000, None)
        assert (found[name] - tracks[name][:RATE])[inside].norm() < 0.05 * tracks[name][:RATE][inside].norm()
    assert report.codecs["demix"] == demixer.identity


@pytest.mark.parametrize(
    ("file", "demixer"), [(RATE, RATE), (44100, RATE), (44100, 24000), (22050, 44100), (48000, 44100)]
)
@pytest.mark.parametrize("seconds", [0.0, 0.04, 0.31371])
def test_what_is_demixed_stays_where_it_was(
    clip: Clip, recipe: Callable[..., PrepareConfig], file: int, demixer: int, seconds: float
) -> None:
    """Wherever the window begins, its tracks add up to its mix, and what is around them to what is around the mix."""
    codecs = {
        **BANDS,
        "sound": {"kind": "wav2vec2", "channels": 16},
        "demix": {"kind": "bands", "sample_rate": demixer},
    }
    made = recipe(codecs=codecs, sets={"all": {**ALL, "without": []}}, fit_sets=[])
    at = plan(made, [TrackSystem()])["all"]
    path = clip("a.wav", parted(2.0, rate=file), rate=file)
    bands = BandsConfig(sample_rate=demixer)
    reader = Reader(demixers={"codecs.demix": load_demixer(bands, key="codecs.demix")})
    info, begin = probe(path), Beginning(seconds=seconds, picture=None, sound=0.0)
    sound = read_sound(path, at, reader, info, begin)
    item = Item(id="a.wav", media=path, caption="x")
    tracks = read_tracks(Window(item=item, plan=at, reader=reader, info=info, begin=begin), sound)
    middle = slice(800, -800)
    mix = torch.stack([track.samples for track in tracks.values()]).sum(0)
    assert (mix - sound.samples)[middle].norm() < 0.01 * sound.samples[middle].norm()
    whole = sound.around["sound"]
    around = [track.around["sound"] for track in tracks.values()]
    assert {one.first for one in around} == {whole.first} == {int(seconds * 25)}
    heard = torch.stack([one.samples for one in around]).sum(0)
    length = min(len(heard), len(whole.samples))
    assert abs(len(heard) - len(whole.samples)) <= 1
    assert (heard[:length] - whole.samples[:length])[middle].norm() < 0.01 * whole.samples[middle].norm()


def test_a_file_is_demixed_once(clip: Clip, recipe: Callable[..., PrepareConfig], tmp_path: Path) -> None:
    """Two sets of other lengths, and a clip that both keep."""
    path = clip("a.wav", parted(3.0))
    made = recipe(codecs=BANDS, sets={"one": ALL, "two": {**ALL, "geometry": "2s"}}, fit_sets=[])
    heard: list[int] = []

    class Counted(BandDemixer):
        def demix(self, samples: Tensor) -> dict[str, Tensor]:
            heard.append(len(samples))
            return super().demix(samples)

    reader = Reader(demixers={"codecs.demix": Counted(BandsConfig())})
    for at in plan(made, [TrackSystem()]).values():
        read_clip(Item(id="a.wav", media=path, caption="x"), at, reader)
    assert heard == [3 * RATE]


def test_codecs_that_hear_more_hear_more_of_the_track(clip: Clip, run: Run, tmp_path: Path) -> None:
    """The features of a track's window are a slice of those of the whole track, encoded alone."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    network = Wav2Vec2Model(
        Wav2Vec2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=[8] * 7,
            num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
        )
    )  # fmt: skip
    network.save_pretrained(tmp_path / "ear")
    rules = {"do_normalize": False, "sampling_rate": RATE, "feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    (tmp_path / "ear" / "preprocessor_config.json").write_text(json.dumps(rules))
    tracks = parted(2.0)
    stems(clip("a.wav", tracks), tracks)
    ear = {"kind": "wav2vec2", "channels": 16, "weights": str(tmp_path / "ear")}
    run({**FILES, "sound": ear}, without=[])
    clip_ = ShardSet.open(tmp_path / "root" / "sets" / "all").read(0)
    with torch.inference_mode():
        states = network.eval()(torch.nn.functional.pad(tracks["speech"][None], (0, 0))).last_hidden_state
        whole = torch.nn.functional.interpolate(states.mT, size=50, mode="linear", align_corners=True)[0]
    torch.testing.assert_close(clip_.streams["speech"].values, whole[:, :25], atol=2e-2, rtol=0)
    assert not torch.allclose(clip_.streams["speech"].values, clip_.streams["heard"].values, atol=1e-3)
    assert not torch.allclose(clip_.streams["speech"].values, clip_.streams["music"].values, atol=1e-3)


def test_features_of_a_track_are_those_of_its_samples(clip: Clip, run: Run, tmp_path: Path) -> None:
    tracks = parted(1.0)
    stems(clip("a.wav", tracks), tracks)
    run({**FILES, "sound": {"kind": "log_mel", "channels": 20}})
    values = ShardSet.open(tmp_path / "root" / "sets" / "all").read(0).streams
    encoder = LogMelEncoder(LogMelConfig(channels=20))
    for name in PITCHES:
        torch.testing.assert_close(values[name].values, encoder.encode(tracks[name][None])[0], atol=1e-3, rtol=1e-3)


def test_a_clip_whose_tracks_are_all_silent_is_quarantined(clip: Clip, run: Run) -> None:
    """Its mix at -52 dB is above the silence of the sound as a whole."""
    soft = parted(1.0, levels=dict.fromkeys(PITCHES, 0.003))
    stems(clip("soft.wav", soft), soft)
    tracks = parted(1.0, levels={"music": 0.001})
    stems(clip("loud.wav", tracks), tracks)
    report = run(FILES).sets["all"]
    assert (report.kept, report.treated) == (1, {"with silent music": 1})
    (lost,) = report.quarantined
    assert (lost.id, lost.reason) == ("soft.wav", "silent")
    assert lost.detail.startswith("each of its tracks is below -45 dB: effects -5")
    assert run(FILES, silence=-60).sets["all"].kept == 2


def test_only_silent_clips_leave_no_set(clip: Clip, run: Run, tmp_path: Path) -> None:
    soft = parted(1.0, levels=dict.fromkeys(PITCHES, 0.003))
    stems(clip("soft.wav", soft), soft)
    with pytest.raises(DataError, match=r"set 'all' is empty: all 1 media files are quarantined: silent: 1: soft\.wav"):
        run(FILES)
    assert not (tmp_path / "root" / "sets" / "all").exists()


@pytest.mark.parametrize(("subset", "kept"), [("sound_event", ["a", "c"]), ("visual_mood", ["b", "c"])])
def test_subsets_by_a_track_take_the_clips_in_which_it_is_heard(
    clip: Clip, run: Run, tmp_path: Path, subset: str, kept: list[str]
) -> None:
    for name, silent in (("a", "music"), ("b", "effects"), ("c", "speech")):
        tracks = parted(1.0, levels={silent: 0.0})
        stems(clip(f"{name}.wav", tracks), tracks)
    report = run(FILES, subset=subset)
    found = report.sets["all"]
    assert (found.kept, found.outside, found.quarantined) == (2, 1, ())
    assert sorted(ShardSet.open(tmp_path / "root" / "sets" / "all").ids) == [f"{name}.wav" for name in kept]
    assert "1 outside of its subset" in "\n".join(report.lines())


def test_no_clip_of_a_subset_is_one_line(clip: Clip, run: Run) -> None:
    tracks = parted(1.0, levels={"music": 0.0})
    stems(clip("a.wav", tracks), tracks)
    with pytest.raises(DataError, match=r"set 'all' is empty: 1 media files are outside of its subset, visual_mood$"):
        run(FILES, subset="visual_mood")


def test_clips_on_which_two_demixers_disagree_are_quarantined(clip: Clip, run: Run) -> None:
    tracks = parted(1.0)
    path = clip("a.wav", tracks)
    stems(path, tracks)
    stems(path, {"speech": tracks["speech"] + 0.01}, label=".other")
    other = {"by": {"kind": "tracks", "label": "other"}, "track": "speech"}
    assert run(FILES, dual_demix={**other, "l1": 0.0101}).sets["all"].kept == 1
    with pytest.raises(DataError, match=r"demixers disagree: 1: a\.wav \(its speech differs by 1\.00e-02 \(L1\)"):
        run(FILES, dual_demix={**other, "l1": 0.0099})
    bands = {"by": {"kind": "bands"}, "l1": 0.05}
    assert run(FILES, dual_demix=bands).sets["all"].kept == 1


def test_another_file_of_a_track_is_another_set(clip: Clip, run: Run) -> None:
    tracks = parted(1.0)
    path = clip("a.wav", tracks)
    stems(path, tracks)
    first = run(FILES).sets["all"]
    assert run(FILES).sets["all"].reused
    stems(path, {"speech": 0.5 * tracks["speech"]})
    second = run(FILES).sets["all"]
    assert (second.reused, second.fingerprint == first.fingerprint) == (False, False)
    stems(path, {"speech": tracks["speech"]})
    assert run(FILES).sets["all"].fingerprint == first.fingerprint


def test_missing_files_of_tracks_end_the_preparation(clip: Clip, run: Run, tmp_path: Path) -> None:
    tracks = parted(1.0)
    clip("b.wav", tracks)
    stems(clip("a.wav", tracks), tracks)
    message = r"source 'media': 1 of 2 files lack a file of their tracks beside them: b\.wav has no b\.\w+\.wav; demix"
    with pytest.raises(DataError, match=message):
        run(FILES)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("name", [*PITCHES])
def test_tracks_that_last_longer_or_shorter_are_quarantined(clip: Clip, run: Run, name: str) -> None:
    tracks = parted(1.0)
    path = clip("a.wav", tracks)
    stems(path, {**tracks, name: torch.cat([tracks[name], torch.zeros(RATE // 10)])})
    with pytest.raises(
        DataError, match=rf"tracks: 1: a\.wav \(its {name} track \(a\.{name}\.wav\) lasts 1\.100 s, but"
    ):
        run(FILES)


@pytest.mark.parametrize(
    ("value", "why"),
    [(float("nan"), "its sound has values that are not finite"), (1e5, r"its sound reaches 1e\+05 times full scale")],
)
def test_a_track_with_values_that_no_sound_has_is_quarantined(clip: Clip, run: Run, value: float, why: str) -> None:
    tracks = parted(1.0)
    path = clip("a.wav", tracks)
    stems(path, tracks)
    damaged = tracks["music"].numpy().copy()
    damaged[RATE // 2 :] = value
    wavfile.write(path.with_suffix(".music.wav"), RATE, damaged)
    with pytest.raises(DataError, match=rf"tracks: 1: a\.wav \(its music track \(a\.music\.wav\): {why}"):
        run(FILES)


def test_a_track_that_is_no_sound_is_quarantined(clip: Clip, run: Run) -> None:
    tracks = parted(1.0)
    path = clip("a.wav", tracks)
    stems(path, tracks)
    path.with_suffix(".music.wav").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"tracks: 1: a\.wav \(its music track \(a\.music\.wav\): "):
        run(FILES)


BY = {"kind": "bands", "edge": 20.0}


@pytest.mark.parametrize(
    ("codecs", "keys", "message"),
    [
        (WAVES, {}, r"`sets\.all` keeps speech, effects, music, tracks of the sound: add `codecs\.demix`"),
        (FILES, {"without": ["heard", *PITCHES]}, r"`codecs\.demix` is a demixer, and no set stores a track"),
        (
            {**WAVES, "demix": {"kind": "tracks", "names": ["speech", "music"]}},
            {},
            r"`sets\.all` keeps effects, the track 'effects', but `codecs\.demix` makes only speech, music",
        ),
        ({**WAVES, "demix": {"kind": "tracks", "names": []}}, {}, r"`codecs\.demix\.names` is empty"),
        (
            {**WAVES, "demix": {"kind": "tracks", "names": ["speech", "effects", "music", "drums"]}},
            {},
            r"`codecs\.demix\.names` names 'drums', a track that nothing reads: .* one of music, speech, ",
        ),
        (
            {**WAVES, "demix": {"kind": "bands", "bands": {"drums": [90, 900]}}},
            {"without": ["heard", *PITCHES]},
            r"`codecs\.demix\.bands` names 'drums', a track that nothing reads",
        ),
        (
            {**WAVES, "demix": {"kind": "demucs", "weights": "here", "other_speakers": ["speech3"]}},
            {"without": ["heard", "effects"]},
            r"`codecs\.demix\.other_speakers` names 'speech3', a track that nothing reads",
        ),
        (
            {**WAVES, "demix": {"kind": "bands", "bands": {"speech": [90, 9000]}}},
            {"without": ["heard", "effects", "music"]},
            r"`codecs\.demix\.bands\.speech` is 90 to 9000 Hz; needed lowest < highest <= 8000",
        ),
        (
            {**WAVES, "demix": {"kind": "bands", "bands": {"speech": [90, 900], "music": [20, 100]}}},
            {"without": ["heard", "effects"]},
            r"`codecs\.demix\.bands` 'music' and 'speech' overlap from 90 to 100 Hz",
        ),
        ({**WAVES, "demix": {"kind": "log_mel"}}, {}, r"`codecs\.demix\.kind` is log_mel, which encodes audio"),
        ({**WAVES, "demix": {"kind": "demucs"}}, {}, r"`codecs\.demix\.weights` is not set"),
        (
            {**WAVES, "demix": {"kind": "tracks", "names": ["speech", "music"]}},
            {"without": ["heard", "effects"], "subset": "sound_event"},
            r"`sets\.all\.subset` is sound_event, clips whose effects can be heard, but `codecs\.demix` makes only",
        ),
        (BANDS, {"dual_demix": {"by": BY, "track": "song", "l1": 0.1}}, r"track` is 'song', but `codecs\.demix` makes"),
        (
            BANDS,
            {"dual_demix": {"by": {"kind": "tracks", "names": ["music"]}, "l1": 0.1}},
            r"`sets\.all\.dual_demix\.track` is 'speech', but `sets\.all\.dual_demix\.by` makes only music",
        ),
        (BANDS, {"dual_demix": {"by": {"kind": "bands"}, "l1": 0.1}}, r"dual_demix\.by` is `codecs\.demix` again"),
    ],
)
def test_what_cannot_be_parted_is_said_before_any_work(
    clip: Clip, run: Run, codecs: dict[str, Any], keys: dict[str, Any], message: str
) -> None:
    media = clip("a.wav", parted(1.0)).parent
    with pytest.raises(RecipeError, match=message):
        run(codecs, **keys)
    assert not media.with_name("root").exists()


@pytest.mark.parametrize(
    ("rule", "value"),
    [("subset", "sound_event"), ("silence", -50.0), ("dual_demix", {"by": {"kind": "bands"}, "l1": 0.1})],
)
def test_rules_of_tracks_need_tracks(run: Run, rule: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=rf"`sets\.all\.{rule}` is a rule of tracks, and the set stores none"):
        run(WAVES, TrackSystem(()), **{rule: value})


def test_a_second_speaker_is_a_track_like_others(clip: Clip, run: Run, tmp_path: Path) -> None:
    tracks = {"speech": parted(1.0)["speech"], "speech2": parted(1.0)["effects"]}
    stems(clip("a.wav", tracks), tracks)
    run({**WAVES, "demix": {"kind": "tracks", "names": ["speech", "speech2"]}}, TrackSystem(("speech", "speech2")))
    torch.testing.assert_close(stored(tmp_path)["speech2"], tracks["speech2"], atol=1e-6, rtol=0)
