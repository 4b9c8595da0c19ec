"""Reads the queues of a deployment, and the metrics that count its work and cost."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from beholder.clock import age_s
from beholder.deploy.account import Account
from beholder.deploy.costs import hourly_costs
from beholder.deploy.status.seen import Cost, QueueSeen

__all__ = ["Metrics", "cost_of", "read_metrics", "read_queue"]

_DEPTHS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
# SQS gives its metrics each minute, some minutes late. Source:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
_RECENT = timedelta(minutes=10)
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
# The controller logs what the fleet costs once a minute; see `SpendLog`.
_SAMPLES_PER_HOUR = 60
_THOUSAND = 1000

Metrics = Mapping[str, Sequence[float]]
"""Values by the id of their query, the newest first."""


def read_queue(account: Account, queue: str, oldest_s: float | None) -> QueueSeen:
    """Return a queue's depths.

    Args:
        account: The account and region.
        queue: Its name.
        oldest_s: The age of its oldest message.

    Raises:
        BackendError: SQS refuses, or does not answer.
    """
    url = account.call("sqs", "get_queue_url", QueueName=queue)["QueueUrl"]
    asked = account.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=list(_DEPTHS))
    visible, in_flight, delayed = (int(asked["Attributes"][one]) for one in _DEPTHS)
    return QueueSeen(queue, visible, in_flight, delayed, oldest_s)


def read_metrics(account: Account, name: str, outputs: Mapping[str, str], now_s: float) -> Metrics:
    """Return the age of the oldest messages, what the fleet cost today, and how many images were done.

    Their ids are `jobs_oldest`, `dead_oldest`, `spend` and `done`.

    Raises:
        BackendError: CloudWatch refuses, or does not answer.
    """
    now = datetime.fromtimestamp(now_s, UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)

    def of_queue(metric: str, output: str) -> dict[str, Any]:
        dimensions = [{"Name": "QueueName", "Value": outputs[output]}]
        return {"Namespace": "AWS/SQS", "MetricName": metric, "Dimensions": dimensions}

    oldest = "ApproximateAgeOfOldestMessage"
    recent = [
        _query("jobs_oldest", of_queue(oldest, "InputQueue"), "Maximum", _MINUTE_S),
        _query("dead_oldest", of_queue(oldest, "DeadLetterQueue"), "Maximum", _MINUTE_S),
    ]
    spend = {"Namespace": f"beholder/{name}", "MetricName": "price_per_hour"}
    of_today = [
        _query("spend", spend, "Sum", _HOUR_S),
        _query("done", of_queue("NumberOfMessagesDeleted", "InputQueue"), "Sum", _HOUR_S),
    ]
    results = [
        result
        for queries, since in ((recent, now - _RECENT), (of_today, today))
        for result in account.pages(
            "cloudwatch",
            "get_metric_data",
            "MetricDataResults",
            MetricDataQueries=queries,
            StartTime=since,
            EndTime=now,
            ScanBy="TimestampDescending",
        )
    ]
    found: dict[str, list[float]] = {}
    for one in results:
        found.setdefault(one["Id"], []).extend(one["Values"])
    return found


def _query(query: str, metric: Mapping[str, Any], stat: str, period_s: int) -> dict[str, Any]:
    return {"Id": query, "MetricStat": {"Metric": metric, "Period": period_s, "Stat": stat}}


def cost_of(
    metrics: Metrics,
    workers_per_hour: float,
    parameters: Mapping[str, str],
    *,
    made_at_s: float,
    now_s: float,
) -> Cost:
    """Return what the deployment costs.

    Args:
        metrics: As `read_metrics` returns them.
        workers_per_hour: Dollars per hour of the workers that are there now.
        parameters: Of the stack.
        made_at_s: When the stack was made.
        now_s: The present time.
    """
    web_per_hour = hourly_costs(parameters, {}).idle
    midnight_s = now_s - now_s % _DAY_S
    hours = age_s(now_s, max(midnight_s, made_at_s)) / _HOUR_S
    web_today = None if web_per_hour is None else web_per_hour * hours
    has_prices = parameters["Prices"] != "none"
    workers_today = sum(metrics.get("spend", ())) / _SAMPLES_PER_HOUR if has_prices else None
    images = round(sum(metrics.get("done", ())))
    is_known = web_today is not None and workers_today is not None and images > 0
    per_thousand = ((web_today or 0) + (workers_today or 0)) / images * _THOUSAND if is_known else None
    return Cost(workers_per_hour, web_per_hour, workers_today, web_today, images, per_thousand)
