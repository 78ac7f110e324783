"""What `talkies sample` may be given for MOVA. Read by `--help`, so it imports nothing."""

MEDIA = {"image": "first frame; without it a white image"}
"""Medium -> what it is for."""
SCALES = {"text": "the prompt", "bridge": "the other modality"}
"""Guidance scale -> what it guides by."""
