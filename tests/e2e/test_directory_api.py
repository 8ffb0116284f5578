"""The directory over the API, on real sockets: a device that was PUT subscribes with its password at once, and after
kill -9; a log-in outlives it as well, and so does a log-out; the file can be reloaded beside it.
"""

import hashlib
import itertools
import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.authorization import Phone
from tests.e2e.conftest import StartServer
from tests.e2e.server import ACCOUNT, DEVICES, TOKEN, Server, Setting
from tests.e2e.test_digest import NOBODY, Line, challenged

pytestmark = pytest.mark.e2e

PATIENCE_S = 10.0
CSEQ = itertools.count(1)
STRICT: dict[str, Setting] = {**NOBODY, "unknown_resources": "reject"}
CELLAR = {"name": "Cellar", "presence_id": "101", "sip": {"username": "cellar", "password": "cellar-secret"}}


def call(server: Server, method: str, path: str, data: object = None, *, token: str = TOKEN) -> tuple[int, Any]:
    """Ask the API; return the status and the envelope."""
    body = None if data is None else json.dumps({"data": data}).encode()
    request = Request(f"{server.url}/v2/{path}", body, {"X-Auth-Token": token}, method=method)
    try:
        with urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refusal:
        return refusal.code, json.load(refusal)


def devices(ident: str = "") -> str:
    return f"accounts/{ACCOUNT}/devices/{ident}"


def subscribes(server: Server, phone: Phone) -> int:
    """The status that a phone ends with that answers the challenge; all have one Call-ID, whose CSeq goes up."""
    with Line(server) as line:
        challenge = challenged(line.ask(cseq=next(CSEQ)))
        return line.ask(cseq=next(CSEQ), authorization=phone.authorization(challenge)).status


def test_a_device_that_was_put_can_subscribe_at_once_and_after_a_crash(start_server: StartServer) -> None:
    server = start_server(sip=STRICT)
    phone = Phone("cellar", "cellar-secret")
    assert subscribes(server, phone) == 401
    status, made = call(server, "PUT", devices(), CELLAR)
    assert status == 201
    ident = made["data"]["id"]
    assert subscribes(server, phone) == 200
    server.kill()
    server.start()
    assert subscribes(server, phone) == 200
    assert call(server, "GET", devices(ident))[1]["data"] == made["data"]

    assert call(server, "PATCH", devices(ident), {"sip": {"password": "another"}})[0] == 200
    server.kill()
    server.start()
    assert subscribes(server, phone) == 401
    assert subscribes(server, Phone("cellar", "another")) == 200
    assert call(server, "DELETE", devices(ident))[0] == 200
    assert subscribes(server, Phone("cellar", "another")) == 401
    server.kill()
    server.start()
    assert subscribes(server, Phone("cellar", "another")) == 401
    assert call(server, "GET", devices(ident))[0] == 404


def test_a_login_and_a_logout_outlive_a_crash(server: Server) -> None:
    carol = {"first_name": "Carol", "last_name": "Doe", "username": "carol", "password": "singer"}
    assert call(server, "PUT", f"accounts/{ACCOUNT}/users", carol)[0] == 201
    credentials = {"credentials": hashlib.md5(b"carol:singer").hexdigest(), "account_name": "Demo office"}

    def log_in() -> str:
        status, envelope = call(server, "PUT", "user_auth", credentials, token="")
        assert status == 201
        return str(envelope["auth_token"])

    over, token = log_in(), log_in()
    assert call(server, "DELETE", "token_auth", token=over)[0] == 200
    server.kill()
    server.start()
    assert call(server, "GET", f"accounts/{ACCOUNT}/presence", token=token)[0] == 200
    assert call(server, "GET", f"accounts/{ACCOUNT}/presence", token=over)[0] == 401
    assert call(server, "PUT", devices(), CELLAR, token=token)[0] == 403, "she may only look"
    assert log_in() != token


def test_what_the_file_has_is_read_only_and_follows_it(start_server: StartServer) -> None:
    server = start_server(sip=STRICT)
    _, listed = call(server, "GET", devices())
    (alice,) = [one for one in listed["data"] if one["username"] == "alice-desk"]
    assert call(server, "DELETE", devices(alice["id"]))[0] == 409
    assert call(server, "PUT", devices(), CELLAR)[0] == 201
    server.reload((f'"{DEVICES["alice-desk"]}"', '"another"'))
    assert call(server, "GET", devices(alice["id"]))[1]["data"]["sip"]["password"] == "another"
    assert subscribes(server, Phone("alice-desk", "another")) == 200
    assert subscribes(server, Phone("cellar", "cellar-secret")) == 200, "it has nothing to do with the file"
