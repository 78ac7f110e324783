"""What `talkies sample` may be given for MTV. Read by `--help`, so it imports nothing."""

MEDIA = {
    "image": "the first frame",
    "audio": "file whose sound is demixed, and which the video follows",
    "speech": "file with the speech that moves the lips",
    "speech2": "file with the speech of the second speaker",
    "effects": "file with the sound effects that set the events",
    "music": "file with the music that sets the mood",
}
"""Medium -> what it is for."""
SCALES = {"text": "the prompt", "tracks": "the tracks of the sound"}
"""Guidance scale -> what it guides by."""
