"""Log-ins and tokens in virtual time: what opens what, for how long, and what ends it."""

import base64
import hashlib
import json
from collections.abc import Callable

import jwt
import pytest
import structlog

from sipresence.accounts import Role, User, login_digests
from sipresence.directory import Directory
from sipresence.errors import LoginRefused, NoSession, SessionOver, StoreError, TooManyLogins
from sipresence.names import AccountId
from sipresence.objects import Kind
from sipresence.session_service import ACCOUNT_BURST, SOURCE_BURST, Session
from tests.fakes import NOW, ManualStore
from tests.office import ALICE, API_KEY, BOB, BRANCH, LIFETIME, OFFICE, OTHER, Office, accounts, office_account

SOURCE = "198.51.100.7"
ALICES = login_digests("alice", "wonderland")


def by_key(office: Office) -> str:
    token, _ = office.sessions.log_in_by_key(API_KEY, source=SOURCE)
    return token


def by_password(office: Office, username: str = "alice", password: str = "wonderland") -> str:
    token, _ = office.sessions.log_in(OFFICE, login_digests(username, password)[0], source=SOURCE)
    return token


LOGINS = [pytest.param(by_key, id="API key"), pytest.param(by_password, id="password")]


def test_what_a_login_sends_is_kazoos() -> None:
    assert login_digests("Alice", "secret") == (
        hashlib.md5(b"alice:secret").hexdigest(),
        hashlib.sha1(b"alice:secret").hexdigest(),
    )


def test_static_tokens_open_what_is_configured_for_ever() -> None:
    office = Office()
    office.clock.advance(10 * LIFETIME)
    assert office.sessions.session("demo-token") == Session(OFFICE, Role.ADMIN)
    assert office.sessions.session("read-token") == Session(OFFICE, Role.READ)
    assert office.sessions.session("other-token") == Session(OTHER, Role.ADMIN)


def test_an_api_key_opens_everything_of_its_account() -> None:
    office = Office()
    session = office.sessions.session(by_key(office))
    assert (session.account, session.role, session.user) == (OFFICE, Role.ADMIN, None)
    assert session.expires_at == NOW + LIFETIME


@pytest.mark.parametrize(("username", "password", "ident", "role"), [
    ("alice", "wonderland", ALICE, Role.ADMIN),
    ("ALICE", "wonderland", ALICE, Role.ADMIN),
    ("bob", "builder", BOB, Role.READ),
])  # fmt: skip
def test_a_password_opens_what_the_user_may(username: str, password: str, ident: str, role: Role) -> None:
    office = Office()
    for digest in login_digests(username, password):
        token, session = office.sessions.log_in(OFFICE, digest, source=SOURCE)
        assert office.sessions.session(token) == session
        assert (session.account, session.role, session.user) == (OFFICE, role, ident)


@pytest.mark.parametrize("log_in", LOGINS)
def test_a_token_ends_after_its_lifetime(log_in: Callable[[Office], str]) -> None:
    office = Office()
    token = log_in(office)
    office.clock.advance(LIFETIME - 1)
    assert office.sessions.remaining(office.sessions.session(token)) == 1
    office.clock.advance(1)
    with pytest.raises(SessionOver):
        office.sessions.session(token)


@pytest.mark.parametrize("log_in", LOGINS)
async def test_a_token_outlives_a_restart_and_its_end_does_too(log_in: Callable[[Office], str]) -> None:
    office = Office()
    token, other = log_in(office), log_in(office)
    again = Office(objects=(await office.store.load()).objects, store=office.store)
    session = again.sessions.session(token)
    await again.sessions.log_out(session)
    for house in (again, Office(objects=(await office.store.load()).objects)):
        with pytest.raises(SessionOver):
            house.sessions.session(token)
        house.sessions.session(other)


async def test_what_was_revoked_is_forgotten_once_it_would_have_ended() -> None:
    office = Office()
    sessions = office.sessions
    for _ in range(3):
        await sessions.log_out(sessions.session(by_key(office)))
    office.clock.advance(LIFETIME)
    token = by_key(office)
    await sessions.log_out(sessions.session(token))
    (record,) = (await office.store.load()).objects
    assert (record.kind, record.account) == (Kind.REVOCATION, OFFICE)
    with pytest.raises(SessionOver):
        sessions.session(token)


async def test_a_static_token_cannot_end() -> None:
    office = Office()
    await office.sessions.log_out(office.sessions.session("demo-token"))
    office.sessions.session("demo-token")
    assert (await office.store.load()).objects == []


async def test_an_end_that_could_not_be_kept_is_none() -> None:
    office = Office(store=(store := ManualStore()))
    token = by_key(office)
    store.on_submit = store.fail
    with pytest.raises(StoreError):
        await office.sessions.log_out(office.sessions.session(token))
    office.sessions.session(token)


def replaced(**fields: object) -> Callable[[Office], None]:
    return lambda office: office.directory.replace([office_account(**fields), *accounts()[1:]])


@pytest.mark.parametrize(
    ("log_in", "change"),
    [
        pytest.param(by_key, replaced(api_key="x" * 64), id="another API key"),
        pytest.param(by_key, replaced(api_key=None), id="no API key"),
        pytest.param(by_key, lambda office: office.directory.replace(accounts()[1:]), id="the account is gone"),
        pytest.param(by_password, replaced(users=()), id="the user is gone"),
        pytest.param(by_password, replaced(users=(User(ALICE, "alice", "new", None),)), id="another password"),
        pytest.param(by_password, replaced(users=(User(ALICE, "al", "wonderland", None),)), id="another name"),
        pytest.param(
            by_password, replaced(users=(User(ALICE, "alice", "wonderland", None, enabled=False),)), id="disabled"
        ),
        pytest.param(by_password, lambda office: office.directory.replace([]), id="all accounts are gone"),
    ],
)
def test_with_what_it_was_given_for_a_token_ends(
    log_in: Callable[[Office], str], change: Callable[[Office], None]
) -> None:
    office = Office()
    token = log_in(office)
    office.directory.replace(accounts())
    office.sessions.session(token)
    change(office)
    with pytest.raises(SessionOver):
        office.sessions.session(token)


def test_a_role_is_that_of_now() -> None:
    office = Office()
    token = by_password(office)
    replaced(users=(User(ALICE, "alice", "wonderland", None),))(office)
    assert office.sessions.session(token).role is Role.READ


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


CLAIMS = {
    "iss": "sipresence", "jti": "x", "iat": int(NOW), "exp": int(NOW) + 60, "account_id": OFFICE, "sig": "x",
}  # fmt: skip
HEADER = jwt.encode({}, bytes(32)).partition(".")[0]


@pytest.mark.parametrize(
    "token",
    [
        "",
        "demo-tokem",
        "demo-token\ud800",
        HEADER,
        f"{HEADER}.",
        f"{HEADER}..",
        f"{HEADER}.{segment(CLAIMS)}.",
        f"{HEADER}.{segment(CLAIMS)}.AAAA",
        f"{HEADER}.\x00.\ud800",
        f"{segment({'alg': 'none', 'typ': 'JWT'})}.{segment(CLAIMS)}.",
        jwt.encode(CLAIMS, b"another key of 32 bytes or longer", algorithm="HS256"),
        jwt.encode({**CLAIMS, "iss": "kazoo"}, bytes(32), algorithm="HS256"),
        jwt.encode(CLAIMS, bytes(64), algorithm="HS512"),
        f"{segment(['[' * 3000])}.{segment(CLAIMS)}.x",
    ],
)
def test_what_is_no_token_of_ours_opens_nothing(token: str) -> None:
    with pytest.raises(NoSession) as caught:
        Office().sessions.session(token)
    assert not isinstance(caught.value, SessionOver)


def test_a_token_that_was_tampered_with_opens_nothing() -> None:
    office = Office()
    header, claims, signature = by_password(office, "bob", "builder").split(".")
    read = json.loads(base64.urlsafe_b64decode(claims + "=="))
    for forged in (segment({**read, "owner_id": ALICE}), segment({**read, "account_id": OTHER}), claims[:-1]):
        with pytest.raises(NoSession):
            office.sessions.session(f"{header}.{forged}.{signature}")


def test_a_token_says_no_secret() -> None:
    office = Office()
    for token in (by_key(office), by_password(office)):
        claims = jwt.decode(token, bytes(32), algorithms=["HS256"], options={"verify_exp": False})
        assert claims.keys() <= {"iss", "jti", "iat", "exp", "account_id", "owner_id", "sig"}
        assert not any(secret in str(claims) for secret in (API_KEY, "wonderland", *ALICES))


def guess(office: Office, *, account: AccountId | None = OFFICE, source: str = SOURCE) -> None:
    if account is None:
        office.sessions.log_in_by_key("x" * 64, source=source)
    else:
        office.sessions.log_in(account, "0" * 32, source=source)


@pytest.mark.parametrize("account", [OFFICE, None])
def test_who_has_failed_too_often_has_to_wait(account: AccountId | None) -> None:
    office = Office()
    for _ in range(SOURCE_BURST):
        with pytest.raises(LoginRefused):
            guess(office, account=account)
    for log_in in (by_key, by_password):
        with pytest.raises(TooManyLogins) as caught:
            log_in(office)
        assert caught.value.retry_after == 10
    office.sessions.log_in_by_key(API_KEY, source="198.51.100.8")
    office.clock.advance(10)
    by_password(office)
    with pytest.raises(LoginRefused):
        guess(office, account=account)
    with pytest.raises(TooManyLogins):
        guess(office, account=account)


def test_an_account_is_not_guessed_from_many_addresses() -> None:
    office = Office()
    for number in range(ACCOUNT_BURST):
        with pytest.raises(LoginRefused):
            guess(office, source=f"198.51.100.{number}")
    with pytest.raises(TooManyLogins):
        guess(office, source="203.0.113.1")
    with pytest.raises(LoginRefused):
        guess(office, account=BRANCH, source="203.0.113.1")
    office.clock.advance(1)
    by_password(office)


def test_right_ones_are_not_counted() -> None:
    office = Office()
    for _ in range(3 * SOURCE_BURST):
        by_password(office)


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(User(ALICE, "alice", None, None), id="without a password"),
        pytest.param(User(ALICE, None, "wonderland", None), id="without a name"),
        pytest.param(User(ALICE, "alice", "wonderland", None, enabled=False), id="disabled"),
    ],
)
def test_who_cannot_log_in(user: User) -> None:
    office = Office(directory=Directory([office_account(users=(user,))]))
    with pytest.raises(LoginRefused):
        by_password(office)


def test_no_log_line_holds_a_secret() -> None:
    office = Office()
    with structlog.testing.capture_logs() as lines:
        tokens = by_key(office), by_password(office)
        with pytest.raises(LoginRefused):
            guess(office)
    assert [line["event"] for line in lines] == ["logged in", "logged in", "log-in refused"]
    assert not any(secret in str(lines) for secret in (*tokens, API_KEY, *ALICES, "0" * 32))


def test_the_tree_of_accounts() -> None:
    directory = Directory(accounts())
    assert directory.may_act_for(OFFICE, OFFICE)
    assert directory.may_act_for(OFFICE, BRANCH)
    assert not directory.may_act_for(BRANCH, OFFICE)
    assert not directory.may_act_for(OTHER, BRANCH)
    assert not directory.may_act_for(OFFICE, AccountId("0" * 32))
    assert [child.id for child in directory.children(OFFICE)] == [BRANCH]
