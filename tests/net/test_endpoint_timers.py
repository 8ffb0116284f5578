"""The endpoint's one timer, on a real socket: what goes unanswered is repeated in time, whatever else is sent."""

import asyncio
import itertools
import socket

from sipresence.events import dialog_info
from sipresence.events.effects import Notify
from sipresence.events.resource import ResourceState
from sipresence.names import CallId, ResourceId, SubscriptionId
from sipresence.net.address import ListenAddress
from sipresence.net.clock import LoopClock
from sipresence.net.endpoint import SipEndpoint
from sipresence.net.transports import StreamSettings
from sipresence.sip.admission import Admission, RateLimits
from sipresence.sip.flow import Flow, Hop
from tests.net.test_endpoint import Core, no_names

HOST = "127.0.0.1"
LISTENER = f"udp://{HOST}"
T1 = 0.1


def opened(clock: LoopClock) -> SipEndpoint:
    tokens = itertools.count()
    return SipEndpoint(
        Core(),
        [ListenAddress(LISTENER, "UDP", HOST, 0, "")],
        streams=StreamSettings(),
        admission=Admission(RateLimits()),
        ask=no_names,
        clock=clock,
        t1=T1,
        token=lambda: f"{next(tokens)}",
    )


def notify(number: int, port: int) -> Notify:
    flow = Flow("UDP", LISTENER, HOST, port, f"{HOST}:5060")
    document = dialog_info.render(ResourceState(ResourceId("101@office.example.com")))
    return Notify(
        SubscriptionId(number), CallId(f"call-{number}"), 1, 0, f"sip:phone@{HOST}:{port}", b"", "active;expires=60",
        document, "sip:101@office.example.com", Hop(flow, "UDP", HOST, port),
    )  # fmt: skip


async def test_a_silent_phone_is_asked_again_in_time_though_others_are_told_all_the_while() -> None:
    clock = LoopClock(asyncio.get_running_loop())
    endpoint = opened(clock)
    await endpoint.open()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind((HOST, 0))
        phone.setblocking(False)
        port = phone.getsockname()[1]
        for number in range(1, 60):  # each has a timer of its own, a hundredth of a second after the one before
            endpoint.send(notify(number, port))
            await asyncio.sleep(0.01)
        heard = []
        while True:
            try:
                heard.append(phone.recv(4096))
            except BlockingIOError:
                break
    endpoint.close()
    assert heard.count(heard[0]) >= 3, "at once, after T1 and after 3 * T1"
