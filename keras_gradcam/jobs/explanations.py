"""The explanation of one image, or the reason why there is none."""

import os
import re
from typing import Any, NamedTuple

import numpy as np


class Explanation(NamedTuple):
    """What is known of one image.

    Attributes:
        heatmap: Array `(*spatial)`, `(n, *spatial)` where the target returns n scores
            for each sample; of the type that `GradCAM` returns.
        class_index: The explained class, an int; `None` where the target is a callable.
        score: The target's score, which is a logit where these are found: a NumPy
            float, or an array `(n,)`.
    """

    heatmap: np.ndarray
    class_index: int | None
    score: Any


class Failure(NamedTuple):
    """Why an image has no explanation.

    Attributes:
        error: One line.
    """

    error: str


def in_one_line(error):
    """What an error says, for a table."""
    text = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())
    return as_text(f"{type(error).__name__}: {text[:500]}")


def as_text(name):
    """A name as text that can be written, also if its bytes are no text."""
    name = os.fsencode(name) if isinstance(name, (str, os.PathLike)) else name
    return name.decode("utf-8", "backslashreplace")
