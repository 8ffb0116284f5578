"""What a subscription is made of in memory: 5,000 of them in a notifier, each refreshed once, by the line that made it.

python -m benchmarks.allocations
"""

import gc
import hashlib
import sys
import tracemalloc
from pathlib import Path

from sipresence.events.effects import SendNotify
from sipresence.events.notifier import Notifier
from sipresence.events.subscribe import Limits, Watched, entity_of
from sipresence.names import AccountId, resource_id
from sipresence.sip.flow import Flow
from sipresence.sip.message import Request, parse

COUNT, KEYS, WATCHERS = 5000, 10, 10
REALM = "office.example.com"
PACKAGE = Path(__file__).parents[1]


def subscribe(number: int) -> Request:
    """The SUBSCRIBE of a phone's key, as it comes off the wire."""
    phone, extension = number // KEYS, 1000 + number % (COUNT // WATCHERS)
    host = f"127.1.{phone // 250}.{1 + phone % 250}"
    text = (
        f"SUBSCRIBE sip:{extension}@{REALM} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:5060;branch=z9hG4bK{number};rport\r\n"
        f'From: "Phone {phone}" <sip:phone{phone}@{REALM}>;tag=f{number}\r\nTo: <sip:{extension}@{REALM}>\r\n'
        f"Call-ID: {number}@{host}\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:phone{phone}@{host}:5060>\r\n"
        "Accept: application/dialog-info+xml\r\nMax-Forwards: 70\r\nUser-Agent: Yealink SIP-T46U 108.86.0.20\r\n"
        "Expires: 3600\r\nEvent: dialog\r\nContent-Length: 0\r\n\r\n"
    )
    flow = Flow("UDP", "udp://127.0.0.1:5060", sys.intern(host), 5060, "127.0.0.1:5060")
    message = parse(text.encode(), flow)
    assert isinstance(message, Request)
    return message


def main() -> None:
    notifier = Notifier(
        Limits(), failures_allowed=4, local_tag=lambda key: hashlib.md5(key.call_id.encode()).hexdigest()[:24]
    )
    account = AccountId("0" * 32)
    tracemalloc.start()
    for number in range(COUNT):
        request = subscribe(number)
        resource = resource_id(request.to.uri[4:].partition("@")[0], REALM)
        effects = notifier.subscribe(request, Watched(account, resource, entity_of(request)), now=float(number))
        for effect in effects:
            if isinstance(effect, SendNotify):
                notifier.notify_answered(effect.notify.id, status=200, retry_after=None, now=float(number))
    del request, effects, effect
    gc.collect()
    lines = tracemalloc.take_snapshot().statistics("lineno")
    for line in lines[:20]:
        frame = line.traceback[0]
        name = Path(frame.filename)
        shown = name.relative_to(PACKAGE) if name.is_relative_to(PACKAGE) else name.name
        print(f"{line.size / COUNT:7.0f} bytes in {line.count / COUNT:5.2f} objects  {shown}:{frame.lineno}")
    print(f"{sum(line.size for line in lines) / COUNT:7.0f} bytes in all")


if __name__ == "__main__":
    main()
