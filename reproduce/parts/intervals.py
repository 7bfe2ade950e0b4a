"""Printed numbers as intervals: what a rounded value may have been before it was rounded."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

from ppn_tf.errors import DataError


@dataclasses.dataclass(frozen=True)
class Interval:
    """A printed value and the ends between which it was rounded.

    Results of arithmetic are the tightest interval where each printed number enters a
    formula once; a number that enters twice would count its rounding twice.

    Attributes
    ----------
    low, value, high : float
        Lower end, the result for the digits as they are printed, upper end.

    Raises
    ------
    DataError
        If the three are not finite and in order.
    """

    low: float
    value: float
    high: float

    def __post_init__(self) -> None:
        ends = (self.low, self.value, self.high)
        if not (all(map(math.isfinite, ends)) and self.low <= self.value <= self.high):
            raise DataError(f"an interval is three finite numbers in order, received {ends}")

    @classmethod
    def exact(cls, value: float) -> Interval:
        """Return a number that was not rounded."""
        return cls(value, value, value)

    @classmethod
    def rounded(cls, value: float, unit: float) -> Interval:
        """Return a number that was rounded to a multiple of `unit`."""
        return cls(value - unit / 2, value, value + unit / 2)

    def __add__(self, other: Interval | float) -> Interval:
        other = _interval(other)
        return Interval(self.low + other.low, self.value + other.value, self.high + other.high)

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.value, -self.low)

    def __sub__(self, other: Interval | float) -> Interval:
        return self + -_interval(other)

    def __rsub__(self, other: float) -> Interval:
        return -self + other

    def __mul__(self, other: Interval | float) -> Interval:
        return self._corners(_interval(other), lambda a, b: a * b)

    def __truediv__(self, other: Interval | float) -> Interval:
        other = _interval(other)
        if other.low <= 0 <= other.high:
            raise DataError(f"the divisor may be 0: it lies between {other.low} and {other.high}")
        return self._corners(other, lambda a, b: a / b)

    __radd__, __rmul__ = __add__, __mul__

    def __rtruediv__(self, other: float) -> Interval:
        return _interval(other) / self

    def __abs__(self) -> Interval:
        low = 0.0 if self.low <= 0 <= self.high else min(abs(self.low), abs(self.high))
        return Interval(low, abs(self.value), max(abs(self.low), abs(self.high)))

    def increasing(self, function: Callable[[float], float]) -> Interval:
        """Apply a function that never decreases."""
        return Interval(function(self.low), function(self.value), function(self.high))

    def decreasing(self, function: Callable[[float], float]) -> Interval:
        """Apply a function that never increases."""
        return Interval(function(self.high), function(self.value), function(self.low))

    def _corners(self, other: Interval, operation: Callable[[float, float], float]) -> Interval:
        ends = itertools.product((self.low, self.high), (other.low, other.high))
        corners = [operation(a, b) for a, b in ends]
        return Interval(min(corners), operation(self.value, other.value), max(corners))


def psnr_db(mse: Interval) -> Interval:
    """Return -10 log10(MSE), the PSNR at a data range of 1 [dB]."""
    return mse.decreasing(lambda value: -10.0 * math.log10(value))


def greatest(*intervals: Interval) -> Interval:
    """Return the largest of several numbers."""
    return Interval(*(max(getattr(i, end) for i in intervals) for end in ("low", "value", "high")))


def least(*intervals: Interval) -> Interval:
    """Return the smallest of several numbers."""
    return -greatest(*(-interval for interval in intervals))


def less_percent(new: Interval, old: Interval) -> Interval:
    """Return by how much a number is lower than an older one, in percent of that."""
    return 100.0 * (1.0 - new / old)


def more_percent(new: Interval, old: Interval) -> Interval:
    """Return by how much a number is higher than an older one, in percent of that."""
    return -less_percent(new, old)


def ratio(a: Interval, b: Interval) -> Interval:
    """Return a / b."""
    return a / b


def product(a: Interval, b: Interval) -> Interval:
    """Return a b."""
    return a * b


def itself(a: Interval) -> Interval:
    """Return a published number as it stands."""
    return a


def higher(ours: Interval, *others: Interval) -> Interval:
    """Return by how much ours is above the highest of the others."""
    return ours - greatest(*others)


def lower(ours: Interval, *others: Interval) -> Interval:
    """Return by how much ours is below the lowest of the others."""
    return least(*others) - ours


def hypot(a: Interval, b: Interval) -> Interval:
    """Return sqrt(a^2 + b^2) of two numbers that are not negative."""
    return Interval(*(math.hypot(getattr(a, e), getattr(b, e)) for e in ("low", "value", "high")))


def _interval(number: Interval | float) -> Interval:
    return number if isinstance(number, Interval) else Interval.exact(number)
