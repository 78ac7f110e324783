"""Numbers that a recipe may hold, with their bounds; decoding checks them.

Integers stay below LIMIT: seeds, counts and steps become 64-bit numbers in torch, NumPy and MLflow. Numbers that size
an allocation or a loop have a bound far above any sensible value: a larger one is a typing error, which would otherwise
be noticed only when the memory is full.
"""

from typing import Annotated

from pydantic import Field

LIMIT = 2**63

Count = Annotated[int, Field(ge=1, lt=LIMIT)]
Natural = Annotated[int, Field(ge=0, lt=LIMIT)]
BatchSize = Annotated[int, Field(ge=1, le=2**20)]
"""Clips of one optimizer step."""
Bins = Annotated[int, Field(ge=1, le=1000)]
Draws = Annotated[int, Field(ge=1, le=10_000)]
"""Steps of a sampler."""
Rows = Annotated[int, Field(ge=1, le=1024)]
"""Evaluations of a network that go through it at once."""
Threads = Annotated[int, Field(ge=1, le=1024)]
Workers = Annotated[int, Field(ge=0, le=256)]
Side = Annotated[int, Field(ge=1, le=8192)]
"""Pixels."""
Frames = Annotated[int, Field(ge=1, le=100_000)]
Fps = Annotated[float, Field(ge=0.1, le=1000)]
Clips = Annotated[int, Field(ge=1, le=1_000_000)]
"""Clips that are generated, or held in memory until they are written."""
Channels = Annotated[int, Field(ge=1, le=4096)]
Features = Annotated[int, Field(ge=1, le=65_536)]
"""Channels of an encoder's layers together."""
Stride = Annotated[int, Field(ge=1, le=64)]
Block = Annotated[int, Field(ge=1, le=256)]
SampleRate = Annotated[int, Field(ge=1, le=384_000)]
Hop = Annotated[int, Field(ge=16, le=8192)]
"""Samples per latent step: the linear codec's tables grow with its square."""
Piece = Annotated[int, Field(ge=1, le=600)]
"""Seconds of sound that are encoded at once."""
Context = Annotated[int, Field(ge=0, le=60)]
"""Seconds of sound on each side of them that are heard, too."""
Width = Annotated[int, Field(ge=1, le=16_384)]
"""Features of a text."""
Length = Annotated[int, Field(ge=1, le=8192)]
"""Tokens of a text."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Loudness = Annotated[float, Field(ge=-70, le=0)]
Decibels = Annotated[float, Field(ge=-120, le=0)]
"""Relative to full scale."""
