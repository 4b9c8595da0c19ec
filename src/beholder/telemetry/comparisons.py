"""The metrics of a shadow model, whose comparisons workers count and report in their replies."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter

__all__ = ["ShadowComparisons", "split_comparisons"]

_MARK = "shadow:"
_RESULTS = ("agreed", "disagreed", "failed", "skipped")


class ShadowComparisons:
    """Counters of what workers report.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._results = Counter(
            "beholder_shadow_comparisons_total",
            "Jobs that the shadow model was compared on, by result.",
            ["result"],
            registry=registry,
        )
        self._shared_labels = Counter(
            "beholder_shadow_shared_labels_total",
            "Labels among the best five of both models, over all comparisons.",
            registry=registry,
        )
        for result in _RESULTS:
            self._results.labels(result)

    def add(self, compared: Mapping[str, int]) -> None:
        """Add what a worker counted, by `shadow:result`; an unknown result is ignored."""
        for name, count in compared.items():
            result = name.removeprefix(_MARK)
            if result in _RESULTS:
                self._results.labels(result).inc(count)
            elif result == "shared":
                self._shared_labels.inc(count)


def split_comparisons(counted: Mapping[str, int]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Return the calls to AWS in what a worker counted, and the comparisons."""
    compared = {name: count for name, count in counted.items() if name.startswith(_MARK)}
    if not compared:
        return counted, compared
    return {name: count for name, count in counted.items() if name not in compared}, compared
