"""What the fuzzers start from: the messages of RFC 4475, scripts in which a phone does all that phones do, and what
publishers publish."""

import struct
from collections.abc import Iterator
from pathlib import Path

from fuzz.house import SEPARATOR
from tests.builders import options, request, subscribe

DATA = Path(__file__).parents[1] / "tests" / "data"
STUN = struct.pack("!HHI12s", 1, 0, 0x2112A442, b"transaction!")
AUTHORIZED = [("Authorization", "$AUTH")]
REFRESH = subscribe(cseq=2, to_tag="$TAG")
OTHER_BRANCH = subscribe(branch="z9hG4bKother")
FETCH = subscribe(call_id="f", expires=0)
ROUTED = subscribe(headers={"Record-Route": "<sip:192.0.2.9;lr>, <sip:p2.example.com>"})
UNSUBSCRIBE = subscribe(cseq=3, to_tag="$TAG", expires=0)

_SCRIPTS: dict[str, list[bytes]] = {
    "subscribe": [subscribe(), b"\x01=200", b"\x01!e", b"\x01=200", REFRESH, b"\x01=200", UNSUBSCRIBE, b"\x01=200"],
    "dirty": [subscribe(), b"\x01!e", b"\x01!c", b"\x01!t", b"\x01!", b"\x01=100", b"\x01=481"],
    "failing": [subscribe(), b"\x01=503", b"\x01+5", b"\x01=400", b"\x01+00030", b"\x01!e", b"\x01+64"],
    "retransmitted": [subscribe(), subscribe(), b"\x01+32", subscribe(), OTHER_BRANCH, b"\x01+64", OTHER_BRANCH],
    "not committed": [b"\x01#", subscribe(), subscribe(cseq=2), b"\x01#", REFRESH, b"\x01#", UNSUBSCRIBE],
    "fetch": [FETCH, b"\x01=200", FETCH],
    "connection": [b"\x01|", subscribe(), b"\x01=200", b"\x01|", b"\x01!e", b"\x01|", REFRESH, b"\x01=200"],
    "routed": [ROUTED, b"\x01=200", b"\x01!c"],
    "stranger": [b"\x01~", subscribe(), subscribe(cseq=2, headers=AUTHORIZED), b"\x01=200"],
    "moved": [subscribe(contact="<sip:102@10.0.0.9>"), subscribe(cseq=2, to_tag="$TAG", contact=None)],
    "named": [subscribe(contact="<sip:102@phone.example.com;transport=tcp>"), b"\x01=200"],
    "odd": [subscribe(uri="sip:%2A3101;x=y:pw@Office.Example.Com:5060;lr?a=b", event="dialog;id=7;sla"), b"\x01=202"],
    "compact": [subscribe(compact=True), b"\x01=200"],
    "others": [options(), request("INVITE"), request("CANCEL"), request("ACK"), request("PUBLISH"), b"\r\n\r\n", STUN],
    "second": [b"\x01+99999"],
}


def datagrams() -> Iterator[tuple[str, bytes]]:
    """Names and scripts."""
    yield from _torture()
    for name, steps in _SCRIPTS.items():
        yield name, SEPARATOR.join(steps)


def streams() -> Iterator[tuple[str, bytes]]:
    """Names and byte streams."""
    yield from _torture()
    yield "several", b"\r\n\r\n" + options() + b"\r\n" + subscribe(compact=True) + request(body=b"1234") + b"\r\n\r\n"
    yield "folded", options(headers={"Content-Length": "\r\n 4"}) + b"1234"


def bodies() -> Iterator[tuple[str, bytes]]:
    """Names and bodies: of captured PUBLISHes, and some with all that a document may hold."""
    for path in sorted((DATA / "publishers").glob("*.sip")):
        yield path.stem, path.read_bytes().partition(b"\n\n")[2]
    hold = '<param pname="+sip.rendering" pval="no"/>'
    local = f'<local><identity display="A">sip:a@b</identity><target uri="sip:a@b">{hold}</target></local>'
    dialogs = f'<dialog id="a"><state>early</state>{local}</dialog><dialog><state>terminated</state></dialog>'
    yield "hold", f'<dialog-info state="partial">{dialogs}</dialog-info>'.encode()
    yield "entities", b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><dialog-info>&e;</dialog-info>'
    status = "<status><basic>open</basic><x:dnd>true</x:dnd></status>"
    doing = (
        "<r:activities><r:note>busy</r:note><r:away/><r:activity>meal</r:activity><r:other>dnd</r:other></r:activities>"
    )
    inside = f"<tuple>{status}<note>Out</note></tuple><d:person>{doing}<d:note>Far</d:note></d:person><note>Gone</note>"
    for name, rpid in (("presence", "rpid"), ("presence of a draft", "status:rpid-status")):
        pidf = "urn:ietf:params:xml:ns:pidf"
        spaces = f"xmlns='{pidf}' xmlns:d='{pidf}:data-model' xmlns:r='{pidf}:{rpid}' xmlns:x='urn:x'"
        yield name, f"<presence {spaces}>{inside}</presence>".encode()


def _torture() -> Iterator[tuple[str, bytes]]:
    for path in sorted((DATA / "torture").glob("*.dat")):
        yield path.stem, path.read_bytes()
