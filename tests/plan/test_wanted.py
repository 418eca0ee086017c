from __future__ import annotations

import numpy as np


def test_the_wanted_positions_of_an_axis_are_sorted_once() -> None:
    from weft.plan.axes import Axis

    axis = Axis("i", 4, np.array([3, 1, 0]))
    assert axis.wanted is not None and axis.wanted.tolist() == [0, 1, 3]
    assert axis.wanted is axis.wanted
    assert Axis("i", 4).wanted is None
