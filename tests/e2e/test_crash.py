"""kill -9, twenty times, at random moments after some answers of a burst: nothing that was acknowledged is lost.

The phones go on retransmitting the same branch across the restart, as real ones do.
"""

import asyncio
import random

import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.fleet import Fleet, Phone
from tests.e2e.server import Server

ROUNDS = 20
BURST = 50
KILL_WITHIN_S = 0.1

pytestmark = pytest.mark.e2e


async def _kill_amid_burst(server: Server, fleet: Fleet, chance: random.Random) -> list[Phone]:
    """Subscribe a burst of new phones, kill the server within 100 ms after some of its answers, start it again."""
    phones = [fleet.add(f"{2000 + number}") for number in range(BURST)]
    enough, left = asyncio.Event(), chance.randint(1, BURST)

    def count(_: Phone) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            enough.set()

    fleet.on_acknowledged = count
    burst = asyncio.create_task(fleet.subscribe_all(phones))
    await enough.wait()
    await asyncio.sleep(chance.uniform(0, KILL_WITHIN_S))
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    await burst
    return phones


async def test_nothing_acknowledged_is_lost(start_server: StartServer) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = start_server(sip={"restore_spread": 1})
    async with Fleet(("127.0.0.1", server.sip_port), seed=seed) as fleet:
        fleet.gaps_allowed = True
        for number in range(ROUNDS):
            old = list(fleet.phones.values())
            told = {phone.call_id: phone.notifies for phone in old}
            phones = await _kill_amid_burst(server, fleet, chance)
            assert [phone.status for phone in phones if phone.status != 200] == [], f"round {number}, seed {seed}"

            # The old ones hear from the new process by themselves, above everything they heard before: see faults.
            def unheard(old: list[Phone] = old, told: dict[str, int] = told) -> list[Phone]:
                return [phone for phone in old if phone.notifies == told[phone.call_id]]

            assert await fleet.settled(lambda: not unheard(), within=10), f"{len(unheard())} unheard, seed {seed}"
            await fleet.subscribe_all(fleet.phones.values())
            refused = [(phone.call_id, phone.status) for phone in fleet.phones.values() if phone.status != 200]
            assert refused == [], f"refreshes refused in round {number}, seed {seed}"
            assert fleet.faults == [], f"seed {seed}"


async def test_a_clean_stop_goes_on_at_exactly_one_more(start_server: StartServer) -> None:
    server = start_server(sip={"restore_spread": 1})
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        phones = [fleet.add(f"{3000 + number}") for number in range(20)]
        await fleet.subscribe_all(phones)
        assert await fleet.settled(lambda: all(phone.notifies == 1 for phone in phones), within=5)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert await fleet.settled(lambda: all(phone.notifies == 2 for phone in phones), within=5)
        assert [(phone.notify_cseq, phone.version) for phone in phones] == [(2, 1)] * len(phones)
        assert fleet.faults == []
