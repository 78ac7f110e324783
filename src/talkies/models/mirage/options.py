"""What `talkies sample` may be given for Mirage. Read by `--help`, so it imports nothing."""

MEDIA = {
    "image": "reference: the person to show; without it anybody",
    "audio": "file whose sound is given: the video follows it",
}
"""Medium -> what it is for."""
SCALES = {"text": "the prompt", "sound": "the given sound"}
"""Guidance scale -> what it guides by."""
