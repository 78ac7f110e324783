"""What `talkies sample` may be given for MOVA. Read by `--help`, so it imports nothing."""

MEDIA = {
    "image": "first frame; without it a white image",
    "audio": "file whose sound is given: only the video is made",
    "video": "film that is given: only the sound is made",
}
"""Medium -> what it is for."""
SCALES = {"text": "the prompt", "bridge": "the other modality"}
"""Guidance scale -> what it guides by."""
