"""A share with its interval."""

from math import sqrt
from typing import NamedTuple

Z = 1.959964  # of a 95 % interval


class Rate(NamedTuple):
    """`count` of `n`, 1 or more."""

    count: int
    n: int

    @property
    def share(self) -> float:
        return self.count / self.n

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval (JASA 22, 1927)."""
        share, n = self.share, self.n
        middle = share + Z**2 / (2 * n)
        half = Z * sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
        return (middle - half) / (1 + Z**2 / n), (middle + half) / (1 + Z**2 / n)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.count}/{self.n} = {self.share:.1%} ({low:.1%}–{high:.1%})"
