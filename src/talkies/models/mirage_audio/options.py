"""What `talkies sample` may be given for Mirage audio. Read by `--help`, so it imports nothing."""

MEDIA = {"voice": "recording of the voice that speaks; without it anybody's"}
"""Medium -> what it is for."""
WORDING = {
    "script": "what is said; [S1], [S2] where another one speaks",
    "describe": "how it sounds: voices, mood, room",
}
"""Part of the caption -> what it is for."""
SCALES = {"text": "the prompt", "reference": "the given voice"}
"""Guidance scale -> what it guides by."""
