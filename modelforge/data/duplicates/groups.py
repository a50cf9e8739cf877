"""Rows that belong together, joined many pairs at a time (union-find)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Groups:
    """numbers: (n,) the group of each row, which is the first row in it."""

    def __init__(self, count: int) -> None:
        self.numbers: Indices = np.arange(count)

    def join(self, ones: Indices, others: Indices) -> None:
        """Join the groups of each pair of rows."""
        while True:
            one, other = self.numbers[ones], self.numbers[others]
            apart = one != other
            if not apart.any():
                return
            np.minimum.at(self.numbers, np.maximum(one, other)[apart], np.minimum(one, other)[apart])
            self._follow()

    def are_apart(self, ones: Indices, others: Indices) -> NDArray[np.bool_]:
        """Whether the rows of each pair are in different groups."""
        apart: NDArray[np.bool_] = self.numbers[ones] != self.numbers[others]
        return apart

    def _follow(self) -> None:
        """Let all rows of joined groups have the number of the first row of all of them."""
        while True:
            further = self.numbers[self.numbers]
            if (further == self.numbers).all():
                return
            self.numbers = further
