"""Phones behind a NAT, and NOTIFYs that do not fit a datagram, on real sockets."""

import socket

import pytest

from tests.e2e.conftest import StartServer

PATIENCE_S = 5.0

pytestmark = pytest.mark.e2e


def _socket(kind: socket.SocketKind = socket.SOCK_DGRAM, port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", port))
    sock.settimeout(PATIENCE_S)
    return sock


def _subscribe(*, contact: str, cseq: int = 1, to: str = "", domain: str = "office.example.com") -> bytes:
    return (
        f"SUBSCRIBE sip:101@{domain} SIP/2.0\r\nVia: SIP/2.0/UDP 10.9.8.7:5060;rport;branch=z9hG4bKnat{cseq}\r\n"
        f"From: <sip:phone@{domain}>;tag=nat\r\nTo: {to or f'<sip:101@{domain}>'}\r\nCall-ID: nat@10.9.8.7\r\n"
        f"CSeq: {cseq} SUBSCRIBE\r\nContact: <{contact}>\r\nEvent: dialog\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def _header(message: str, name: str) -> str:
    return next(line.partition(":")[2].strip() for line in message.split("\r\n") if line.startswith(f"{name}:"))


def _answer(message: str) -> bytes:
    kept = [
        line for line in message.split("\r\n") if line.partition(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq")
    ]
    return "\r\n".join(["SIP/2.0 200 OK", *kept, "Content-Length: 0", "", ""]).encode()


def _next(sock: socket.socket, start: str) -> str:
    """The next message that begins so; a NOTIFY is answered."""
    while True:
        data, source = sock.recvfrom(65535)
        message = data.decode()
        if message.startswith("NOTIFY"):
            sock.sendto(_answer(message), source)
        if message.startswith(start):
            return message


def test_behind_a_nat(start_server: StartServer) -> None:
    """The NOTIFY goes to the source, addressed to the private Contact; the pinhole is kept open, a move followed."""
    server = start_server(sip={"nat_keepalive": 1})
    address = ("127.0.0.1", server.sip_port)
    contact = "sip:101@10.9.8.7:5060"
    with _socket() as first, _socket() as second:
        first.sendto(_subscribe(contact=contact), address)
        to = _header(_next(first, "SIP/2.0 200"), "To")
        assert _next(first, "NOTIFY").split()[1] == contact
        assert _next(first, "\r\n") == "\r\n"
        second.sendto(_subscribe(contact=contact, cseq=2, to=to), address)
        _next(second, "SIP/2.0 200")
        assert _header(_next(second, "NOTIFY"), "CSeq") == "2 NOTIFY"
        assert _next(second, "\r\n") == "\r\n"


def test_a_large_notify_takes_the_connection_that_the_phone_has_open(start_server: StartServer) -> None:
    server = start_server()
    address = ("127.0.0.1", server.sip_port)
    domain = f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 50}"
    with _socket() as udp:
        port = udp.getsockname()[1]
        contact = f"sip:101@127.0.0.1:{port}"
        udp.sendto(_subscribe(contact=contact, domain=domain), address)
        to = _header(_next(udp, "SIP/2.0 200"), "To")
        assert len(_next(udp, "NOTIFY")) > 1300, "without a connection it comes by UDP all the same"
        with _socket(socket.SOCK_STREAM, port) as tcp:
            tcp.connect(address)
            tcp.sendall(b"\r\n\r\n")
            assert tcp.recv(10) == b"\r\n"
            udp.sendto(_subscribe(contact=contact, domain=domain, cseq=2, to=to), address)
            message = tcp.recv(65535).decode()
            assert message.startswith(f"NOTIFY {contact} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:{server.sip_port};")
            tcp.sendall(_answer(message))


def test_compact_headers(start_server: StartServer) -> None:
    server = start_server(sip={"compact_headers": True})
    with _socket() as udp:
        contact = f"sip:101@127.0.0.1:{udp.getsockname()[1]}"
        udp.sendto(_subscribe(contact=contact), ("127.0.0.1", server.sip_port))
        notify = ""
        while not notify.startswith("NOTIFY"):
            notify = udp.recv(65535).decode()
        names = [line.partition(":")[0] for line in notify.partition("\r\n\r\n")[0].split("\r\n")[1:]]
        assert names == ["v", "Max-Forwards", "f", "t", "i", "m", "o", "c", "CSeq", "Subscription-State", "l"]
