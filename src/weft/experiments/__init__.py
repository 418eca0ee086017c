"""Experiments: domains to sample, a table of what a run has made of them, and blocks that pass a state on."""

from __future__ import annotations

from weft.experiments.blocks import Block
from weft.experiments.domain import Domain
from weft.experiments.parameters import Array, Category, Constant, Float, Int
from weft.experiments.table import Experiments

__all__ = ["Array", "Block", "Category", "Constant", "Domain", "Experiments", "Float", "Int"]
