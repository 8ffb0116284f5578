"""What any request is refused for before anybody looks at what it is about."""

from collections.abc import Callable

import pytest

from sipresence.errors import SipError
from sipresence.sip.message import Request
from sipresence.sip.uas import NO_CALLS, refuse_extensions, refuse_hops, refuse_method, refuse_scheme
from tests.builders import flow, options, parsed, request

ALLOWED = ("SUBSCRIBE", "OPTIONS")


def refused(check: Callable[[], None]) -> SipError:
    with pytest.raises(SipError) as refusal:
        check()
    return refusal.value


@pytest.mark.parametrize("method", ALLOWED)
def test_a_method_that_we_do(method: str) -> None:
    refuse_method(parsed(request(method)), ALLOWED)


@pytest.mark.parametrize(
    ("method", "status"),
    [
        pytest.param("INVITE", 405, id="RFC 3261 8.2.1: understood but not supported"),
        pytest.param("NOTIFY", 405, id="Cisco SPA sends keep-alive NOTIFYs"),
        pytest.param("REGISTER", 405, id="a phone with the wrong registrar"),
        pytest.param("PUBLISH", 405, id="RFC 3903, not here"),
        pytest.param("CANCEL", 481, id="RFC 3261 9.2: there is nothing to cancel"),
        pytest.param("FROBNICATE", 501, id="RFC 3261 21.5.2: not recognised at all"),
        pytest.param("subscribe", 501, id="RFC 3261 7.1: methods are case-sensitive"),
    ],
)
def test_a_method_that_we_do_not(method: str, status: int) -> None:
    refusal = refused(lambda: refuse_method(parsed(request(method)), ALLOWED))
    assert refusal.status == status
    # "The response MUST include an Allow header field" (RFC 3261 section 21.4.6).
    assert refusal.headers.startswith("Allow: SUBSCRIBE, OPTIONS\r\n" if status == 405 else "")


def test_who_dials_is_told_why_nothing_rings() -> None:
    refusal = refused(lambda: refuse_method(parsed(request("INVITE")), ALLOWED))
    assert refusal.headers.partition("\r\n")[2] == NO_CALLS
    assert refused(lambda: refuse_method(parsed(request("MESSAGE")), ALLOWED)).headers.endswith("OPTIONS\r\n")


def test_a_defect_comes_before_the_method() -> None:
    assert refused(lambda: refuse_method(parsed(request("INVITE", cseq="x")), ALLOWED)).status == 400


@pytest.mark.parametrize(
    ("max_forwards", "status"),
    [
        pytest.param(None, 0, id="RFC 4475 3.4.1: RFC 2543 had none"),
        pytest.param("70", 0, id="RFC 3261 8.1.1.6"),
        pytest.param("0068", 0, id="RFC 4475 3.1.1.1: leading zeros"),
        pytest.param("255", 0, id="the largest"),
        pytest.param("1", 0, id="the last hop but one"),
        pytest.param("0", 483, id="RFC 3261 21.4.21"),
        pytest.param("300", 400, id="RFC 4475 3.1.2.4: larger than 255"),
        pytest.param("-1", 400, id="negative"),
        pytest.param("", 400, id="empty"),
    ],
)
def test_hops(max_forwards: str | None, status: int) -> None:
    message = parsed(options(max_forwards=max_forwards))
    if not status:
        refuse_hops(message)
    else:
        assert refused(lambda: refuse_hops(message)).status == status


@pytest.mark.parametrize(
    ("headers", "unsupported"),
    [
        pytest.param([("Require", "100rel")], "100rel", id="RFC 3261 8.2.2.3"),
        pytest.param([("Require", "a, b"), ("Require", "c")], "a, b, c", id="RFC 4475 3.3.5: several"),
        pytest.param([("Require", "recipient-list-subscribe")], "recipient-list-subscribe", id="Linphone: RFC 5367"),
    ],
)
def test_extensions_that_we_do_not_know(headers: list[tuple[str, str]], unsupported: str) -> None:
    refusal = refused(lambda: refuse_extensions(parsed(options(headers=headers))))
    assert (refusal.status, refusal.headers) == (420, f"Unsupported: {unsupported}\r\n")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none"),
        pytest.param([("Require", "")], id="an empty Require names no extension"),
        pytest.param([("Proxy-Require", "x")], id="RFC 3261 20.29: for proxies"),
        pytest.param([("Supported", "100rel, eventlist")], id="RFC 3261 20.37: only an offer"),
    ],
)
def test_no_extension_required(headers: list[tuple[str, str]]) -> None:
    refuse_extensions(parsed(options(headers=headers)))


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        pytest.param("sip:101@office.example.com", 0, id="RFC 3261 8.2.2.1"),
        pytest.param("sips:192.0.2.1", 416, id="RFC 3261 26.2.2: sips over UDP"),
        pytest.param("tel:101", 416, id="RFC 3261 8.2.2.1: a scheme that we do not know"),
        pytest.param("<sip:101@office.example.com>", 400, id="RFC 4475 3.1.2.7"),
        pytest.param("sip:", 400, id="no host"),
    ],
)
def test_scheme(uri: str, status: int) -> None:
    message: Request = parsed(options(uri=uri))
    if not status:
        refuse_scheme(message)
    else:
        assert refused(lambda: refuse_scheme(message)).status == status


@pytest.mark.parametrize("transport", ["TLS", "WSS", "TCP", "WS"])
def test_sips_over_a_connection(transport: str) -> None:
    refuse_scheme(parsed(options(uri="sips:101@office.example.com"), flow(transport)))
