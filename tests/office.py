"""An office whose directory can be changed, with its store, in virtual time: the services that tests of the directory
and of log-ins ask, and that stand behind the HTTP dialects.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from sipresence.accounts import Account, Device, ListMember, ResourceList, Role, User
from sipresence.backends.memory import LocalBus, MemoryStore
from sipresence.directory import Directory
from sipresence.directory_service import DirectoryService
from sipresence.errors import StoreError
from sipresence.events.effects import Notify, Write
from sipresence.names import AccountId
from sipresence.objects import Kind, ObjectRecord
from sipresence.outbox import Outbox
from sipresence.ports import SubscriptionStore
from sipresence.session_service import SessionService
from tests.fakes import NOW, ManualClock, RecordingEndpoint

OFFICE = AccountId("0123456789abcdef0123456789abcdef")
BRANCH = AccountId("aaaabbbbccccddddaaaabbbbccccdddd")  # below the office
OTHER = AccountId("fedcba9876543210fedcba9876543210")
REALM = "office.example.com"
ALICE, BOB = "a" * 32, "b" * 32
DESK, SOFT = "d" * 32, "e" * 32
API_KEY = "k" * 64

CELLAR, CAROL = "c" * 32, "0ca401" + "0" * 26  # what the API was told of

LIFETIME = 3600.0  # s

TOLD = (
    ObjectRecord(
        OFFICE,
        Kind.DEVICE,
        CELLAR,
        '{"name": "Cellar", "presence_id": "201", "enabled": true, "flags": ["x"], "sip": {"username": "cellar", '
        '"password": "cellar-secret", "realm": "ignored.example.com"}}',
        NOW,
    ),
    ObjectRecord(
        OFFICE,
        Kind.USER,
        CAROL,
        '{"first_name": "Carol", "last_name": "Doe", "email": "carol@example.com", "enabled": true, '
        '"priv_level": "user"}',
        NOW,
    ),
)


def office_account(**fields: Any) -> Account:
    """The office: Alice, who may do everything, and Bob, who may look; Alice's two phones; a list."""
    plain = Account(
        id=OFFICE,
        name="Demo office",
        realm=REALM,
        aliases=("127.0.0.1",),
        api_key=API_KEY,
        tokens=("demo-token",),
        read_tokens=("read-token",),
        users=(
            User(ALICE, "alice", "wonderland", None, role=Role.ADMIN, first_name="Alice", last_name="Liddell"),
            User(BOB, "Bob", "builder", "102"),
        ),
        devices=(
            Device(SOFT, "Soft phone", ALICE, "101", "alice-soft", "soft-secret"),
            Device(DESK, "Desk phone", ALICE, None, "alice-desk", "desk-secret"),
        ),
        lists=(ResourceList("reception", (ListMember("*3101", "Park 1"),)),),
    )
    return Account(**{name: fields.get(name, getattr(plain, name)) for name in Account.__dataclass_fields__})


def accounts() -> tuple[Account, ...]:
    """The office, a branch below it, and somebody else."""
    none: dict[str, Any] = {"aliases": (), "users": (), "devices": (), "lists": ()}
    branch = Account(
        BRANCH, "Branch", "branch.example.com", api_key=None, tokens=("branch-token",), parent_id=OFFICE, **none
    )
    other = Account(OTHER, "Other", "other.example.com", api_key="o" * 64, tokens=("other-token",), **none)
    return office_account(), branch, other


class Office:
    """The services, with a store that commits at once unless it is given another."""

    def __init__(
        self,
        *,
        store: SubscriptionStore | None = None,
        clock: ManualClock | None = None,
        directory: Directory | None = None,
        objects: Sequence[ObjectRecord] = (),
    ) -> None:
        self.clock = clock or ManualClock()
        self.store = store or MemoryStore()
        self.directory = directory or Directory(accounts())
        idents, secrets = itertools.count(1), itertools.count(1)
        self.service = DirectoryService(
            self.directory,
            clock=self.clock,
            ident=lambda: f"{next(idents):032x}",
            secret=lambda: f"secret-{next(secrets)}",
        )
        tokens = itertools.count(1)
        self.sessions = SessionService(
            self.directory, key=bytes(32), ident=lambda: f"{next(tokens):032x}", lifetime=LIFETIME, clock=self.clock
        )
        self.outbox = Outbox(
            store=self.store,
            bus=LocalBus(lambda change: None),
            endpoint=RecordingEndpoint(),
            clock=self.clock,
            not_saved=_not_saved,
            corrected=_itself,
        )
        for service in (self.service, self.sessions):
            service.attach(self.outbox)
            service.restore(objects)

    def fail_with(self, error: StoreError) -> None:
        """Keep nothing from now on."""
        assert isinstance(self.store, MemoryStore)
        self.store.fail_with = error


def _not_saved(write: Write) -> bool:
    raise AssertionError(f"nobody has acted on {write} before it was committed")


def _itself(notify: Notify) -> Notify:
    return notify
