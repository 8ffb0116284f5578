"""Who may subscribe from outside the trusted networks: digest, initial and in dialogs, and the rules of accounts."""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipresence.accounts import Account, Device, WatchRule
from sipresence.authentication import Authenticator
from sipresence.directory import Directory
from sipresence.errors import SipError
from sipresence.events.effects import Notify, Respond
from sipresence.names import AccountId
from sipresence.refusals import SUBSCRIBER_RATE
from sipresence.sip.admission import RateLimits
from sipresence.sip.digest import NONCE_LIFETIME, Algorithm, Credentials, Nonces
from tests.authorization import Challenge, Phone, challenges
from tests.builders import flow, parsed, subscribe
from tests.fakes import NOW, ManualClock
from tests.test_service import OFFICE, SHOP, STRANGER, House

REALM = "office.example.com"
OUR_CONTACT = "sip:192.0.2.1:5060"
ALICE, BOB, SELLER = Phone("alice-desk", "secret"), Phone("bob-desk", "bobs-secret"), Phone("alice-desk", "shop-secret")


def phone(username: str, password: str | None, **fields: Any) -> Device:
    return Device(username, username, None, None, username, password, **fields)


def account(ident: AccountId, realm: str, *devices: Device, **fields: Any) -> Account:
    return Account(
        ident, realm, realm, ("pbx.example.com",) if ident == OFFICE else (), api_key=None, tokens=(), users=(),
        devices=devices, lists=(), **fields,
    )  # fmt: skip


def office(**fields: Any) -> Account:
    return account(OFFICE, REALM, phone("alice-desk", "secret"), phone("bob-desk", "bobs-secret"), **fields)


ACCOUNTS = (office(), account(SHOP, "shop.example.com", phone("alice-desk", "shop-secret")))


class Outside(House):
    """A house that is asked from outside; `challenge` is what the last 401 said first."""

    def __init__(self, accounts: tuple[Account, ...] = ACCOUNTS, **fields: Any) -> None:
        super().__init__(accounts=accounts, **fields)
        self.way = STRANGER

    def ask(self, *, authorization: str | Sequence[str] = (), **fields: Any) -> Respond:
        """SUBSCRIBE; return the answer. NOTIFYs are answered at once."""
        values = [authorization] if isinstance(authorization, str) else authorization
        answer, *notifies = self.receive(
            subscribe(headers=[("Authorization", value) for value in values], **fields), way=self.way
        )
        assert isinstance(answer, Respond)
        for notify in notifies:
            assert isinstance(notify, Notify)
            self.answer(notify)
        return answer

    def challenge(self, **fields: Any) -> Challenge:
        """Ask without credentials; return the preferred challenge."""
        answer = self.ask(**fields)
        assert answer.status == 401
        return challenges(answer.headers)[0]

    def login(self, who: Phone = ALICE, **fields: Any) -> Respond:
        """Ask without credentials, then with them and the next CSeq; return the second answer."""
        challenge = self.challenge(**fields)
        fields["cseq"] = fields.get("cseq", 1) + 1
        return self.ask(authorization=who.authorization(challenge), **fields)

    def made_by(self) -> list[str]:
        """Who has made the subscriptions there are."""
        return [
            view.record.authenticated_user for owner in (OFFICE, SHOP) for view in self.service.subscriptions(owner)
        ]


@pytest.fixture
def house() -> Outside:
    return Outside()


def told(answer: Respond) -> tuple[int, list[bool]]:
    """The status of an answer, and whether its challenges are stale."""
    return answer.status, [challenge.stale for challenge in challenges(answer.headers)]


# The challenge


def test_the_challenge_offers_the_algorithms_of_the_account_in_order(house: Outside) -> None:
    answer = house.ask()
    offered = challenges(answer.headers)
    assert [(challenge.realm, challenge.algorithm) for challenge in offered] == [(REALM, "SHA-256"), (REALM, "MD5")]
    assert told(answer) == (401, [False, False])
    assert house.made_by() == []
    answer = Outside((office(digest_algorithms=(Algorithm.MD5,)),)).ask()
    assert [challenge.algorithm for challenge in challenges(answer.headers)] == ["MD5"]


@pytest.mark.parametrize(
    ("fields", "realm"),
    [
        ({"uri": "sip:101@shop.example.com"}, "shop.example.com"),
        ({"uri": "sip:101@pbx.example.com:5070"}, REALM),
        ({"uri": "sip:101@192.0.2.1", "to": "<sip:101@shop.example.com>"}, "shop.example.com"),
        ({"uri": OUR_CONTACT, "to": "<sip:101@shop.example.com>", "to_tag": "lost"}, "shop.example.com"),
        ({"uri": "sip:office.example.com"}, REALM),
    ],
)
def test_the_realm_is_that_of_the_account_that_is_asked(house: Outside, fields: dict[str, Any], realm: str) -> None:
    assert house.challenge(**fields).realm == realm


@pytest.mark.parametrize(
    ("understood", "offered"),
    [
        ((), "SHA-256 MD5"),
        pytest.param(("MD5",), "MD5", id="baresip 1.0.0 gives up on a 401 that offers SHA-256 as well (phones.md 39)"),
        pytest.param(("SHA-512",), "SHA-256 MD5", id="none of the account's: then all of them"),
    ],
)
def test_a_phone_is_offered_what_it_understands(understood: tuple[str, ...], offered: str) -> None:
    directory = Directory([office()])
    nonces = Nonces(bytes(32), since=NOW)
    asked: list[str] = []

    def understood_by(agent: str) -> tuple[str, ...]:
        asked.append(agent)
        return understood

    authenticator = Authenticator(directory, nonces, understood_by=understood_by)
    request = parsed(subscribe(headers={"User-Agent": "baresip v1.0.0"}))
    with pytest.raises(SipError) as refused:
        authenticator.authenticate(request, directory.account(OFFICE), means_us=lambda _: True, now=NOW)
    assert " ".join(re.findall("algorithm=([^,]+)", refused.value.headers)) == offered
    assert asked == ["baresip v1.0.0"]


def test_who_asks_for_nobodys_account_is_refused_without_a_challenge(house: Outside) -> None:
    assert house.ask(uri="sip:101@elsewhere.example.net").status == 403
    assert (
        house.ask(uri="sip:192.0.2.1", to="<sip:1@192.0.2.1>", from_="<sip:2@192.0.2.1>", to_tag="lost").status == 481
    )


def test_nothing_else_is_told_to_who_has_not_authenticated(house: Outside) -> None:
    """401 comes before all that depends on what there is (RFC 3261 section 8.2: authentication first)."""
    for fields in ({"headers": {"Require": "100rel"}}, {"event": "presence"}, {"expires": 1}, {"accept": "text/plain"}):
        (answer,) = house.receive(subscribe(**fields), way=STRANGER)
        assert isinstance(answer, Respond)
        assert answer.status == 401
    assert house.ask(to_tag="unknown", uri=OUR_CONTACT).status == 401


# Credentials


@pytest.mark.parametrize("algorithm", [0, 1], ids=["SHA-256", "MD5"])
def test_whoever_knows_the_password_subscribes(house: Outside, algorithm: int) -> None:
    challenge = challenges(house.ask().headers)[algorithm]
    assert house.ask(cseq=2, authorization=ALICE.authorization(challenge)).status == 200
    assert house.made_by() == ["alice-desk"]


@pytest.mark.parametrize("transport", ["TCP", "UDP"])
def test_on_any_transport(house: Outside, transport: str) -> None:
    house.way = flow(transport, host="198.51.100.7")
    assert house.login().status == 200


def test_ha1_in_place_of_the_password() -> None:
    ha1 = {Algorithm.MD5: Algorithm.MD5.ha1("alice-desk", REALM, "secret")}
    house = Outside((account(OFFICE, REALM, phone("alice-desk", None, sip_ha1=ha1)),))
    sha_256, md5 = challenges(house.ask().headers)
    assert told(house.ask(cseq=2, authorization=ALICE.authorization(sha_256))) == (401, [False, False])
    assert house.ask(cseq=3, authorization=ALICE.authorization(md5)).status == 200


@pytest.mark.parametrize(
    "uri",
    [
        "sip:101@office.example.com",
        "sip:101@OFFICE.example.com:5080;transport=tcp",
        "sips:101@pbx.example.com",
        "sip:192.0.2.1:5060",
        "sip:101@blf.example.com",
        "sip:%2A77@shop.example.com",
    ],
)
def test_the_uri_of_the_credentials_may_be_any_that_means_us(house: Outside, uri: str) -> None:
    """A proxy may have rewritten the Request-URI on the way."""
    assert house.ask(cseq=2, authorization=ALICE.authorization(house.challenge(), uri)).status == 200


@pytest.mark.parametrize("uri", ["sip:101@elsewhere.example.net", "tel:101", "", "*", "sip:", "office.example.com"])
def test_credentials_made_for_another_server_are_none(house: Outside, uri: str) -> None:
    answer = house.ask(cseq=2, authorization=ALICE.authorization(house.challenge(), uri))
    assert told(answer) == (401, [False, False])


def test_where_there_is_one_account_any_host_means_it() -> None:
    house = Outside((office(),))
    uri = "sip:101@blf.elsewhere.example.net"
    assert house.ask(cseq=2, uri=uri, authorization=ALICE.authorization(house.challenge(uri=uri), uri)).status == 200


def wrong(challenge: Challenge) -> list[str]:
    """Authorization values that differ from the right one in one thing."""
    right = Phone("alice-desk", "secret").authorization(challenge)
    return [
        Phone("nobody", "secret").authorization(challenge),
        Phone("alice-desk", "wrong").authorization(challenge),
        Phone("alice-desk", "").authorization(challenge),
        Phone("", "").authorization(challenge),
        Phone("ALICE-DESK", "secret").authorization(challenge),
        Phone("bob-desk", "secret").authorization(challenge),
        Phone("alice-desk", "secret").authorization(challenge, method="REGISTER"),
        Phone("alice-desk", "secret").authorization(challenge, realm="other.example.com"),
        right.replace("nc=00000001", "nc=00000002"),
        right.replace('cnonce="', 'cnonce="x'),
        right.replace('nonce="', 'nonce="0', 1),
        right.replace("qop=auth", "qop=auth-int"),
        right.replace(", qop=auth, nc=00000001", ""),
        right.replace("algorithm=SHA-256", "algorithm=MD5"),
        right.replace("Digest", "Basic"),
        right[:-1],
    ]


@pytest.mark.parametrize("number", range(16))
def test_what_is_wrong_is_challenged_again(house: Outside, number: int) -> None:
    challenge = house.challenge()
    answer = house.ask(cseq=2, authorization=wrong(challenge)[number])
    assert told(answer) == (401, [False, False])
    assert challenges(answer.headers)[0].nonce != challenge.nonce
    assert house.made_by() == []
    assert house.login(cseq=5).status == 200, "whoever errs may try again"


def test_an_algorithm_that_is_not_offered_is_not_taken() -> None:
    house = Outside((office(digest_algorithms=(Algorithm.SHA_256,)),))
    challenge = house.challenge()
    weak = Challenge(challenge.realm, challenge.nonce, "MD5", False)
    assert told(house.ask(cseq=2, authorization=ALICE.authorization(weak))) == (401, [False])


def test_an_unknown_user_and_a_wrong_password_are_told_and_cost_the_same(
    house: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    matches = Credentials.matches

    def counting(self: Credentials, ha1: str, method: str) -> bool:
        computed.append(len(ha1))
        return matches(self, ha1, method)

    monkeypatch.setattr(Credentials, "matches", counting)
    answers = [
        re.sub('nonce="[^"]*"', "", house.login(Phone(name, "wrong"), call_id=f"{name}@phone").headers)
        for name in ("alice-desk", "nobody")
    ]
    assert answers[0] == answers[1]
    assert computed == [64, 64]


def test_one_guess_a_request(house: Outside) -> None:
    challenge = house.challenge()
    right, bad = ALICE.authorization(challenge), Phone(password="wrong").authorization(challenge)
    assert house.ask(cseq=2, authorization=[bad, right]).status == 401
    assert house.ask(cseq=3, authorization=["Basic x", right, bad]).status == 200


def test_credentials_for_other_realms_are_passed_over(house: Outside) -> None:
    """A phone may send those for a proxy of another domain along."""
    challenge = house.challenge()
    foreign = Phone().authorization(Challenge("elsewhere.example.net", "n", "MD5", False))
    shop = SELLER.authorization(house.challenge(uri="sip:101@shop.example.com"))
    right = ALICE.authorization(challenge)
    assert house.ask(cseq=2, authorization=[foreign, shop, right]).status == 200


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.integers(0, 400), st.just("")),
        st.tuples(st.just("put"), st.integers(0, 400), st.text(max_size=5)),
        st.tuples(st.just("over"), st.integers(0, 400), st.text(min_size=1, max_size=3)),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=200)
@given(CHANGES)
def test_credentials_that_are_changed_anywhere_never_become_another_s(changes: list[tuple[str, int, str]]) -> None:
    """Whatever is changed: they are refused, or are those of alice for the same request still."""
    directory = Directory(ACCOUNTS)
    nonces = Nonces(bytes(32), since=NOW - 1)
    who = Phone("alice-desk", "secret")
    value = who.authorization(Challenge(REALM, nonces.make(REALM, NOW), "SHA-256", False))
    changed = value
    for how, where, text in changes:
        text = text.replace("\r", "").replace("\n", "").replace("\0", "").encode("utf-8", "replace").decode()
        keep = where + (len(text) if how == "over" else how == "cut")
        changed = changed[:where] + text + changed[keep:]
    request = parsed(subscribe(headers={"Authorization": changed}))
    authenticator = Authenticator(directory, nonces)
    with suppress(SipError):
        who_asks = authenticator.authenticate(request, ACCOUNTS[0], means_us=lambda uri: uri.host == REALM, now=NOW)
        assert who_asks == (OFFICE, "alice-desk")
        assert _values(changed.strip()) == _values(value)


def _values(value: str) -> dict[str, str]:
    """The parameters that matter, as a second reader understands them."""
    found = re.findall(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))', value, re.ASCII)
    told = {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in found}
    kept = {name: told[name] for name in ("username", "realm", "nonce", "uri", "cnonce", "nc")}
    return kept | {name: told[name].lower() for name in ("response", "algorithm", "qop")}


# Nonces


def test_a_nonce_serves_for_many_requests(house: Outside) -> None:
    challenge = house.challenge()
    for n in range(2, 10):
        answer = house.ask(call_id=f"{n}@phone", cseq=n, authorization=ALICE.authorization(challenge))
        assert answer.status == 200


def test_a_captured_request_cannot_be_played_again(house: Outside) -> None:
    """The same header is challenged with stale=true, for whoever knows the password: its sender is not refused."""
    value = Phone().authorization(house.challenge())
    assert house.ask(cseq=2, authorization=value).status == 200
    (before,) = house.service.subscriptions(OFFICE)
    house.way = flow(host="203.0.113.66")
    answer = house.ask(cseq=3, authorization=value, to_tag=before.record.local_tag, contact="<sip:evil@203.0.113.66>")
    assert told(answer) == (401, [True, True])
    assert told(house.ask(call_id="other@evil", authorization=value)) == (401, [True, True])
    (after,) = house.service.subscriptions(OFFICE)
    assert after.record == before.record
    fresh = challenges(answer.headers)[0]
    tag = before.record.local_tag
    assert house.ask(cseq=4, to_tag=tag, authorization=ALICE.authorization(fresh)).status == 200


def test_requests_may_overtake_one_another(house: Outside) -> None:
    challenge = house.challenge()
    for n in (3, 1, 2, 64):
        value = ALICE.authorization(challenge, count=n)
        assert house.ask(call_id=f"{n}@phone", authorization=value).status == 200
    assert told(house.ask(call_id="x", authorization=ALICE.authorization(challenge, count=2))) == (401, [True, True])


def test_an_expired_nonce_is_stale_and_not_forbidden(house: Outside) -> None:
    challenge = house.challenge()
    house.clock.advance(NONCE_LIFETIME + 1)
    answer = house.ask(cseq=2, authorization=ALICE.authorization(challenge))
    assert told(answer) == (401, [True, True])
    bad = Phone(password="wrong").authorization(challenge)
    assert told(house.ask(cseq=3, authorization=bad)) == (401, [False, False]), "stale only for who knows the password"
    fresh = challenges(answer.headers)[0]
    assert house.ask(cseq=4, authorization=ALICE.authorization(fresh)).status == 200


@pytest.mark.parametrize("nonce", ["", "x", "0" * 46, "ea9c8e88df84f1cec4341ae6cbe5a359"])
def test_an_unknown_nonce_is_stale_and_not_forbidden(house: Outside, nonce: str) -> None:
    challenge = Challenge(REALM, nonce, "SHA-256", False)
    assert told(house.ask(authorization=ALICE.authorization(challenge))) == (401, [True, True])


def test_the_nonce_of_another_realm_is_unknown(house: Outside) -> None:
    nonce = house.challenge(uri="sip:101@shop.example.com").nonce
    challenge = Challenge(REALM, nonce, "SHA-256", False)
    assert told(house.ask(cseq=2, authorization=ALICE.authorization(challenge))) == (401, [True, True])


def test_after_a_crash_the_same_request_gets_a_fresh_challenge() -> None:
    """Nobody knows any more whether it was served: it is not refused for ever, and not served twice."""
    before = Outside()
    value = Phone().authorization(before.challenge())
    after = Outside(clock=ManualClock(NOW + 1))
    answer = after.ask(cseq=2, authorization=value)
    assert told(answer) == (401, [True, True])
    assert after.ask(cseq=3, authorization=ALICE.authorization(challenges(answer.headers)[0])).status == 200


# In a dialog


def in_dialog(house: Outside, **fields: Any) -> dict[str, Any]:
    """The fields of a SUBSCRIBE in the dialog of the one subscription there is."""
    (view,) = house.service.subscriptions(OFFICE)
    return {"cseq": view.record.subscribe_cseq + 1, "to_tag": view.record.local_tag, "uri": OUR_CONTACT} | fields


def test_refresh_and_unsubscribe_are_challenged_too(house: Outside) -> None:
    house.login()
    assert house.login(**in_dialog(house)).status == 200
    (view,) = house.service.subscriptions(OFFICE)
    assert view.record.subscribe_cseq == 4
    assert house.login(**in_dialog(house, expires=0)).status == 200
    assert house.made_by() == []


@pytest.mark.parametrize("answer_it", [False, True], ids=["no credentials", "wrong password"])
def test_nothing_is_kept_of_a_request_that_is_not_authenticated(house: Outside, answer_it: bool) -> None:
    house.login()
    (before,) = house.service.subscriptions(OFFICE)
    house.way = flow(host="203.0.113.66", port=6666)
    fields = in_dialog(house, cseq=2_000_000_000, contact="<sip:evil@203.0.113.66>", expires=0)
    value = Phone(password="wrong").authorization(house.challenge(**fields)) if answer_it else ()
    assert house.ask(authorization=value, **fields).status == 401
    (after,) = house.service.subscriptions(OFFICE)
    assert after.record == before.record
    house.way = STRANGER
    assert house.login(**in_dialog(house)).status == 200, "its CSeq did not count"


@pytest.mark.parametrize("other", ["another user", "another account"])
def test_in_a_dialog_only_the_credentials_count_that_made_it(house: Outside, other: str) -> None:
    house.login(ALICE)
    (before,) = house.service.subscriptions(OFFICE)
    fields = in_dialog(house)
    if other == "another user":
        value = BOB.authorization(house.challenge(**fields))
    else:
        value = SELLER.authorization(house.challenge(uri="sip:101@shop.example.com", call_id="shop"))
    assert told(house.ask(authorization=value, **fields)) == (403, [])
    (after,) = house.service.subscriptions(OFFICE)
    assert after.record == before.record


def test_another_user_does_not_renew_it_by_an_initial_request_either(house: Outside) -> None:
    house.login(ALICE)
    (before,) = house.service.subscriptions(OFFICE)
    house.way = flow(host="203.0.113.66")
    assert house.login(BOB, cseq=7).status == 200
    assert house.made_by() == ["bob-desk", "alice-desk"]
    assert list(house.service.subscriptions(OFFICE))[-1].record == before.record
    house.way = STRANGER
    assert house.login(ALICE, cseq=11).status == 200
    assert house.made_by() == ["bob-desk", "alice-desk"], "she renews her own"


def test_a_trusted_network_needs_no_credentials_in_a_dialog(house: Outside) -> None:
    house.login(ALICE)
    house.way = flow()
    assert house.ask(**in_dialog(house)).status == 200
    assert house.made_by() == ["alice-desk"]


@pytest.mark.parametrize(("who", "status"), [(BOB, 200), (Phone("nobody", "x"), 401)])
def test_what_was_made_in_a_trusted_network_any_device_of_its_account_may_refresh(
    house: Outside, who: Phone, status: int
) -> None:
    house.way = flow()
    assert house.ask().status == 200
    house.way = STRANGER
    assert house.login(who, **in_dialog(house)).status == status


def test_but_none_of_another_account(house: Outside) -> None:
    house.way = flow()
    house.ask()
    house.way = STRANGER
    value = SELLER.authorization(house.challenge(uri="sip:101@shop.example.com", call_id="shop"))
    assert house.ask(authorization=value, **in_dialog(house)).status == 403


def test_whoever_authenticates_in_a_dialog_that_is_gone_is_told_so(house: Outside) -> None:
    assert house.login(to_tag="lost", uri=OUR_CONTACT).status == 481


# Who may watch whom


def rule(subscriber: str, resource: str, *, allow: bool) -> WatchRule:
    return WatchRule(re.compile(subscriber, re.IGNORECASE), re.compile(resource, re.IGNORECASE), allow)


RULES = (
    rule("bob-.*", "10[0-9]", allow=True),
    rule(".*", "101|vip", allow=False),
    rule("alice-desk", ".*", allow=True),
    rule("alice-desk", "110", allow=False),
)


@pytest.mark.parametrize(
    ("who", "extension", "status"),
    [
        (BOB, "101", 200),
        (BOB, "vip", 403),
        (BOB, "VIP", 403),
        (BOB, "%76ip", 403),
        (BOB, "vip2", 200),
        (ALICE, "101", 403),
        (ALICE, "110", 200),
    ],
)
def test_the_first_rule_that_matches_counts(who: Phone, extension: str, status: int) -> None:
    house = Outside((office(watch_rules=RULES), ACCOUNTS[1]))
    assert house.login(who, uri=f"sip:{extension}@{REALM}").status == status


def test_a_rule_holds_in_a_dialog_and_before_other_refusals() -> None:
    house = Outside((office(watch_rules=RULES), ACCOUNTS[1]))
    house.way = flow()
    assert house.ask(from_="<sip:bob-desk@office.example.com>").status == 200
    house.way = STRANGER
    assert house.login(ALICE, **in_dialog(house)).status == 403
    challenge = house.challenge(call_id="2")
    value = ALICE.authorization(challenge)
    (answer,) = house.receive(
        subscribe(call_id="2", cseq=2, headers={"Authorization": value, "Require": "100rel"}), way=STRANGER
    )
    assert isinstance(answer, Respond)
    assert answer.status == 403


@pytest.mark.parametrize(("name", "status"), [("bob-desk", 200), ("alice-desk", 403), ("carol", 403)])
def test_in_a_trusted_network_the_subscriber_is_who_from_says(name: str, status: int) -> None:
    house = Outside((office(watch_rules=RULES), ACCOUNTS[1]))
    house.way = flow()
    assert house.ask(from_=f"<sip:{name}@{REALM}>").status == status


def test_nobody_watches_what_another_account_owns(house: Outside) -> None:
    """Also not with credentials that are right where they belong."""
    value = SELLER.authorization(house.challenge(uri="sip:101@shop.example.com"))
    assert told(house.ask(cseq=2, uri=f"sip:101@{REALM}", authorization=value)) == (403, [])
    assert house.login(SELLER, cseq=3).status == 401
    assert house.login(SELLER, cseq=5, uri="sip:101@shop.example.com").status == 200


# What it costs


def test_who_has_authenticated_is_counted_as_himself() -> None:
    house = Outside()
    house.service.admission.configure(RateLimits(subscriber_rate=0.1, subscriber_burst=2), ())
    challenge = house.challenge()
    for n in (1, 2):
        assert house.ask(call_id=f"{n}", authorization=ALICE.authorization(challenge)).status == 200
    sent = house.receive(
        subscribe(call_id="3", headers={"Authorization": ALICE.authorization(challenge)}), way=house.way
    )
    assert sent == []
    assert house.service.refusals[SUBSCRIBER_RATE] == 1
    assert house.ask(call_id="4", authorization=BOB.authorization(challenge)).status == 200


def test_a_flow_is_known_good_once_its_credentials_were_right(house: Outside) -> None:
    admission = house.service.admission
    admission.charge(STRANGER.host, STRANGER.port + 1, NOW, tokens=2 * RateLimits().host_burst)
    house.login(Phone(password="wrong"))
    assert not admission.admits(STRANGER.host, STRANGER.port, NOW)
    house.login(ALICE, cseq=3)
    assert admission.admits(STRANGER.host, STRANGER.port, NOW), "what its neighbours do is no fault of this phone"
