"""What `talkies sample` may be given for Mirage. Read by `--help`, so it imports nothing."""

MEDIA = {
    "image": "the person to show; without it anybody",
    "audio": "file whose sound the video follows",
}
"""Medium -> what it is for."""
SCALES = {"text": "the prompt", "sound": "the given sound"}
"""Guidance scale -> what it guides by."""
