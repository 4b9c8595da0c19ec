"""The field's scaling laws with their own defaults, to play beside ours."""

from beholder.sim.baselines.table import BASELINES, make_baseline

__all__ = ["BASELINES", "make_baseline"]
