"""The field's scaling policies with their own defaults, to play beside ours."""

from beholder.simulator.baselines.table import BASELINES, make_baseline

__all__ = ["BASELINES", "make_baseline"]
