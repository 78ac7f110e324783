"""Numbers that a recipe may hold, with their bounds. Decoding checks them; the names say what they mean.

Integers stay below LIMIT: seeds, counts and steps become 64-bit numbers in torch, NumPy and MLflow.
"""

from typing import Annotated

from pydantic import Field

LIMIT = 2**63

Count = Annotated[int, Field(ge=1, lt=LIMIT)]
Natural = Annotated[int, Field(ge=0, lt=LIMIT)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Loudness = Annotated[float, Field(ge=-70, le=0)]
