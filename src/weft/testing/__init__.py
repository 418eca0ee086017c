"""For tests of weft, and of what is built on it: a simulated disk, and a count of calls across processes."""

from __future__ import annotations

from weft.testing.counting import Calls
from weft.testing.disk import PowerLoss, SimulatedDisk

__all__ = ["Calls", "PowerLoss", "SimulatedDisk"]
