"""Seeing inside a real server: scraped after some traffic, asked for its health, traced from the command line."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import need
from tests.e2e.conftest import StartServer
from tests.e2e.fleet import Fleet, Phone
from tests.e2e.server import ACCOUNT, TOKEN, Server

pytestmark = pytest.mark.e2e
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
WATCHERS = 5


async def told(fleet: Fleet, phones: list[Phone], lamp: str) -> None:
    assert await fleet.settled(lambda: all(phone.lamp == lamp for phone in phones), within=5)


async def some_traffic(server: Server, fleet: Fleet) -> list[Phone]:
    """Phones that watch 101 while it rings; then one refreshes, one leaves, one falls silent and one is refused."""
    phones = [fleet.add("101") for _ in range(WATCHERS)]
    await fleet.subscribe_all(phones)
    await told(fleet, phones, "terminated")
    await asyncio.to_thread(server.command, "101", action="set", state="early")
    await told(fleet, phones, "early")
    assert await fleet.subscribe(phones[0]) == 200
    assert await fleet.subscribe(phones[1], expires=0) == 200
    assert await fleet.subscribe(fleet.add("102"), expires=1) == 423
    phones[2].answers = False
    await asyncio.to_thread(server.command, "101", action="set", state="confirmed")
    await told(fleet, [phones[0], *phones[2:]], "confirmed")
    await asyncio.sleep(1.1)  # the silent phone is asked again, after 0.5 s and 1 s more; the pulse beats twice
    return phones


def read(server: Server, path: str) -> str:
    with urlopen(server.url + path) as answer:
        assert answer.status == 200
        text: str = answer.read().decode()
        return text


def samples(text: str) -> dict[str, float]:
    """Every sample, written as in the page, without the account."""
    return {
        sample.name
        + "".join(f" {key}={value}" for key, value in sample.labels.items() if key != "account"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_scrape_tells_what_happened(server: Server) -> None:
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        await some_traffic(server, fleet)
        page = await asyncio.to_thread(read, server, "/metrics")
    found = samples(page)
    expected = {
        "sipresence_subscriptions package=dialog transport=UDP user_agent=none": WATCHERS - 1,
        "sipresence_subscriptions_ended_total reason=unsubscribed": 1,
        "sipresence_requests_total method=SUBSCRIBE status=200": WATCHERS + 2,
        "sipresence_requests_total method=SUBSCRIBE status=423": 1,
        "sipresence_refusals_total reason=interval_too_brief": 1,
        "sipresence_state_changes_total source=manual": 2,
        "sipresence_notifies_sent_total": 3 * WATCHERS + 1,
        "sipresence_notifies_total status=200": 3 * WATCHERS,
        "sipresence_change_to_notify_sent_seconds_count": 2 * WATCHERS - 1,
        "sipresence_change_to_notify_answered_seconds_count": 2 * WATCHERS - 2,
        "sipresence_transactions role=client": 1,
        "sipresence_store_up": 1,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["sipresence_retransmissions_total direction=out"] >= 1
    assert found["sipresence_commit_seconds_count"] >= 3
    assert found["sipresence_loop_delay_seconds_count"] >= 2
    assert found["sipresence_change_to_notify_answered_seconds_sum"] < 5.0

    documented = set(re.findall(r"^\| `(\w+)`", DOCUMENT.read_text(), re.MULTILINE))
    exported = {
        family.name + ("_total" if family.type == "counter" else "") for family in text_string_to_metric_families(page)
    }
    assert exported == documented
    checked = await asyncio.to_thread(
        subprocess.run, [need("promtool"), "check", "metrics"], input=page, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_health_of_a_running_server(server: Server) -> None:
    assert json.loads(read(server, "/healthz"))["status"] == "ok"
    assert all(json.loads(read(server, "/readyz")).values())


def trace(server: Server, *arguments: str) -> str:
    command = [sys.executable, "-m", "sipresence", "trace", *arguments, "--url", server.url]
    return subprocess.run(
        [*command, "--token", TOKEN, "--account", ACCOUNT], capture_output=True, text=True, check=True
    ).stdout


async def test_trace_from_the_command_line(server: Server) -> None:
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        phones = await some_traffic(server, fleet)
        story = (await asyncio.to_thread(trace, server, "101")).splitlines()
        of_one = (await asyncio.to_thread(trace, server, phones[1].call_id)).splitlines()
        as_json = json.loads(await asyncio.to_thread(trace, server, phones[0].call_id, "--json"))

    assert story[0].startswith("101: confirmed since ")
    beliefs = {line.split()[0]: line.partition("believes: ")[2] for line in story[1:WATCHERS]}
    assert beliefs == {
        phone.call_id: "early, which is wrong" if phone is phones[2] else "confirmed"
        for number, phone in enumerate(phones)
        if number != 1  # which has left
    }
    assert sum(f"manual by {ACCOUNT}: " in line for line in story) == 2
    silent = [line for line in story if phones[2].call_id in line]
    assert silent[-1].endswith("NOTIFY 3, version 2: confirmed -> no answer")

    happened = [line.partition(f"{phones[1].call_id}  ")[2] for line in of_one if phones[1].call_id in line]
    assert [line.partition(" -> 200 after")[0] for line in happened] == [
        "subscribed for 3600 s",
        "NOTIFY 1, version 0: terminated",
        "NOTIFY 2, version 1: early",
        "unsubscribed",
        "ended: unsubscribed",
        "NOTIFY 3, version 2: early, the last one",
    ]

    (timeline,) = as_json
    notifies = [event for event in timeline["timeline"] if event["event"] == "notify"]
    assert [event["cseq"] for event in notifies] == [1, 2, 3, 4]
    assert all(f"<state>{event['state']}</state>" in event["body"] for event in notifies)
    assert all(f'version="{event["version"]}"' in event["body"] for event in notifies)


async def test_a_server_that_was_restarted_says_so(start_server: StartServer) -> None:
    server = start_server()
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        fleet.gaps_allowed = True
        phone = fleet.add("101")
        await fleet.subscribe(phone)
        await told(fleet, [phone], "terminated")
        await asyncio.to_thread(server.command, "101", action="set", state="early")
        await told(fleet, [phone], "early")
        server.kill()
        before = phone.notifies
        await asyncio.to_thread(server.start)
        assert await fleet.settled(lambda: phone.notifies > before, within=10)
        await asyncio.sleep(0.1)
        story = await asyncio.to_thread(trace, server, phone.call_id)
        page = await asyncio.to_thread(read, server, "/metrics")
    assert f"{phone.call_id}  found in the store at a start" in story
    assert re.search(rf"{phone.call_id}  NOTIFY \d+, version \d+: early -> 200 after", story)
    assert samples(page)["sipresence_subscriptions package=dialog transport=UDP user_agent=none"] == 1
