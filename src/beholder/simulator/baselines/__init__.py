"""Scaling policies of other products with their own defaults, to compare with ours."""

from beholder.simulator.baselines.table import BASELINES, TUNED, make_baseline

__all__ = ["BASELINES", "TUNED", "make_baseline"]
