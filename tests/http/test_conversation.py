"""Golden conversations: each file in conversations/ is one client of the websocket, in frames.

    [{"send": FRAME}, {"reply": FRAME}, {"do": [VERB, EXTENSION, ...]}, {"event": FRAME}, {"nothing": true}, ...]

A frame that is sent is JSON, or text that is none. `do` is what happens to a lamp: `set` a state, `mwi` (new, saved),
`dnd`, `reset`, or `publish` calls (id, state, call-id, …). `<hex>` stands for 32 hex digits. Every event is expected.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipresence.accounts import Account
from sipresence.events.resource import DialogInfo, DialogState, Source, StateChange, reset, set_manually
from sipresence.events.state import Messages, Presence, set_do_not_disturb, set_messages
from sipresence.http.conversation import MAX_STRIKES, Conversation, WebsocketLimits
from sipresence.names import AccountId, ResourceId
from sipresence.session_service import SessionService
from tests.http.test_golden import differences
from tests.test_service import ACCOUNTS, OFFICE, House

FOLDER = Path(__file__).parent / "conversations"
TOKEN, OTHER_TOKEN, API_KEY = "demo-token", "shop-token", "k" * 64
BRANCH = AccountId("b" * 32)


def accounts() -> tuple[Account, ...]:
    """The shop belongs to nobody, the branch to the office."""
    office, shop = ACCOUNTS
    branch = replace(shop, id=BRANCH, realm="branch.example.com", parent_id=OFFICE)
    return replace(office, tokens=(TOKEN,), api_key=API_KEY), replace(shop, tokens=(OTHER_TOKEN,)), branch


class Talk:
    """A conversation with a real service behind it."""

    def __init__(self, limits: WebsocketLimits | None = None) -> None:
        self.house = House(accounts=accounts())
        self.sessions = SessionService(
            self.house.service.directory,
            key=bytes(32),
            ident=lambda: "s" * 32,
            lifetime=3600,
            clock=self.house.clock,
        )
        self.woken = 0
        self.conversation = Conversation(
            self.house.service, self.sessions, limits or WebsocketLimits(), peer="192.0.2.1", woken=self._wake
        )
        self._bodies = 0

    def _wake(self) -> None:
        self.woken += 1

    def ask(self, action: str, *bindings: str, token: str | None = TOKEN, **data: Any) -> dict[str, Any]:
        """The data of the reply, or its errors."""
        frame: dict[str, Any] = {"action": action, "request_id": "1", "data": {"bindings": list(bindings), **data}}
        if token is not None:
            frame["auth_token"] = token
        reply = json.loads(self.conversation.answer(json.dumps(frame)))
        assert isinstance(reply["data"], dict)
        return reply["data"]

    def events(self) -> list[Any]:
        found = []
        while (event := self.conversation.next_event()) is not None:
            found.append(json.loads(event))
        return found

    def do(self, verb: str, extension: str, *rest: Any) -> None:
        """What the bus delivers of a command, or of a publication."""
        at = self.house.service.now()
        name = self.house.service.resource(OFFICE, extension)
        match verb:
            case "set":
                change = set_manually(OFFICE, name, state=DialogState(rest[0]), at=at)
            case "mwi":
                change = set_messages(OFFICE, name, Messages(*rest), at=at)
            case "dnd":
                change = set_do_not_disturb(OFFICE, name, on=rest[0], at=at)
            case "reset":
                change = reset(OFFICE, name, at=at)
            case "publish":
                change = self._published(name, tuple(_call(call) for call in rest))
            case "open":
                change = replace(self._published(name, ()), presence=Presence(open=rest[0]))
        self.house.service.on_state_change(change)

    def _published(self, name: ResourceId, calls: tuple[DialogInfo, ...]) -> StateChange:
        self._bodies += 1
        at = self.house.service.now() + self._bodies
        return StateChange(OFFICE, name, Source.PUBLISHED, calls, at, publication="p", publisher="pbx", entity_tag="e")


def _call(fields: dict[str, str]) -> DialogInfo:
    return DialogInfo(**{**fields, "state": DialogState(fields["state"])})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "steps", [pytest.param(json.loads(path.read_text()), id=path.stem) for path in sorted(FOLDER.glob("*.json"))]
)
def test_golden_conversation(steps: list[dict[str, Any]]) -> None:
    talk = Talk()
    reply, events = None, []
    for step in steps:
        ((kind, value),) = step.items()
        match kind:
            case "send":
                reply = json.loads(talk.conversation.answer(value if isinstance(value, str) else json.dumps(value)))
            case "reply":
                assert differences(value, reply) == []
            case "do":
                talk.do(*value)
                events += talk.events()
            case "event":
                assert events, value
                assert differences(value, events.pop(0), "event") == []
    assert events == [], json.dumps(events, indent=1)


def test_a_binding_hears_nothing_once_it_is_gone() -> None:
    talk = Talk()
    talk.ask("subscribe", "presence.extension.101", "presence.extension.102")
    talk.house.service.on_state_change(reset(OFFICE, ResourceId("101@office.example.com"), at=0.0))
    talk.ask("unsubscribe", "presence.extension.101")
    assert talk.events() == []  # also what waited
    assert talk.conversation.listening
    talk.ask("unsubscribe")
    assert not talk.conversation.listening
    assert not talk.house.service.feed.listened


def test_what_ends_leaves_nothing_behind() -> None:
    talk = Talk()
    talk.ask("subscribe", "presence.extension.*", "presence.dialog.a", "presence.update.b", "presence.mwi_updates.c")
    talk.conversation.end()
    assert not talk.house.service.feed.listened


def test_bindings_are_bounded_and_all_or_nothing() -> None:
    talk = Talk(WebsocketLimits(bindings=2))
    assert talk.ask("subscribe", "presence.dialog.a")["subscribed"] == ["dialog.a"]
    assert talk.ask("subscribe", "presence.dialog.b", "presence.dialog.c") == {
        "errors": ["too many bindings, 2 at most"]
    }
    assert talk.ask("subscribe", "presence.dialog.b", "presence.dialog.a") == {
        "subscribed": ["dialog.b"],
        "subscriptions": ["dialog.a", "dialog.b"],
    }
    talk.ask("unsubscribe", "presence.dialog.a")
    assert "errors" not in talk.ask("subscribe", "presence.dialog.c")


def test_a_full_queue_ends_it() -> None:
    talk = Talk(WebsocketLimits(queue=2))
    talk.ask("subscribe", "presence.update.*")
    for state in ("early", "confirmed"):
        talk.do("set", "101", state)
    assert (talk.woken, talk.conversation.overrun) == (1, False)
    talk.do("set", "101", "early")
    assert (talk.woken, talk.conversation.overrun) == (2, True)
    assert talk.conversation.next_event() is None


def test_what_a_token_opens_no_more_is_no_more_told() -> None:
    talk = Talk()
    assert talk.conversation.token_holds()  # there was none yet
    talk.ask("subscribe", "presence.extension.*")
    assert talk.conversation.token_holds()
    talk.house.service.directory.replace(ACCOUNTS)
    assert not talk.conversation.token_holds()
    assert talk.ask("ping", token=None) == {"errors": ["missing authenticatation token"]}


def test_a_token_may_come_with_the_upgrade() -> None:
    talk = Talk()
    assert not talk.conversation.show("wrong-token")
    assert talk.conversation.show(TOKEN)
    assert talk.ask("ping", token=None) == {"response": "pong"}
    assert talk.conversation.account == OFFICE


def test_who_listens_to_nothing_and_asks_for_nothing_is_idle() -> None:
    talk = Talk(WebsocketLimits(idle_timeout=60))
    talk.house.clock.advance(59)
    assert talk.ask("ping", token=None) == {"errors": ["missing authenticatation token"]}
    assert not talk.conversation.idle
    talk.house.clock.advance(1)
    assert talk.conversation.idle  # what was refused does not count
    talk.ask("ping")
    assert not talk.conversation.idle
    talk.ask("subscribe", "presence.update.*")
    talk.house.clock.advance(1000)
    assert not talk.conversation.idle


def test_guessing_tokens_is_hopeless() -> None:
    talk = Talk()
    for _ in range(MAX_STRIKES):
        assert not talk.conversation.hopeless
        assert talk.ask("ping", token="guess") == {"errors": ["failed to authenticate token guess"]}
    assert talk.conversation.hopeless


def test_frames_that_come_too_fast_are_refused() -> None:
    talk = Talk()
    replies = [talk.ask("ping") for _ in range(102)]
    assert replies[99] == {"response": "pong"}
    assert replies[101] == {"errors": ["rate limiting threshold hit for 192.0.2.1!"]}
    assert talk.conversation.throttled
    talk.house.clock.advance(0.11)
    assert talk.ask("ping") == {"response": "pong"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"subscribe"',
        "null",
        "[" * 50_000,
        '{"action": ' + "[" * 500 + "]" * 500 + "}",
        '{"action": NaN}',
    ],
)
def test_what_is_no_frame_is_answered(text: str) -> None:
    reply = json.loads(Talk().conversation.answer(text))
    assert (reply["action"], reply["status"]) == ("reply", "error")
    assert len(reply["request_id"]) == 32


@pytest.mark.parametrize("text", ["\ud800", "\ud800.\udfff", "presence.extension.\ud800", "presence.dialog.%ff%"])
def test_text_that_is_no_unicode_does_no_harm(text: str) -> None:
    talk = Talk()
    talk.ask("subscribe", text)
    talk.ask("unsubscribe", text)
    talk.ask("ping", token=text)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
BINDINGS = st.text() | st.from_regex(r"presence\.(dialog|update|mwi_updates|extension)\.\S*", fullmatch=True)
FRAMES = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from(["subscribe", "unsubscribe", "ping"]) | ANYTHING,
        "auth_token": st.just(TOKEN) | ANYTHING,
        "request_id": ANYTHING,
        "data": ANYTHING
        | st.fixed_dictionaries(
            {},
            optional={
                "account_id": st.just(OFFICE) | ANYTHING,
                "binding": BINDINGS | ANYTHING,
                "bindings": st.lists(BINDINGS) | ANYTHING,
            },
        ),
    },
)


@given(st.lists(ANYTHING | FRAMES, max_size=8))
def test_every_frame_is_answered(frames: list[Any]) -> None:
    talk = Talk()
    for frame in frames:
        reply = json.loads(talk.conversation.answer(json.dumps(frame)))
        assert (reply["action"], list(reply)) == ("reply", ["action", "request_id", "status", "data"])
    talk.do("set", "101", "early")
    assert all(event["action"] == "event" for event in talk.events())
    talk.conversation.end()
    assert not talk.house.service.feed.listened


def test_a_session_ends() -> None:
    talk = Talk()
    token, _ = talk.sessions.log_in_by_key(API_KEY, source="192.0.2.1")
    assert talk.ask("subscribe", "presence.extension.*", token=token)["subscribed"] == ["extension.*"]
    assert talk.conversation.token_holds()
    talk.house.clock.advance(3600)
    assert not talk.conversation.token_holds()
    assert talk.ask("ping", token=token) == {"errors": [f"failed to authenticate token {token}"]}


def test_a_descendant_is_heard_and_an_ancestor_is_not() -> None:
    talk = Talk()
    talk.ask("subscribe", "presence.extension.1", account_id=BRANCH)
    talk.house.service.on_state_change(reset(BRANCH, ResourceId("1@branch.example.com"), at=1.0))
    (told,) = talk.events()
    assert told["subscription_key"] == "extension.branch%2Eexample%2Ecom.1"
    office, shop, branch = accounts()
    talk.house.service.directory.replace((office, shop, replace(branch, tokens=("branch-token",))))
    assert talk.ask("subscribe", "presence.extension.1", token="branch-token", account_id=OFFICE) == {
        "errors": ["unauthorized account id"]
    }
    talk.house.service.directory.replace((office, shop, replace(branch, parent_id=None)))
    assert not talk.conversation.token_holds()
