"""What `talkies sample` may be given for Mirage audio. Read by `--help`, so it imports nothing."""

MEDIA = {"voice": "recording of the voice that speaks; without it anybody's"}
"""Medium -> what it is for."""
SCALES = {"text": "the prompt", "reference": "the given voice"}
"""Guidance scale -> what it guides by."""
