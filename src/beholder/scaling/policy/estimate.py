"""Robust estimators, as frozen values: a prior until there is evidence, and one odd sample moves little."""

from dataclasses import dataclass
from math import exp

__all__ = ["MessageCount", "Rate", "ServiceTime", "StartupTimes"]

_CLIP = 4.0  # one sample counts for at most four times the estimate
_ODD = 5.0  # a sample so many times greater or smaller is odd
_ODD_MAX = 8  # after so many odd samples in a row on one side, the estimate begins anew with them
_STARTUPS_KEPT = 31
_PRIOR_STARTUPS = 2
_STARTUP_P95 = 0.95
_STARTUP_P95_PRIOR = 1.5  # of the prior's startup time, until startups were seen


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """Instance seconds per message: an exponentially weighted mean of clipped samples.

    Args:
        mean_s: The estimate.
        count: Samples so far; few samples give way sooner.
        odd: The last samples in a row that lay out of range on one side.
    """

    mean_s: float
    count: int = 0
    odd: tuple[float, ...] = ()

    def seen(self, sample_s: float) -> "ServiceTime":
        """Return the estimate after one more sample; a sample that is not above zero is ignored."""
        if sample_s <= 0:
            return self
        if self.count == 0:
            return ServiceTime(sample_s, 1)
        low, high = self.mean_s / _ODD, self.mean_s * _ODD
        odd = self.odd
        if low <= sample_s <= high:
            odd = ()
        else:
            odd = (*odd, sample_s) if odd and (odd[-1] > high) == (sample_s > high) else (sample_s,)
            if len(odd) >= _ODD_MAX:
                return ServiceTime(sorted(odd)[len(odd) // 2], len(odd))
        weight = max(0.05, 1.0 / (self.count + 1))
        # Not a mean of logarithms: times that scatter would seem shorter than they are.
        mean_s = self.mean_s + weight * (min(sample_s, self.mean_s * _CLIP) - self.mean_s)
        return ServiceTime(mean_s, self.count + 1, odd)


@dataclass(frozen=True, slots=True)
class Rate:
    """Arrivals a second: an exponentially weighted mean over time.

    Args:
        per_s: The estimate.
        seconds: For how long there has been evidence, up to a few time constants.
    """

    per_s: float = 0.0
    seconds: float = 0.0

    def seen(self, arrivals: float, over_s: float, *, tau_s: float) -> "Rate":
        """Return the estimate after `over_s` more seconds with so many arrivals."""
        if over_s <= 0:
            return self
        # While there is less evidence than tau_s, all of it counts the same.
        total_s = self.seconds + over_s
        weight = max(over_s / total_s, 1.0 - exp(-over_s / tau_s))
        sample = max(0.0, arrivals) / over_s
        return Rate(self.per_s + weight * (sample - self.per_s), min(total_s, 10 * tau_s))


@dataclass(frozen=True, slots=True)
class MessageCount:
    """How many messages there are now, by the queue's counts, which may be old, and the web processes' own.

    Web processes know at once what they sent and what came back, but neither what came another way, nor what
    an earlier process sent, nor which reply was lost. The queue counts all, as it was at some moment within
    its lag. So the messages that they do not know are taken to be as many as make the two agree at some
    moment within the lag, and to change no more than that demands.

    Args:
        looks: The time of each look within the lag and of the one before, and what was sent and not answered.
        others: Messages that the web processes do not know; below 0 where they miss a reply.
    """

    looks: tuple[tuple[float, int], ...] = ()
    others: int = 0

    @property
    def now(self) -> int:
        """The messages that are there now."""
        return max(0, self.looks[-1][1] + self.others) if self.looks else 0

    def seen(self, counted: int, unanswered: int, *, now_s: float, lag_s: float) -> "MessageCount":
        """Return the count after a look.

        Args:
            counted: Messages by the queue's counts.
            unanswered: How many more messages than before are sent and not answered; may be below 0.
            now_s: The moment.
            lag_s: How old the queue's counts may be.
        """
        within = sum(now_s - at_s <= lag_s for at_s, _ in self.looks)
        known = (self.looks[-1][1] if self.looks else 0) + unanswered
        looks = (*self.looks[max(0, len(self.looks) - within - 1) :], (now_s, known))
        if not self.looks:
            return MessageCount(looks, counted - known)
        least = counted - max(count for _, count in looks)
        most = counted - min(count for _, count in looks)
        return MessageCount(looks, min(max(self.others, least), most))


@dataclass(frozen=True, slots=True)
class StartupTimes:
    """The last startups, from launch to the first receive; the prior counts as a few of them.

    Args:
        prior_s: Taken for the startup time until startups were seen.
        samples_s: The last startup times, newest last.
        median_s: Half of the startups took no longer.
        p95_s: Nineteen in twenty took no longer.
    """

    prior_s: float
    samples_s: tuple[float, ...] = ()
    median_s: float = 0.0
    p95_s: float = 0.0

    @classmethod
    def of(cls, prior_s: float, samples_s: tuple[float, ...] = ()) -> "StartupTimes":
        """Return the estimate from a prior and samples."""
        kept = samples_s[-_STARTUPS_KEPT:]
        if not kept:
            return cls(prior_s, (), prior_s, prior_s * _STARTUP_P95_PRIOR)
        prior = max(0, _PRIOR_STARTUPS + 1 - len(kept))
        ordered = sorted((*kept, *(prior_s,) * prior))
        high = ordered[min(len(ordered) - 1, int(_STARTUP_P95 * len(ordered)))]
        median_s = ordered[len(ordered) // 2]
        # Few samples say little about the tail.
        return cls(prior_s, kept, median_s, max(high, median_s * (1 + 1 / len(ordered))))

    def seen(self, sample_s: float) -> "StartupTimes":
        """Return the estimate after one more startup; a startup that seems to take no time is ignored."""
        return StartupTimes.of(self.prior_s, (*self.samples_s, sample_s)) if sample_s > 0 else self

    def left_s(self, age_s: float) -> float:
        """Return how much longer a startup is expected to take that has taken `age_s` so far."""
        if age_s < self.median_s:
            return self.median_s - age_s
        return max(self.p95_s - age_s, 0.1 * self.p95_s) / 2

    def trust(self, age_s: float) -> float:
        """Return how far a startup of this age is still trusted: 1 up to the p95, 0 from twice that on."""
        if age_s <= self.p95_s:
            return 1.0
        return max(0.0, 2.0 - age_s / self.p95_s) if self.p95_s > 0 else 0.0
