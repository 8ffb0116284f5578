"""The checker of the crash harness: desk phones in a process of their own, which see the wire and HTTP, no more.

    python -m tests.e2e.checker HOST:PORT API-URL KEYS RESOURCES SEED

Each line on standard input is a command in JSON, `{"do": "live"}`, each answered by one line of JSON:

    live      every lamp key lives from now on: refreshes, unsubscribes, lets its subscription expire, breaks its
              connection, at random
    crashed   the server was killed and is not there now; `stopped`: it has ended in good order
    rest      every key comes to rest, subscribed; all are refreshed, told, and compared with what the API lists

`faults` has a line for everything that no phone should ever see: a CSeq or a version that did not rise, a gap that no
crash explains, a refresh that was refused, a subscription that was acknowledged and is missing, one that was given up
and is back. `lamps` are the states that the phones of each extension show.

A request whose answer never came may have been carried out, or not: the phone asks again, and what it is told then
counts. Only an unsubscription that was sent again may find its dialog gone: 481 is as good as 200.
"""

import asyncio
import json
import resource
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from tests.e2e.fleet import Phone
from tests.e2e.server import ACCOUNT, TOKEN
from tests.e2e.stream_phones import MixedFleet, StreamPhone

ACTS = {"refresh": 5, "renew": 3, "lapse": 1, "break": 2}  # by weight
ACTS_PER_S = 100  # of all keys together
STREAMS = 3  # one key in so many is on TCP
DESK = 5  # keys to a socket
BRIEF_S = 2  # the shortest interval that the server grants
SLACK_S = 2.0  # by which a subscription may end late
PATIENCE_S = 20.0
LOOK_S = 0.2
LOOKS = 50
SHOWN_FAULTS = 20


@dataclass(slots=True)
class History:
    """What is known of one dialog besides what its phone shows."""

    crashes: int  # how many there had been when the last NOTIFY came
    via: str = ""  # of the last NOTIFY
    given_up_in: int | None = None  # the life of the server that acknowledged its end
    expires_at: float | None = None  # on the loop's clock, where it is left to expire


class Checker(MixedFleet):
    """The phones, and what each must never see. `life` counts the server's processes."""

    def __init__(self, server: tuple[str, int], *, api: str, seed: int) -> None:
        super().__init__(server, keys=DESK, seed=seed)
        self.gaps_allowed = True  # looked at here, where it is known whether there was a crash
        self.counts: Counter[str] = Counter()
        self._api = f"{api}/v2/accounts/{ACCOUNT}/presence"
        self._life = self._crashes = 0
        self._histories: dict[str, History] = {}
        self._resting = asyncio.Event()
        self._lives: list[asyncio.Task[None]] = []
        self._living: dict[int, Phone] = {}

    async def open(self, keys: int, resources: int) -> None:
        """Subscribe the first phone of each key."""
        await asyncio.gather(*(self._begin(key, str(1000 + key % resources)) for key in range(keys)))

    def live(self) -> None:
        """Let every key live until `rest`."""
        self._resting.clear()
        self._lives = [asyncio.create_task(self._live(key)) for key in self._living]

    def server_ended(self, *, crashed: bool) -> None:
        """The server has ended: read what it still said, then count a new life."""
        for sock in self._sockets:
            self._read(sock)
        self._life += 1
        self._crashes += crashed

    async def rest(self) -> None:
        """Bring every key to rest, and compare what the phones know with what the server says."""
        self._resting.set()
        await asyncio.gather(*self._lives)
        told = {phone.call_id: phone.notifies for phone in self._living.values()}
        await asyncio.gather(*map(self._refresh, self._living.values()))

        def unheard() -> list[str]:
            return [call_id for call_id, count in told.items() if self.phones[call_id].notifies == count]

        if not await self.settled(lambda: not unheard(), within=PATIENCE_S):
            self.faults += [f"{call_id}: refreshed, and not notified" for call_id in unheard()]
        await self._compare_listing()

    def report(self) -> dict[str, object]:
        lamps: dict[str, set[str]] = defaultdict(set)
        for phone in self._living.values():
            lamps[phone.extension].add(phone.lamp)
        self.counts["broken connections"] = self.breaks
        self.counts["retransmissions"] = self.retransmissions
        self.counts["notifies"] = sum(phone.notifies for phone in self.phones.values())
        return {
            "faults": self.faults[:SHOWN_FAULTS],
            "counts": self.counts,
            "lamps": {extension: sorted(states) for extension, states in lamps.items()},
        }

    # What a key does

    async def _live(self, key: int) -> None:
        acts, weights = list(ACTS), list(ACTS.values())
        pause = len(self._living) / ACTS_PER_S
        do: dict[str, Callable[[int], Awaitable[None]]] = {
            "refresh": lambda key: self._refresh(self._living[key]),
            "renew": self._renew,
            "lapse": self._lapse,
            "break": self._break,
        }
        while not self._resting.is_set():
            await asyncio.sleep(self.random.uniform(0, 2 * pause))
            (act,) = self.random.choices(acts, weights)
            self.counts[act] += 1
            await do[act](key)

    async def _begin(self, key: int, extension: str) -> None:
        """Subscribe under a new Call-ID."""
        phone = self.add(extension) if key % STREAMS else self.add_stream(extension)
        self._histories[phone.call_id] = History(self._crashes)
        await self._must_succeed(phone, "the first SUBSCRIBE")
        self._living[key] = phone

    async def _refresh(self, phone: Phone) -> None:
        await self._must_succeed(phone, "a refresh")

    async def _must_succeed(self, phone: Phone, what: str, *, expires: int = 3600) -> None:
        status = await self._ask(phone, expires=expires)
        if status != 200:
            self.faults.append(f"{phone.call_id}: {what} got {status or 'no answer'}")

    async def _ask(self, phone: Phone, *, expires: int) -> int:
        """SUBSCRIBE, and again where no answer came because the server was killed whenever the phone tried."""
        while True:
            life = self._life
            status = await self.subscribe(phone, expires=expires)
            if status or life == self._life:
                return status
            self.counts["asked again"] += 1

    async def _renew(self, key: int) -> None:
        """Unsubscribe, and subscribe anew."""
        phone, life = self._living[key], self._life
        status = await self._ask(phone, expires=0)
        if status == 481 and self._life > life:
            self.counts["carried out, not answered"] += 1
        elif status != 200:
            self.faults.append(f"{phone.call_id}: unsubscribing got {status}")
        self._histories[phone.call_id].given_up_in = self._life
        await self._begin(key, phone.extension)
        await self.settled(lambda: bool(phone.ended), within=1)  # it is not, where the server was killed meanwhile
        self.hang_up(phone)

    async def _lapse(self, key: int) -> None:
        """Let the subscription expire, and subscribe anew meanwhile."""
        phone = self._living[key]
        await self._must_succeed(phone, "a brief refresh", expires=BRIEF_S)
        self._histories[phone.call_id].expires_at = self._loop.time() + BRIEF_S
        await self._begin(key, phone.extension)

    async def _break(self, key: int) -> None:
        """Be away for a moment, on TCP."""
        phone = self._living[key]
        self.hang_up(phone, hard=self.random.random() < 0.5)
        await asyncio.sleep(self.random.uniform(0, 1))
        await self._refresh(phone)

    # What a phone sees

    def _notified(self, headers: dict[str, str], body: bytes) -> None:
        phone, history = self.phones.get(headers["call-id"]), self._histories.get(headers["call-id"])
        if phone is not None and history is not None:
            cseq, via = int(headers["cseq"].split()[0]), headers["via"]
            if cseq == phone.notify_cseq and via != history.via:
                self.faults.append(f"{phone.call_id}: another NOTIFY with CSeq {cseq}")
            history.via = via
        super()._notified(headers, body)

    def _take(self, phone: Phone, cseq: int, subscription_state: str, body: bytes) -> None:
        history, before = self._histories[phone.call_id], phone.version
        super()._take(phone, cseq, subscription_state, body)
        gap = phone.version != before + 1
        if gap and history.crashes == self._crashes and not isinstance(phone, StreamPhone):
            self.faults.append(f"{phone.call_id}: version {before} -> {phone.version} without a crash")
        history.crashes = self._crashes
        if phone.ended:
            return
        if history.given_up_in is not None and history.given_up_in < self._life:
            self.faults.append(f"{phone.call_id}: given up, and back")
        if history.expires_at is not None and self._loop.time() > history.expires_at + SLACK_S:
            self.faults.append(f"{phone.call_id}: expired, and back")

    # What the API says

    async def _compare_listing(self) -> None:
        """The API lists every phone that is subscribed, with the numbers that it was told last, and no other."""
        gone_at = max((h.expires_at for h in self._histories.values() if h.expires_at is not None), default=0.0)
        await asyncio.sleep(gone_at - self._loop.time())
        expected = {phone.call_id: phone for phone in self._living.values()}
        for _ in range(LOOKS):
            wrong = self._differences(await self._listing(), expected)
            if not wrong:
                return
            await asyncio.sleep(LOOK_S)
        self.faults += wrong

    def _differences(self, listed: dict[str, tuple[int, int]], expected: dict[str, Phone]) -> list[str]:
        wrong = [f"{call_id}: subscribed, and not listed" for call_id in expected.keys() - listed.keys()]
        wrong += [f"{call_id}: listed, and not subscribed" for call_id in listed.keys() - expected.keys()]
        for call_id in expected.keys() & listed.keys():
            shown = expected[call_id].notify_cseq, expected[call_id].version
            if listed[call_id] != shown:
                wrong.append(f"{call_id}: listed with {listed[call_id]}, was told {shown}")
        return wrong

    async def _listing(self) -> dict[str, tuple[int, int]]:
        """CSeq of the last NOTIFY and version of the last document, by Call-ID."""
        async with (
            aiohttp.ClientSession(headers={"X-Auth-Token": TOKEN}) as api,
            api.get(self._api) as answer,
        ):
            extensions = (await answer.json())["data"]["subscriptions"].values()
        return {
            call_id: (record["notify"]["sequence"], record["version"])
            for events in extensions
            for records in events.values()
            for call_id, record in records.items()
        }


async def _obey(checker: Checker, *, keys: int, resources: int) -> None:
    loop = asyncio.get_running_loop()
    async with checker:
        await checker.open(keys, resources)
        while True:
            print(json.dumps(checker.report()), flush=True)
            line = await loop.run_in_executor(None, sys.stdin.readline)
            if not line:
                return
            match json.loads(line)["do"]:
                case "live":
                    checker.live()
                case "crashed":
                    checker.server_ended(crashed=True)
                case "stopped":
                    checker.server_ended(crashed=False)
                case "rest":
                    await checker.rest()


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    address, api_url, *numbers = sys.argv[1:]
    host, _, port = address.rpartition(":")
    key_count, resource_count, seed_given = map(int, numbers)
    phones = Checker((host, int(port)), api=api_url, seed=seed_given)
    asyncio.run(_obey(phones, keys=key_count, resources=resource_count))
