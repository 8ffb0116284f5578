"""SIP URIs: what is read out of them, and what is refused."""

import pytest

from sipresence.errors import MalformedMessage, SipError
from sipresence.sip.uri import Uri, is_private, join_host_port, parse_uri, split_host_port

READ = [
    ("RFC 3261 19.1.1: the shortest", "sip:example.com", Uri("sip", "", "example.com", 0, "")),
    (
        "RFC 3261 19.1.1: all parts",
        "sip:a:pw@h.example:5070;lr;x=1?Subject=y",
        Uri("sip", "a:pw", "h.example", 5070, ";lr;x=1"),
    ),
    (
        "RFC 3261 19.1.4: scheme and host in any case",
        "SIP:Alice@EXAMPLE.com",
        Uri("sip", "Alice", "example.com", 0, ""),
    ),
    ("RFC 3261 26.2: sips", "sips:101@example.com", Uri("sips", "101", "example.com", 0, "")),
    ("RFC 5118 4.1: IPv6 reference", "sip:101@[2001:DB8::10]:5060", Uri("sip", "101", "2001:db8::10", 5060, "")),
    ("RFC 5118 4.1: IPv6 reference without port", "sip:[2001:db8::10]", Uri("sip", "", "2001:db8::10", 0, "")),
    (
        "RFC 4475 3.1.1.9: ; and escaped @ in the user",
        "sip:user;par=u%40h@example.com",
        Uri("sip", "user;par=u%40h", "example.com", 0, ""),
    ),
    (
        "RFC 4475 3.1.1.2: ? / , in the user",
        "sip:crazy?,/;;*@example.com",
        Uri("sip", "crazy?,/;;*", "example.com", 0, ""),
    ),
    (
        "RFC 4475 3.1.2.11: headers are cut off",
        "sip:user@example.com?Route=%3Csip:e%3E",
        Uri("sip", "user", "example.com", 0, ""),
    ),
    (
        "a star code, as phones dial it",
        "sip:*3101@office.example.com",
        Uri("sip", "*3101", "office.example.com", 0, ""),
    ),
    ("Windows host names hold _", "sip:1@pbx_1", Uri("sip", "1", "pbx_1", 0, "")),
]


@pytest.mark.parametrize(("text", "uri"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_parse(text: str, uri: Uri) -> None:
    assert parse_uri(text) == uri
    assert parse_uri(text + ";" + "p" * 300).params.endswith("p" * 300) or "?" in text  # too long for the cache


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("example.com", id="no scheme"),
        pytest.param("*", id="RFC 3261 10.2.2: the Contact of a REGISTER only"),
        pytest.param("<sip:a@b>", id="RFC 4475 3.1.2.7: angle brackets around a Request-URI"),
        pytest.param("sip:", id="no host"),
        pytest.param("sip:a@", id="no host after a user"),
        pytest.param("sip:a@b@c", id="RFC 3261 19.1.2: @ must be escaped in the user"),
        pytest.param("sip:a b@c", id="RFC 4475 3.1.2.8: white space"),
        pytest.param("sip:a\tb@c", id="a tab"),
        pytest.param("sip:a\0@c", id="NUL"),
        pytest.param('sip:"a"@c', id="quotes must be escaped"),
        pytest.param("sip:a@c;x=<y>", id="brackets must be escaped"),
        pytest.param("sip:a@h:0", id="port 0"),
        pytest.param("sip:a@h:65536", id="port too large"),
        pytest.param("sip:a@h:" + "9" * 5000, id="python: int() refuses more than 4300 digits"),
        pytest.param("sip:a@h:5٣", id="python: str.isdigit takes Arabic digits"),
        pytest.param("sip:a@[::1", id="IPv6 without its bracket"),
        pytest.param("sip:a@[::g]", id="no IPv6 address"),
        pytest.param("sip:a@[::1]5060", id="text after an IPv6 address"),
        pytest.param("sip:a@exa mple", id="space in the host"),
        pytest.param("sip:a@bücher.example", id="RFC 3261 25.1: hosts are ASCII"),
        pytest.param("sip:a@" + "h" * 254, id="RFC 1035: a name has 253 characters at most; caches keep what they saw"),
        pytest.param("sip:a@[" + ":" * 254 + "]", id="an IPv6 address too long to be one"),
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_uri(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("tel:+4930123", id="RFC 3966"),
        pytest.param("nobodyKnowsThisScheme:totallyopaquecontent", id="RFC 4475 3.3.2"),
        pytest.param("soap.beep://192.0.2.103:3002", id="RFC 4475 3.3.3"),
        pytest.param("isbn:2983792873", id="RFC 4475 3.3.4"),
    ],
)
def test_another_scheme(text: str) -> None:
    with pytest.raises(SipError) as refused:
        parse_uri(text)
    assert refused.value.status == 416


@pytest.mark.parametrize(
    ("user", "meaning"),
    [
        pytest.param("%2A3101", "*3101", id="phones that escape the star of a parking slot"),
        pytest.param("*3101", "*3101", id="and those that do not"),
        pytest.param("101:secret", "101", id="RFC 3261 19.1.1: a password is no name"),
        pytest.param("%2A3101;phone-context=a", "*3101", id="RFC 3261 19.1.6: parameters of a telephone number"),
        pytest.param("101;ext=1:secret", "101", id="parameters and password"),
        pytest.param("101:sec;ret", "101", id="a password with a semicolon"),
        pytest.param("101%3Bext=1", "101;ext=1", id="RFC 3261 19.1.2: an escaped semicolon is a character"),
        pytest.param(";ext=1", "", id="parameters of nothing"),
        pytest.param("%D1%8F", "я", id="RFC 3261 19.1.2: UTF-8"),
        pytest.param("%", "%", id="a lone percent sign stands for itself"),
        pytest.param("null-%00-null", "null-\0-null", id="RFC 4475 3.1.1.4: an escaped NUL does not end the text"),
        pytest.param("1+1", "1+1", id="+ is no space"),
    ],
)
def test_unescaped_user(user: str, meaning: str) -> None:
    assert parse_uri(f"sip:{user}@example.com").unescaped_user == meaning


def test_a_user_part_that_is_no_text() -> None:
    with pytest.raises(MalformedMessage):
        _ = parse_uri("sip:%ff@example.com").unescaped_user


@pytest.mark.parametrize(
    ("params", "name", "value"),
    [
        ("", "lr", None),
        (";lr", "lr", ""),
        (";LR", "lr", ""),
        (";lr=on", "lr", "on"),  # old SER and OpenSER
        (";x=1; transport = TCP", "transport", "TCP"),
        (";xlr", "lr", None),
        (";maddr=192.0.2.9;maddr=192.0.2.8", "maddr", "192.0.2.9"),
    ],
)
def test_param(params: str, name: str, value: str | None) -> None:
    assert Uri("sip", "a", "h", 0, params).param(name) == value


def test_transport_is_spelt_as_in_via() -> None:
    assert parse_uri("sip:a@h;transport=tcp").transport == "TCP"
    assert parse_uri("sip:a@h").transport == ""


@pytest.mark.parametrize(
    ("host", "port", "text"), [("h", 0, "h"), ("h", 5060, "h:5060"), ("::1", 0, "[::1]"), ("::1", 5060, "[::1]:5060")]
)
def test_host_and_port_and_back(host: str, port: int, text: str) -> None:
    assert join_host_port(host, port) == text
    assert split_host_port(text) == (host, port)


@pytest.mark.parametrize(
    ("host", "private"),
    [
        pytest.param("192.168.1.9", True, id="RFC 1918"),
        pytest.param("10.0.0.1", True, id="RFC 1918"),
        pytest.param("100.64.0.1", True, id="RFC 6598: carrier-grade NAT"),
        pytest.param("127.0.0.1", True, id="loopback"),
        pytest.param("fd00::1", True, id="RFC 4193"),
        pytest.param("df7jal23ls0d.invalid", True, id="RFC 7118: browsers behind WebSocket"),
        pytest.param("8.8.8.8", False, id="public"),
        pytest.param("2606:4700::1", False, id="public IPv6"),
        pytest.param("phone.example.com", False, id="a name can be looked up"),
    ],
)
def test_private(host: str, private: bool) -> None:
    assert is_private(host) is private
