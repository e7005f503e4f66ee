"""Statistics that one wild value does not move: median, MAD, and a trend with its confidence bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import median

_NORMAL = 1.4826
"""The MAD times this is the standard deviation, of values that are normally distributed."""
_Z95 = 1.96


def spread(values: Sequence[float]) -> float:
    """Return the median absolute deviation, scaled to a standard deviation."""
    middle = median(values)
    return _NORMAL * median(abs(value - middle) for value in values)


def steepest_slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the upper 95 % confidence bound of the slope of y over x; None without two distinct x.

    The slope is Theil and Sen's, the median of the slopes of all pairs; its bound is by the variance
    of Kendall's statistic (P. K. Sen, 1968). Few points make it the steepest pair.
    """
    slopes = sorted((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if a[0] != b[0])
    if not slopes:
        return None
    count = len(points)
    reach = _Z95 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    at = math.ceil((len(slopes) + reach) / 2)
    return slopes[min(at, len(slopes) - 1)]
