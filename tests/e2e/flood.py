"""Somebody who means ill: one process that sends to a server as fast as it can, for some seconds.

    python -m tests.e2e.flood KIND FROM PORT SECONDS

`garbage` comes from one address and port, `subscribe` (SUBSCRIBEs without credentials, each a new one) from 200 ports
of one address. What is answered is not read. How many were sent is printed at the end.
"""

import itertools
import os
import socket
import sys
import time
from collections.abc import Callable

MAX_SENT = 5_000_000
BATCH = 64  # between two looks at the clock


def garbage() -> Callable[[int], bytes]:
    """Some noise, and some that looks like SIP at first."""
    samples = [
        os.urandom(400),
        b"SUBSCRIBE sip:101@127.0.0.1 SIP/2.0\r\nVia: " + b"x" * 300 + b"\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKguess.1\r\nCSeq: 1 NOTIFY\r\n\r\n",
        b"ACK sip:101@127.0.0.1 SIP/2.0\r\n\r\n",
    ]
    return lambda number: samples[number % len(samples)]


def subscribes(host: str) -> Callable[[int], bytes]:
    template = (
        "SUBSCRIBE sip:101@127.0.0.1 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {host}:5060;rport;branch=z9hG4bK-flood-%d\r\nMax-Forwards: 70\r\n"
        f"From: <sip:nobody@{host}>;tag=f%d\r\nTo: <sip:101@127.0.0.1>\r\nCall-ID: %d@{host}\r\n"
        f"CSeq: 1 SUBSCRIBE\r\nContact: <sip:nobody@{host}>\r\nEvent: dialog\r\nExpires: 3600\r\n"
        "Accept: application/dialog-info+xml\r\nContent-Length: 0\r\n\r\n"
    )
    return lambda number: (template % (number, number, number)).encode()


def flood(kind: str, host: str, port: int, seconds: float) -> int:
    """Send, and return how many."""
    make = garbage() if kind == "garbage" else subscribes(host)
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(1 if kind == "garbage" else 200)]
    for sock in sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.bind((host, 0))
        sock.connect(("127.0.0.1", port))
    sends = itertools.cycle([sock.send for sock in sockets])
    ends_at, sent = time.monotonic() + seconds, 0
    while time.monotonic() < ends_at and sent < MAX_SENT:
        for _ in range(BATCH):
            try:
                next(sends)(make(sent))
            except OSError:  # the buffers are full, or nobody is there
                continue
            sent += 1
    return sent


if __name__ == "__main__":
    os.nice(19)  # an attacker has a machine of his own: he takes none of the server's time
    print(flood(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
