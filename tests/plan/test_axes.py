"""Axes: logical over storage order."""

from __future__ import annotations

import numpy as np

from weft.plan.axes import Axis


def test_the_wanted_positions_of_an_axis_are_those_selected_sorted_and_once():
    """They are asked for at every look at a step: sorted once, not hashed each time."""
    axis = Axis("i", 6, np.array([4, 0, 4, 2]))
    wanted = axis.wanted
    assert wanted is not None and wanted.tolist() == [0, 2, 4]
    assert axis.wanted is wanted


def test_all_or_nothing_may_be_wanted():
    assert Axis("i", 6).wanted is None
    nothing = Axis("i", 6, np.array([], np.int64)).wanted
    assert nothing is not None and nothing.tolist() == []
