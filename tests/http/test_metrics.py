"""The metrics page: every metric is documented, promtool has nothing to say, alerts and dashboard use what there is."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import need
from tests.http.conftest import Client
from tests.office import OFFICE

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "metrics.md").read_text()
RULES = ROOT / "contrib" / "prometheus" / "sipresence.rules.yml"
DASHBOARD = json.loads((ROOT / "contrib" / "grafana" / "sipresence.json").read_text())

_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)
_NAME = re.compile(r"\b(?:sipresence|process|python)_\w+")


async def page(client: Client) -> str:
    response = await client.get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return await response.text()


def families(text: str) -> dict[str, tuple[str, set[str]]]:
    """The type and the labels of every metric, counters with their `_total`."""
    found = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, labels)
    return found


def promtool(*arguments: str, said: str = "") -> str:
    """Let it check something; return what it finds to say."""
    checked = subprocess.run([need("promtool"), "check", *arguments], input=said, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return checked.stdout + checked.stderr


async def test_every_metric_is_documented_and_the_reverse(client: Client) -> None:
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in _ROW.findall(DOCUMENT)}
    assert families(await page(client)) == documented


async def test_promtool_finds_nothing_to_say(client: Client) -> None:
    assert promtool("metrics", said=await page(client)) == ""


async def test_every_figure_has_its_place(client: Client) -> None:
    """The fake counts nothing twice alike, so that a figure in the wrong place shows."""
    text = await page(client)
    for line in (
        f'sipresence_subscriptions{{account="{OFFICE}",package="dialog",transport="UDP",user_agent="yealink"}} 14.0',
        'sipresence_build_info{version="9.9.9"} 1.0',
        'sipresence_subscriptions_ended_total{reason="expired"} 15.0',
        "sipresence_resources 16.0",
        'sipresence_state_changes_total{source="manual"} 17.0',
        "sipresence_notifies_sent_total 3.0",
        'sipresence_notifies_total{status="200"} 18.0',
        'sipresence_notifies_total{status="unreachable"} 19.0',
        "sipresence_notifies_oversized_total 4.0",
        'sipresence_change_to_notify_sent_seconds_bucket{le="0.001"} 2.0',
        'sipresence_change_to_notify_answered_seconds_bucket{le="30.0"} 3.0',
        'sipresence_commit_seconds_bucket{le="+Inf"} 4.0',
        "sipresence_loop_delay_seconds_sum 99.2015",
        'sipresence_requests_total{method="SUBSCRIBE",status="200"} 1.0',
        'sipresence_requests_total{method="other",status="501"} 2.0',
        'sipresence_refusals_total{reason="malformed"} 23.0',
        'sipresence_retransmissions_total{direction="in"} 5.0',
        'sipresence_retransmissions_total{direction="out"} 6.0',
        "sipresence_stray_responses_total 7.0",
        "sipresence_keepalives_total 8.0",
        "sipresence_datagrams_unsendable_total 9.0",
        'sipresence_transactions{role="server"} 10.0',
        'sipresence_transactions{role="client"} 11.0',
        'sipresence_connections{transport="TCP"} 12.0',
        'sipresence_connections_closed_total{reason="peer"} 13.0',
        'sipresence_queue_length{queue="inbox"} 24.0',
        'sipresence_queue_length{queue="notify_lane"} 22.0',
        'sipresence_queue_length{queue="paced"} 20.0',
        "sipresence_commit_age_seconds 0.5",
        "sipresence_commits_failed_total 21.0",
        "sipresence_store_up 0.0",
        "sipresence_bus_up 1.0",
    ):
        assert f"\n{line}\n" in text


async def test_it_is_for_reading_only(client: Client) -> None:
    assert (await client.post("/metrics")).status == 405


# Alerts and the dashboard


def known() -> set[str]:
    """Every name that a query may use."""
    names = {name: kind for name, kind, _ in _ROW.findall(DOCUMENT)}
    histograms = {name for name, kind in names.items() if kind == "histogram"}
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    return {*names, *parts} - histograms


def queries(node: Any) -> Iterator[str]:
    """Every PromQL expression of the dashboard."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "expr":
                yield value
            else:
                yield from queries(value)
    elif isinstance(node, list):
        for value in node:
            yield from queries(value)


def test_the_dashboard_uses_metrics_that_there_are() -> None:
    used = {name for query in queries(DASHBOARD) for name in _NAME.findall(query)}
    assert used - known() == set()
    shown = {name.removesuffix("_bucket") for name in used}
    wanted = {name for name, _, _ in _ROW.findall(DOCUMENT) if name.startswith("sipresence_")}
    assert wanted - shown == {"sipresence_build_info"}, "something is on no panel"


def test_the_dashboard_has_a_place_for_every_panel() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    spots: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & spots, panel["title"]
        spots |= own


def test_promtool_can_read_every_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:query{number}", "expr": re.sub(r"\$__rate_interval", "1m", query).replace("$instance", ".*")}
        for number, query in enumerate(queries(DASHBOARD))
    ]
    assert len(rules) >= len(DASHBOARD["panels"])
    file = tmp_path / "dashboard.rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("rules", str(file))


def test_promtool_finds_nothing_to_say_about_the_alerts() -> None:
    promtool("rules", "--lint-fatal", str(RULES))


def test_the_alerts_use_metrics_that_there_are() -> None:
    used = set(_NAME.findall(RULES.read_text()))
    assert used
    assert used - known() == set()


def test_every_alert_is_explained() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text()
    alerts = re.findall(r"alert: (\w+)", RULES.read_text())
    assert [alert for alert in alerts if alert not in operations] == []


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=1.0.0", "text/plain; version=nonsense", "*/*"]
)
async def test_whatever_is_asked_for_it_is_text(client: Client, accept: str) -> None:
    response = await client.get("/metrics", headers={"Accept": accept})
    assert response.status == 200
    assert response.content_type == "text/plain"
