"""What a table of probabilities has become, in numbers to read; without TensorFlow, as reports are written."""

import numpy as np


def relative(drawn: np.ndarray, start: np.ndarray) -> np.ndarray:
    """How often something is drawn relative to the start: two float arrays of one shape; 1 where it never was then."""
    return np.divide(drawn, start, out=np.ones_like(drawn), where=start > 0)
