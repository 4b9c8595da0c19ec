"""Prometheus and Grafana understand what docs/monitoring gives them, and `/metrics` has what it names."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from aws.emulators import miss
from docs.pages import ROOT, column, read, table
from helpers.images import jpeg
from helpers.service import RunningService

FOLDER = ROOT / "docs" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
(GROUP,) = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
RULES: list[dict[str, Any]] = GROUP["rules"]
ASKED: dict[str, str] = {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
ALERTED: dict[str, str] = {rule["alert"]: rule["expr"] for rule in RULES}

# Prometheus adds these to what it scrapes.
OF_PROMETHEUS = {"up": {"job", "instance"}}
_LABELS_OF_PROMETHEUS = {"job", "instance", "le"}
_SUFFIX = re.compile(r"_(bucket|sum|count)$")
_NAME = re.compile(r"\b(?:beholder_\w+|up)\b")
_SELECTOR = re.compile(r"\b(beholder_\w+|up)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_BY = re.compile(r"\bby \(([^)]*)\)")


@pytest.fixture(scope="module")
def exposed(service: RunningService) -> dict[str, list[dict[str, str]]]:
    """The labels of each sample of each metric of a service that has recognised a photo."""
    assert service.classify(jpeg(1)).status == 200
    text = service.get("/metrics").body.decode()
    return {
        family.name + ("_total" if family.type == "counter" else ""): [one.labels for one in family.samples]
        for family in text_string_to_metric_families(text)
    }


def labels_told() -> dict[str, set[str]]:
    """Return the labels that the page gives each metric; a metric without samples tells none itself."""
    rows = table(read("docs/operations.md"), "metric")
    return {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[2])) for row in rows}


def test_the_labels_that_the_page_tells_are_those_of_the_metrics(
    exposed: dict[str, list[dict[str, str]]],
) -> None:
    # A queue depth's row lists the values of its label, too.
    told = {name: labels for name, labels in labels_told().items() if exposed[name]}
    found = {name: {label for one in exposed[name] for label in one} - {"le"} for name in told}
    assert len(told) > 15
    assert told == found


@pytest.mark.parametrize("expression", [*ASKED.values(), *ALERTED.values()], ids=[*ASKED, *ALERTED])
def test_each_metric_label_and_state_that_is_asked_for_exists(
    expression: str, exposed: dict[str, list[dict[str, str]]]
) -> None:
    known = labels_told() | OF_PROMETHEUS
    names = {_SUFFIX.sub("", name) for name in _NAME.findall(expression)}
    assert names
    assert names <= known.keys()
    labels = set[str]().union(*(known[name] for name in names)) | _LABELS_OF_PROMETHEUS
    asked = {label.strip() for found in _BY.findall(expression) for label in found.split(",")}
    assert asked <= labels
    for name, matchers in _SELECTOR.findall(expression):
        base = _SUFFIX.sub("", name)
        parts = _MATCHER.findall(matchers)
        assert ",".join(label + sign + f'"{value}"' for label, sign, value in parts) == matchers
        assert {label for label, _, _ in parts} <= known[base] | _LABELS_OF_PROMETHEUS
        values = {one.get("state") for one in exposed.get(base, [])}
        stated = {word for label, _, value in parts if label == "state" for word in value.split("|")}
        assert stated <= values


def test_every_panel_says_what_it_shows_and_covers_no_other() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    shown = {"Requests", "Latency of images", "Queue", "Fleet", "Cost per hour", "Failures", "Dead letters"}
    assert shown <= {panel["title"] for panel in PANELS}


def test_the_page_tells_of_each_alert() -> None:
    assert column(read("docs/operations.md"), "alert") == list(ALERTED)


# --- with Prometheus's own tool -----------------------------------------------------------------------------


def promtool(*arguments: str | Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        miss("promtool is not installed; apt-get install --no-install-recommends prometheus")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_configuration_with_the_rules() -> None:
    promtool("check", "config", FOLDER / "prometheus.yml")


def test_prometheus_parses_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    filled = [one.replace("$__rate_interval", "1m").replace("$job", ".*") for one in ASKED.values()]
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(filled)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", path)


# What a bad hour looks like: the series that fire each alert, a sample a minute.
BAD: dict[str, dict[str, str]] = {
    "BeholderDown": {'up{job="beholder",instance="a"}': "0x60"},
    "BeholderNoController": {"beholder_controller_decision_age_seconds": "0+60x60"},
    "BeholderQueueStandsStill": {
        'beholder_queue_depth{state="backlog"}': "5x60",
        'beholder_jobs_total{state="succeeded"}': "7x60",
    },
    "BeholderJobsWait": {
        'beholder_job_wait_seconds_bucket{le="60"}': "0x60",
        'beholder_job_wait_seconds_bucket{le="300"}': "0+60x60",
        'beholder_job_wait_seconds_bucket{le="+Inf"}': "0+60x60",
    },
    "BeholderRefuses": {
        'beholder_requests_total{route="/upload",status="503"}': "0+60x60",
        'beholder_requests_total{route="/upload",status="200"}': "0+60x60",
    },
    "BeholderErrors": {
        'beholder_requests_total{route="/upload",status="500"}': "0+60x60",
        'beholder_requests_total{route="/upload",status="200"}': "0+60x60",
    },
    "BeholderDeadLetters": {"beholder_dead_letters_total": "0x50 1x9"},
    "BeholderStartupsFail": {
        'beholder_controller_failed_startups_total{cause="late"}': "0x20 1x10 2x10 3x20"
    },
}
# And what it does not look like: each of these is near one of them.
GOOD = {
    'up{job="beholder",instance="a"}': "1x60",
    "beholder_controller_decision_age_seconds": "60x60",
    'beholder_queue_depth{state="backlog"}': "5x60",
    'beholder_jobs_total{state="succeeded"}': "0+60x60",
    'beholder_job_wait_seconds_bucket{le="60"}': "0+60x60",
    'beholder_job_wait_seconds_bucket{le="300"}': "0+60x60",
    'beholder_job_wait_seconds_bucket{le="+Inf"}': "0+60x60",
    'beholder_requests_total{route="/readyz",status="503"}': "0+60x60",
    'beholder_requests_total{route="/upload",status="503"}': "0+2x60",
    'beholder_requests_total{route="/upload",status="200"}': "0+60x60",
    "beholder_dead_letters_total": "7x60",
    'beholder_controller_failed_startups_total{cause="late"}': "0x30 1x10 2x20",
}
# Images that were uploaded to the bucket directly are worked off; no web process counts them.
DROPPED = GOOD | {
    'beholder_queue_depth{state="backlog"}': "9000-60x60",
    'beholder_jobs_total{state="succeeded"}': "7x60",
}


def test_each_alert_fires_in_its_bad_hour_and_none_in_a_good_one(tmp_path: Path) -> None:
    def case(series: dict[str, str], fired: list[str]) -> dict[str, Any]:
        queries = [
            {
                "expr": f'count by (alertname) (ALERTS{{alertname="{name}",alertstate="firing"}})',
                "eval_time": "59m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1}] if name in fired else [],
            }
            for name in ALERTED
        ]
        inputs = [{"series": name, "values": values} for name, values in series.items()]
        return {"interval": "1m", "input_series": inputs, "promql_expr_test": queries}

    assert BAD.keys() == ALERTED.keys()
    cases = [case(series, [alert]) for alert, series in BAD.items()]
    path = tmp_path / "test.yml"
    document = {
        "rule_files": [str(FOLDER / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [*cases, case(GOOD, []), case(DROPPED, [])],
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    promtool("test", "rules", path)
