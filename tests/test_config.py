"""The configuration: defaults, layers, and every error at once."""

import json
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest

from sipresence.config import loader
from sipresence.config.loader import default_path, load
from sipresence.config.model import Config, StoreConfig
from sipresence.config.values import split_host_port, split_listen_url
from sipresence.errors import ConfigError

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "office.toml"
ID = "0123456789abcdef0123456789abcdef"
ID_2 = "f" * 32
ACCOUNT = f"""
[[accounts]]
id = "{ID}"
realm = "office.example.com"
"""
USER = f"""
[[accounts.users]]
id = "{ID}"
"""
DEVICE = f"""
[[accounts.devices]]
id = "{ID}"
sip = {{ username = "phone", password = "s3cret-sip" }}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sipresence.toml"


def load_text(
    file: Path, text: str, *, overrides: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    file.write_text(text, encoding="utf-8")
    return load(file, overrides or {}, environ or {})


def findings(
    file: Path, text: str, *, overrides: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(file, text, overrides=overrides, environ=environ)
    return list(caught.value.findings)


def keys(lines: list[str]) -> set[str]:
    return {line.partition(": ")[0] for line in lines}


# --- what is right ----------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    config = load(None, {}, {})
    assert [listener.url for listener in config.sip.listen] == ["udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"]
    assert config.sip.advertise is None
    assert (config.sip.min_expires, config.sip.default_expires, config.sip.max_expires) == (60, 3600, 7200)
    assert config.sip.registrar
    assert config.sip.trusted_networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert config.sip.unknown_resources == "allow"
    assert config.sip.digest_algorithms == ("SHA-256", "MD5")
    assert (config.sip.t1_ms, config.sip.notify_failures, config.sip.restore_spread) == (500, 4, 3)
    assert config.sip.nameservers == ()
    assert config.http.listen == "127.0.0.1:8000"
    assert config.store.url == "sqlite:///var/lib/sipresence/presence.db"
    assert config.store.synchronous == "normal"
    assert (config.log.level, config.log.format) == ("info", "text")
    assert config.accounts == ()


def test_the_demo_office() -> None:
    config = load(EXAMPLE, {}, {})
    (account,) = config.accounts
    assert (account.id, account.realm, account.aliases) == (ID, "office.example.com", ("127.0.0.1",))
    assert [one.token.get_secret_value() for one in account.tokens] == ["demo-token"]
    assert [(user.username, user.presence_id) for user in account.users] == [("alice", "101"), ("bob", "102")]
    assert [(device.presence_id, device.sip.username) for device in account.devices] == [
        ("101", "alice-desk"),
        ("102", "bob-desk"),
        (None, "reception-desk"),
    ]
    (reception,) = account.lists
    assert reception.name == "reception"
    assert [member.resource for member in reception.members] == ["101", "102", "*3101", "*3102", "*3103", "*3104"]
    assert ip_network("192.168.0.0/16") in config.sip.trusted_networks
    assert [listener.url for listener in config.sip.listen] == ["udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"]
    assert config.http.listen == "127.0.0.1:8000"
    assert config.store.path == EXAMPLE.parent.parent.resolve() / "var" / "presence.db"


def test_the_demo_office_shows_the_defaults(file: Path) -> None:
    """Commented keys with a default say that default: uncommented, they change nothing."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    shown = ("digest_algorithms", "t1_ms", "notify_failures", "restore_spread", "nameservers")
    text = "\n".join(
        line.removeprefix("# ") if line.startswith(tuple(f"# {key} =" for key in shown)) else line for line in lines
    )
    assert sum(f"\n{key} =" in text for key in shown) == len(shown)
    assert load_text(file, text).sip == load(EXAMPLE, {}, {}).sip


def test_every_key_is_accepted(file: Path) -> None:
    config = load_text(
        file,
        f"""
        [sip]
        listen = ["udp://0.0.0.0", {{ url = "TCP://[::]:5080", advertise = "[2001:db8::1]:5080" }}]
        advertise = "blf.example.com:5060"
        min_expires = 1
        default_expires = 1
        max_expires = 2147483647
        trusted_networks = ["10.1.2.3/8"]
        unknown_resources = "reject"
        digest_algorithms = ["MD5"]
        t1_ms = 100
        notify_failures = 100
        restore_spread = 0.5
        nameservers = ["192.0.2.53", "2001:db8::53", "127.0.0.1:5353", "[::1]:5353"]
        tls_certificate = "cert.pem"
        tls_private_key = "key.pem"
        tls_hosts = [{{ name = "*.Example.NET", certificate = "net.pem", private_key = "/etc/net-key.pem" }}]
        tls_client_ca = "ca.pem"
        ws_origins = ["https://example.com"]
        [http]
        listen = "[::1]:8080"
        [store]
        url = "memory:"
        synchronous = "full"
        [log]
        level = "debug"
        format = "json"
        [[accounts]]
        id = "{ID.upper()}"
        name = "Büro"
        realm = "Office.Example.COM"
        aliases = ["PBX.example.com", "[2001:DB8::1]", "192.0.2.1"]
        api_key = "{"k" * 64}"
        tokens = ["12345678"]
        digest_algorithms = ["MD5", "SHA-256"]
        [[accounts.users]]
        id = "{ID}"
        username = "alice"
        password = "secret"
        presence_id = "101@office.example.com"
        [[accounts.devices]]
        id = "{ID_2}"
        name = "Alice's desk phone"
        owner_id = "{ID.upper()}"
        presence_id = "*101"
        sip = {{ username = "ab", password = "12345" }}
        [[accounts.devices]]
        id = "{ID}"
        sip = {{ username = "cd", ha1 = {{ "MD5" = "{"0A" * 16}" }} }}
        [[accounts.watch_rules]]
        subscriber = "ab|cd"
        resource = "1.*"
        action = "deny"
        [[accounts.lists]]
        name = "reception"
        members = [{{ resource = "101", label = "Alice" }}, {{ resource = "102" }}]
        """,
    )
    assert [listener.url for listener in config.sip.listen] == ["udp://0.0.0.0:5060", "tcp://[::]:5080"]
    assert [listener.advertise for listener in config.sip.listen] == [None, "[2001:db8::1]:5080"]
    assert config.sip.trusted_networks == (ip_network("10.0.0.0/8"),)
    assert config.sip.nameservers == ("192.0.2.53:53", "[2001:db8::53]:53", "127.0.0.1:5353", "[::1]:5353")
    folder = file.parent.resolve()
    assert (config.sip.tls_certificate, config.sip.tls_private_key) == (folder / "cert.pem", folder / "key.pem")
    (host,) = config.sip.tls_hosts
    assert (host.name, host.certificate) == ("*.example.net", folder / "net.pem")
    assert host.private_key == Path("/etc/net-key.pem")
    assert config.sip.tls_client_ca == folder / "ca.pem"
    assert (config.http.listen, config.store.path) == ("[::1]:8080", None)
    (account,) = config.accounts
    assert (account.id, account.realm) == (ID, "office.example.com")
    assert account.aliases == ("pbx.example.com", "2001:db8::1", "192.0.2.1")
    assert account.devices[0].owner_id == account.users[0].id
    assert account.devices[1].sip.ha1 is not None
    assert account.devices[1].sip.ha1["MD5"].get_secret_value() == "0A" * 16
    assert account.digest_algorithms == ("MD5", "SHA-256")
    (rule,) = account.watch_rules
    assert rule.subscriber.fullmatch("CD"), "in any case"
    assert (rule.resource.pattern, rule.action) == ("1.*", "deny")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///var/lib/x.db", "/var/lib/x.db"),
        ("sqlite:x.db", "{folder}/x.db"),
        ("sqlite:../var/x.db", "{parent}/var/x.db"),
        ("memory:", None),
    ],
)
def test_the_database_is_relative_to_the_file(file: Path, url: str, path: str | None) -> None:
    store = load_text(file, f'[store]\nurl = "{url}"').store
    expected = path and Path(path.format(folder=file.parent.resolve(), parent=file.parent.parent.resolve()))
    assert store.path == expected
    assert store.anchored(Path("/elsewhere")) == store


def test_without_a_file_the_database_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {"store.url": "sqlite:x.db"}, {}).store.path == tmp_path.resolve() / "x.db"
    assert StoreConfig(url="sqlite:x.db").path == Path("x.db")


# --- layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "environ", "expected"),
    [
        ({}, {}, 40),
        ({}, {"SIPRESENCE_SIP__MIN_EXPIRES": "50"}, 50),
        ({"sip.min_expires": "60"}, {"SIPRESENCE_SIP__MIN_EXPIRES": "50"}, 60),
        ({"sip.min_expires": "60"}, {"SIPRESENCE_SIP": '{"min_expires": 50}'}, 60),
        ({"sip": '{"min_expires": 60}'}, {"SIPRESENCE_SIP__MIN_EXPIRES": "50"}, 60),
        ({}, {"sipresence_sip__min_expires": "50"}, 50),
    ],
)
def test_precedence(file: Path, overrides: dict[str, str], environ: dict[str, str], expected: int) -> None:
    config = load_text(file, "[sip]\nmin_expires = 40\nt1_ms = 200", overrides=overrides, environ=environ)
    assert config.sip.min_expires == expected
    assert config.sip.t1_ms == 200  # a layer replaces keys, not sections


def test_lists_are_json_in_the_environment(file: Path) -> None:
    environ = {
        "SIPRESENCE_SIP__LISTEN": '["udp://127.0.0.1:5070", {"url": "tcp://127.0.0.1:5070", "advertise": "a.example"}]',
        "SIPRESENCE_SIP__TRUSTED_NETWORKS": "[]",
        "SIPRESENCE_ACCOUNTS": json.dumps([{"id": ID, "realm": "env.example.com"}]),
    }
    config = load_text(file, ACCOUNT, environ=environ, overrides={"sip.nameservers": '["192.0.2.53"]'})
    assert [listener.url for listener in config.sip.listen] == ["udp://127.0.0.1:5070", "tcp://127.0.0.1:5070"]
    assert config.sip.listen[1].advertise == "a.example"
    assert config.sip.trusted_networks == ()
    assert config.sip.nameservers == ("192.0.2.53:53",)
    assert [account.realm for account in config.accounts] == ["env.example.com"]


def test_variables_of_the_commands_and_of_others_are_ignored() -> None:
    environ = {
        "SIPRESENCE_URL": "http://127.0.0.1:8000",
        "SIPRESENCE_TOKEN": "demo-token",
        "SIPRESENCE_ACCOUNT": ID,
        "PATH": "/bin",
        "SIP__MIN_EXPIRES": "x",
    }
    assert load(None, {}, environ) == load(None, {}, {})


def test_the_environment_of_the_process_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIPRESENCE_SIP__MIN_EXPIRES", "77")
    assert load(None, {}, {}).sip.min_expires == 60
    assert Config().sip.min_expires == 60


def test_default_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / "etc" / "sipresence.toml"
    monkeypatch.setattr(loader, "SYSTEM_FILE", system)
    assert default_path(tmp_path) is None
    system.parent.mkdir()
    system.touch()
    assert default_path(tmp_path) == system
    own = tmp_path / "sipresence.toml"
    own.touch()
    assert default_path(tmp_path) == own


def test_the_system_file() -> None:
    assert Path("/etc/sipresence/sipresence.toml") == loader.SYSTEM_FILE


# --- what is wrong: one field -----------------------------------------------------------------------------------------

FIELD_ERRORS = [
    # [sip] listen
    ('[sip]\nlisten = ["tls://0.0.0.0:5061"]', "sip.listen.0: tls:// needs sip.tls_certificate"),
    ('[sip]\nlisten = [{ url = "WSS://[::]" }]', "sip.listen.0.url: wss:// needs sip.tls_certificate"),
    ('[sip]\nlisten = ["sctp://0.0.0.0"]', "sip.listen.0.url: 'sctp://0.0.0.0' is no listener such as"),
    ('[sip]\nlisten = ["0.0.0.0:5060"]', "sip.listen.0.url: '0.0.0.0:5060' is no listener such as"),
    ('[sip]\nlisten = ["udp://0.0.0.0:99999"]', "sip.listen.0.url: '0.0.0.0:99999' is no host or host:port"),
    ('[sip]\nlisten = ["udp://0.0.0.0:5060/"]', "sip.listen.0.url: '0.0.0.0:5060/' is no host or host:port"),
    ('[sip]\nlisten = ["udp://::1:5060"]', "sip.listen.0.url: '::1:5060' is no host or host:port"),
    ('[sip]\nlisten = ["udp://[zz]:5060"]', "sip.listen.0.url: '[zz]:5060' is no host or host:port"),
    ('[sip]\nlisten = ["udp://eth0:5060"]', "sip.listen.0.url: 'eth0' is no IP address of this machine"),
    ('[sip]\nlisten = [{ advertise = "a" }]', "sip.listen.0.url: is required"),
    ('[sip]\nlisten = [{ url = "udp://[::]", adverts = "a" }]', "sip.listen.0.adverts: unknown key"),
    ("[sip]\nlisten = [5060]", "sip.listen.0: must be a table"),
    ("[sip]\nlisten = []", "sip.listen: must not be empty"),
    ('[sip]\nlisten = "udp://0.0.0.0:5060"', "sip.listen: must be a list"),
    # [sip] the rest
    ('[sip]\nadvertise = "0.0.0.0:5060"', "sip.advertise: '0.0.0.0:5060' is nowhere a phone could send to"),
    ('[sip]\nadvertise = "[::]"', "sip.advertise: '[::]' is nowhere a phone could send to"),
    ('[sip]\nadvertise = "a.example:0"', "sip.advertise: 'a.example:0' is nowhere a phone could send to"),
    ('[sip]\nadvertise = "sip:a.example"', "sip.advertise: 'sip:a.example' is no host or host:port"),
    ('[sip]\nadvertise = ""', "sip.advertise: '' is no host or host:port"),
    ("[sip]\nmin_expires = 0", "sip.min_expires: "),
    ("[sip]\nmax_expires = 2147483648", "sip.max_expires: "),
    ('[sip]\ndefault_expires = "soon"', "sip.default_expires: "),
    ("[sip]\nt1_ms = 99", "sip.t1_ms: "),
    ("[sip]\nt1_ms = 4001", "sip.t1_ms: "),
    ("[sip]\nnotify_failures = 0", "sip.notify_failures: "),
    ("[sip]\nnotify_failures = 101", "sip.notify_failures: "),
    ("[sip]\nrestore_spread = -1", "sip.restore_spread: "),
    ("[sip]\nrestore_spread = 3601", "sip.restore_spread: "),
    ("[sip]\nrestore_spread = nan", "sip.restore_spread: "),
    ('[sip]\ntrusted_networks = ["::1", "10.0.0.0/33"]', "sip.trusted_networks.1: '10.0.0.0/33' is no network"),
    ("[sip]\ntrusted_networks = [10]", "sip.trusted_networks.0: '10' is no network"),
    ('[sip]\nunknown_resources = "deny"', "sip.unknown_resources: Input should be 'allow' or 'reject'"),
    ('[sip]\ndigest_algorithms = ["SHA-1"]', "sip.digest_algorithms.0: Input should be 'SHA-256' or 'MD5'"),
    ("[sip]\ndigest_algorithms = []", "sip.digest_algorithms: must not be empty"),
    ('[sip]\nnameservers = ["ns.example"]', "sip.nameservers.0: 'ns.example' is no IP address or address:port"),
    ('[sip]\nnameservers = ["192.0.2.53:0"]', "sip.nameservers.0: '192.0.2.53:0' is no IP address or address:port"),
    ('[sip]\ntls_certificate = "cert.pem"', "sip.tls_certificate: needs tls_private_key, and the other way round"),
    ('[sip]\ntls_private_key = "key.pem"', "sip.tls_certificate: needs tls_private_key, and the other way round"),
    ('[sip]\ntls_hosts = [{ name = "a.example", certificate = "c" }]', "sip.tls_hosts.0.private_key: is required"),
    (
        '[sip]\ntls_hosts = [{ name = "https://a", certificate = "c", private_key = "k" }]',
        "sip.tls_hosts.0.name: 'https://a' is no host name",
    ),
    ("[limits]\nsource_rate = 0", "limits.source_rate: "),
    ("[limits]\nhost_burst = 0", "limits.host_burst: "),
    ("[limits]\nsubscriptions_per_subscriber = 0", "limits.subscriptions_per_subscriber: "),
    ("[limits]\nmax_connections = 0", "limits.max_connections: "),
    ("[limits]\nmessage_deadline = 0", "limits.message_deadline: "),
    ("[limits]\nidle_timeout = nan", "limits.idle_timeout: "),
    # unknown keys
    ("[sip]\nmin_expire = 60", "sip.min_expire: unknown key"),
    ("[http]\nkazoo_exakt = true", "http.kazoo_exakt: unknown key"),
    ("[http]\naccepted_status = 204", "http.accepted_status: Input should be 200 or 202"),
    ('[http]\nlist_format = "xml"', "http.list_format: Input should be 'records', 'counts' or 'detail'"),
    ("[tls]\n", "tls: unknown key"),
    ("sip = 1", "sip: must be a table"),
    # the other sections
    ("[http]\nport = 8000", "http.port: unknown key"),
    ('[http]\nlisten = "8000"', "http.listen: '8000' is no host or host:port"),
    ('[http]\nwebsocket_listen = "5555"', "http.websocket_listen: '5555' is no host or host:port"),
    ("[http]\nwebsocket_queue = 0", "http.websocket_queue: "),
    ('[http]\nlisten = ":8000"', "http.listen: ':8000' is no host or host:port"),
    ('[http]\nlisten = "127.0.0.1:65536"', "http.listen: '127.0.0.1:65536' is no host or host:port"),
    ('[http]\nlisten = "http://127.0.0.1"', "http.listen: 'http://127.0.0.1' is no host or host:port"),
    ('[store]\nurl = "redis://h/0"', "store.url: redis:// is not in this version; sqlite: and memory: are"),
    ('[store]\nurl = "postgres://h"', "store.url: must be sqlite:///absolute/path, sqlite:relative/path or memory:"),
    ('[store]\nurl = "sqlite://x.db"', "store.url: must be sqlite:///absolute/path"),
    ('[store]\nurl = "sqlite:"', "store.url: must be sqlite:///absolute/path"),
    ('[store]\nurl = "presence.db"', "store.url: must be sqlite:///absolute/path"),
    ('[store]\nurl = "sqlite::memory:"', "store.url: a store that keeps nothing is memory:"),
    ('[store]\nsynchronous = "off"', "store.synchronous: Input should be 'normal' or 'full'"),
    ('[log]\nlevel = "loud"', "log.level: "),
    ('[log]\nformat = "xml"', "log.format: Input should be 'text' or 'json'"),
    # accounts
    ('[accounts]\nid = "x"', "accounts: must be a list"),
    ('[[accounts]]\nrealm = "a.example"', "accounts.0.id: is required"),
    (f'[[accounts]]\nid = "{ID}"', "accounts.0.realm: is required"),
    ('[[accounts]]\nrealm = "a.example"\nid = "0123"', "accounts.0.id: must be 32 hex digits"),
    (f'[[accounts]]\nrealm = "a.example"\nid = "{"g" * 32}"', "accounts.0.id: must be 32 hex digits"),
    (f'[[accounts]]\nid = "{ID}"\nrealm = "abc"', "accounts.0.realm: must be a domain: 4 to 253"),
    (f'[[accounts]]\nid = "{ID}"\nrealm = "{"a" * 254}"', "accounts.0.realm: must be a domain: 4 to 253"),
    (f'[[accounts]]\nid = "{ID}"\nrealm = "a.example:5060"', "accounts.0.realm: must be a domain: 4 to 253"),
    (f'{ACCOUNT}aliases = ["a.example:5060"]', "accounts.0.aliases.0: 'a.example:5060' is no host name"),
    (f'{ACCOUNT}aliases = [""]', "accounts.0.aliases.0: '' is no host name"),
    (f'{ACCOUNT}api_key = "short"', "accounts.0.api_key: must have 64 characters"),
    (f'{ACCOUNT}tokens = [""]', "accounts.0.tokens.0.token: must have 8 to 1024 characters"),
    (f'{ACCOUNT}tokens = ["1234567"]', "accounts.0.tokens.0.token: must have 8 to 1024 characters"),
    (f'{ACCOUNT}name = "a\\u0007b"', "accounts.0.name: must not contain control characters"),
    (f'{ACCOUNT}{USER}username = ""', "accounts.0.users.0.username: must have 1 to 64 characters"),
    (f'{ACCOUNT}{USER}presence_id = "1\\n2"', "accounts.0.users.0.presence_id: must not contain control characters"),
    (f'{ACCOUNT}{USER}presence_id = ""', "accounts.0.users.0.presence_id: must name an extension"),
    (f'{ACCOUNT}{USER}presence_id = "@a.example"', "accounts.0.users.0.presence_id: must name an extension"),
    (f"{ACCOUNT}{USER}presence_id = 101", "accounts.0.users.0.presence_id: must be text in quotes"),
    (f'{ACCOUNT}[[accounts.devices]]\nid = "{ID}"', "accounts.0.devices.0.sip: is required"),
    (f'{ACCOUNT}{DEVICE}owner_id = "alice"', "accounts.0.devices.0.owner_id: must be 32 hex digits"),
    (f'{ACCOUNT}{DEVICE}presence_id = "\\u007f"', "accounts.0.devices.0.presence_id: must not contain control"),
    (f"{ACCOUNT}[[accounts.lists]]\nmembers = []", "accounts.0.lists.0.name: is required"),
    (
        f'{ACCOUNT}[[accounts.lists]]\nname = "r"\nmembers = [{{ label = "x" }}]',
        "accounts.0.lists.0.members.0.resource: is required",
    ),
]


@pytest.mark.parametrize(("text", "expected"), FIELD_ERRORS, ids=[expected for _, expected in FIELD_ERRORS])
def test_a_wrong_field_is_named(file: Path, text: str, expected: str) -> None:
    assert [line for line in findings(file, text) if line.startswith(expected)], findings(file, text)


@pytest.mark.parametrize(
    ("username", "password", "wrong"),
    [
        ("a", "12345", "username: must have 2 to 32 characters"),
        ("a" * 33, "12345", "username: must have 2 to 32 characters"),
        ("ab", "1234", "password: must have 5 to 32 characters"),
        ("ab", "1" * 33, "password: must have 5 to 32 characters"),
    ],
)
def test_sip_credentials_have_lengths(file: Path, username: str, password: str, wrong: str) -> None:
    text = f'{ACCOUNT}[[accounts.devices]]\nid = "{ID}"\nsip = {{ username = "{username}", password = "{password}" }}'
    assert findings(file, text) == [f"accounts.0.devices.0.sip.{wrong}"]


HA1 = {"MD5": "0A" * 16, "SHA-256": "0a" * 32}


def ha1_of(algorithm: str, digits: str) -> str:
    return f'ha1 = {{ "{algorithm}" = "{digits}" }}'


def device_with(sip: str, account: str = "") -> str:
    return f'{ACCOUNT}{account}\n[[accounts.devices]]\nid = "{ID}"\nsip = {{ username = "phone", {sip} }}'


@pytest.mark.parametrize(
    ("sip", "wrong"),
    [
        ("", ": needs either password or ha1"),
        ('password = "12345", ' + ha1_of("MD5", HA1["MD5"]), ": needs either password or ha1"),
        ("ha1 = {}", ".ha1: "),
        ('ha1 = { "SHA-512" = "ab" }', ".ha1.SHA-512."),
        (ha1_of("MD5", HA1["SHA-256"]), ".ha1: MD5 must have 32 hex digits"),
        (ha1_of("SHA-256", HA1["MD5"]), ".ha1: SHA-256 must have 64 hex digits"),
        (ha1_of("MD5", "x" * 32), ".ha1: MD5 must have 32 hex digits"),
        ('ha1 = "text"', ".ha1: "),
    ],
)
def test_a_device_has_a_password_or_ha1(file: Path, sip: str, wrong: str) -> None:
    lines = findings(file, device_with(sip).replace(",  }", " }"))
    assert [line for line in lines if line.startswith(f"accounts.0.devices.0.sip{wrong}")], lines


@pytest.mark.parametrize(
    ("of_account", "of_all", "right"),
    [
        ("", "", True),
        ("", 'digest_algorithms = ["SHA-256"]', False),
        ('digest_algorithms = ["MD5"]', 'digest_algorithms = ["SHA-256"]', True),
        ('digest_algorithms = ["SHA-256"]', "", False),
    ],
)
def test_an_ha1_must_be_of_use(file: Path, of_account: str, of_all: str, *, right: bool) -> None:
    text = f"[sip]\n{of_all}\n" + device_with(ha1_of("MD5", HA1["MD5"]), of_account)
    expected = "accounts.0.devices.0.sip.ha1: has none of the account's digest_algorithms"
    assert findings_if_any(file, text) == (() if right else (expected,))


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ('subscriber = "[", resource = "1", action = "deny"', ".subscriber: is no regular expression: "),
        ('subscriber = 1, resource = "1", action = "deny"', ".subscriber: must be a regular expression in quotes"),
        ('subscriber = "1", action = "deny"', ".resource: is required"),
        ('subscriber = "1", resource = "1", action = "forbid"', ".action: "),
        ('subscriber = "1", resource = "1"', ".action: is required"),
    ],
)
def test_wrong_watch_rules(file: Path, rule: str, wrong: str) -> None:
    (line,) = findings(file, f"{ACCOUNT}watch_rules = [{{ {rule} }}]")
    assert line.startswith(f"accounts.0.watch_rules.0{wrong}")


def test_no_algorithm_is_offered_twice(file: Path) -> None:
    """RFC 8760 section 2.3: of one realm, each challenge has another algorithm."""
    text = f'[sip]\ndigest_algorithms = ["MD5", "MD5"]\n{ACCOUNT}digest_algorithms = ["SHA-256", "MD5", "SHA-256"]'
    assert findings(file, text) == [
        "sip.digest_algorithms.1: the same as sip.digest_algorithms.0",
        "accounts.0.digest_algorithms.2: the same as accounts.0.digest_algorithms.0",
    ]


# --- what is wrong: one against another -------------------------------------------------------------------------------

TWO_ACCOUNTS = f"""
[[accounts]]
id = "{ID}"
realm = "one.example.com"
aliases = ["alias.example.com"]
tokens = ["token-one"]
api_key = "{"k" * 64}"
[[accounts]]
id = "{{id}}"
realm = "{{realm}}"
aliases = ["{{alias}}"]
tokens = ["{{token}}"]
api_key = "{{api_key}}"
"""


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"id": ID.upper()}, "accounts.1.id: the same as accounts.0.id"),
        ({"realm": "One.example.com"}, "accounts.1.realm: the same as accounts.0.realm"),
        ({"realm": "alias.example.com"}, "accounts.1.realm: the same as accounts.0.aliases.0"),
        ({"alias": "one.example.com"}, "accounts.1.aliases.0: the same as accounts.0.realm"),
        ({"alias": "ALIAS.example.com"}, "accounts.1.aliases.0: the same as accounts.0.aliases.0"),
        ({"token": "token-one"}, "accounts.1.tokens.0: the same as accounts.0.tokens.0"),
        ({"api_key": "k" * 64}, "accounts.1.api_key: the same as accounts.0.api_key"),
    ],
)
def test_accounts_must_differ(file: Path, changed: dict[str, str], expected: str) -> None:
    fields = {"id": ID_2, "realm": "two.example.com", "alias": "[::1]", "token": "Token-One", "api_key": "K" * 64}
    load_text(file, TWO_ACCOUNTS.format(**fields))
    assert findings(file, TWO_ACCOUNTS.format(**(fields | changed))) == [expected]


def test_tokens_may_have_roles(file: Path) -> None:
    text = f'{ACCOUNT}tokens = ["token-one", {{ token = "token-two", role = "read" }}]'
    (account,) = load_text(file, text).accounts
    assert [one.role for one in account.tokens] == ["admin", "read"]
    assert findings(file, text.replace("token-two", "token-one")) == [
        "accounts.0.tokens.1.token: the same as accounts.0.tokens.0"
    ]
    assert keys(findings(file, text.replace('"read"', '"root"'))) == {"accounts.0.tokens.1.role"}


def test_the_tree_of_accounts_has_no_loops_and_no_orphans(file: Path) -> None:
    ids = [digit * 32 for digit in "1234"]

    def tree(*parents: str) -> str:
        text = ""
        for ident, parent in zip(ids, parents, strict=True):
            text += f'[[accounts]]\nid = "{ident}"\nrealm = "{ident[0]}.example.com"\n'
            text += f'parent_id = "{parent}"\n' if parent else ""
        return text

    load_text(file, tree("", ids[0], ids[1], ids[1]))
    assert findings(file, tree("", "f" * 32, "", "")) == ["accounts.1.parent_id: names no account"]
    below_itself = "the account would be below itself"
    assert findings(file, tree(ids[0], "", "", "")) == [f"accounts.0.parent_id: {below_itself}"]
    assert findings(file, tree(ids[2], ids[0], ids[1], ids[2])) == [
        f"accounts.{number}.parent_id: {below_itself}" for number in range(3)
    ]


def test_an_ipv6_alias_is_one_with_and_without_brackets(file: Path) -> None:
    text = f'{ACCOUNT}aliases = ["::1", "[::1]"]'
    assert findings(file, text) == ["accounts.0.aliases.1: the same as accounts.0.aliases.0"]


DEVICE_2 = DEVICE.replace(ID, ID_2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (USER + USER, "accounts.0.users.1.id: the same as accounts.0.users.0.id"),
        (DEVICE + DEVICE.replace("phone", "other"), "accounts.0.devices.1.id: the same as accounts.0.devices.0.id"),
        (
            DEVICE + DEVICE_2.replace("phone", "Phone"),
            "accounts.0.devices.1.sip.username: the same as accounts.0.devices.0.sip.username",
        ),
        (f'{DEVICE}owner_id = "{ID}"', "accounts.0.devices.0.owner_id: names no user of this account"),
        (f'{USER}{DEVICE}owner_id = "{ID_2}"', "accounts.0.devices.0.owner_id: names no user of this account"),
        (
            '[[accounts.lists]]\nname = "a"\n[[accounts.lists]]\nname = "A"',
            "accounts.0.lists.1.name: the same as accounts.0.lists.0.name",
        ),
    ],
)
def test_within_an_account(file: Path, text: str, expected: str) -> None:
    assert findings(file, ACCOUNT + text) == [expected]


def test_accounts_do_not_share_users_or_names(file: Path) -> None:
    second = ACCOUNT.replace(ID, ID_2).replace("office", "second")
    assert len(load_text(file, ACCOUNT + USER + DEVICE + second + USER + DEVICE).accounts) == 2
    stolen = f'{ACCOUNT}{USER}{second}{DEVICE}owner_id = "{ID}"'
    assert findings(file, stolen) == ["accounts.1.devices.0.owner_id: names no user of this account"]


@pytest.mark.parametrize(
    ("low", "default", "high", "right"),
    [(60, 60, 60, True), (1, 2, 3, True), (61, 60, 7200, False), (60, 7201, 7200, False), (9, 5, 1, False)],
)
def test_expires_are_in_order(file: Path, low: int, default: int, high: int, *, right: bool) -> None:
    text = f"[sip]\nmin_expires = {low}\ndefault_expires = {default}\nmax_expires = {high}"
    if right:
        load_text(file, text)
    else:
        expected = f"sip.default_expires: {default} is not between min_expires {low} and max_expires {high}"
        assert findings(file, text) == [expected]


def test_those_of_registrations_as_well(file: Path) -> None:
    text = "[sip]\nregister_min_expires = 120\nregister_default_expires = 100"
    end = "100 is not between register_min_expires 120 and register_max_expires 7200"
    assert findings(file, text) == [f"sip.register_default_expires: {end}"]


def test_expires_are_compared_with_defaults_and_across_layers(file: Path) -> None:
    expected = ["sip.default_expires: 3600 is not between min_expires 5000 and max_expires 7200"]
    assert findings(file, "[sip]\nmin_expires = 5000") == expected
    assert findings(file, "", environ={"SIPRESENCE_SIP__MIN_EXPIRES": "5000"}) == expected


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ('"udp://0.0.0.0:5060", "UDP://0.0.0.0:5060"', ["sip.listen.1: the same as sip.listen.0"]),
        ('"udp://0.0.0.0", "udp://0.0.0.0:5060"', ["sip.listen.1: the same as sip.listen.0"]),
        ('"udp://[::]:5060", { url = "udp://[::]" }', ["sip.listen.1.url: the same as sip.listen.0"]),
    ],
)
def test_listeners_must_differ(file: Path, listen: str, expected: list[str]) -> None:
    assert findings(file, f"[sip]\nlisten = [{listen}]") == expected


@pytest.mark.parametrize(
    "listen",
    [
        '"udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"',
        '"udp://0.0.0.0:5060", "udp://[::]:5060"',
        pytest.param('"udp://127.0.0.1:0", "udp://127.0.0.1:0"', id="the kernel chooses two ports"),
    ],
)
def test_listeners_that_differ(file: Path, listen: str) -> None:
    assert len(load_text(file, f"[sip]\nlisten = [{listen}]").sip.listen) == 2


# --- all at once, and no secrets --------------------------------------------------------------------------------------


def test_all_errors_are_reported_at_once(file: Path) -> None:
    text = f"""
    surprise = 1
    [sip]
    listen = ["sctp://0.0.0.0", "udp://0.0.0.0:5060", "udp://0.0.0.0:5060"]
    min_expires = 9000
    trusted_networks = ["everywhere"]
    [store]
    url = "redis://h"
    [[accounts]]
    id = "{ID}"
    realm = "one.example.com"
    tokens = ["short", "token-one"]
    [[accounts.devices]]
    id = "{ID}"
    owner_id = "{ID_2}"
    sip = {{ username = "phone", password = "no" }}
    [[accounts]]
    id = "{ID}"
    realm = "one.example.com"
    tokens = ["token-one"]
    """
    assert keys(findings(file, text, environ={"SIPRESENCE_LOG__LEVEL": "x"}, overrides={"http.listen": "?"})) == {
        "surprise",
        "sip.listen.0.url",
        "sip.listen.2",
        "sip.default_expires",
        "sip.trusted_networks.0",
        "http.listen",
        "store.url",
        "log.level",
        "accounts.0.tokens.0.token",
        "accounts.0.devices.0.owner_id",
        "accounts.0.devices.0.sip.password",
        "accounts.1.id",
        "accounts.1.realm",
        "accounts.1.tokens.0",
    }


@pytest.mark.parametrize(
    ("overrides", "environ", "expected"),
    [
        ({"spi.min_expires": "60"}, {}, "spi: unknown key"),
        ({"sip.min_expire": "60"}, {}, "sip.min_expire: unknown key"),
        ({"min_expires": "60"}, {}, "min_expires: unknown key"),
        ({"sip": "60"}, {}, "sip: must be a table"),
        ({"sip.listen": "udp://0.0.0.0:5060"}, {}, "sip.listen: must be a list"),
        ({}, {"SIPRESENCE_SPI__MIN_EXPIRES": "60"}, "spi: unknown key"),
        ({}, {"SIPRESENCE_SIP__MIN_EXPIRE": "60"}, "sip.min_expire: unknown key"),
        ({}, {"SIPRESENCE_SIP__MIN_EXPIRES": "soon"}, "sip.min_expires: "),
        ({}, {"SIPRESENCE_SIP__LISTEN": '["udp://0.0.0.0"'}, "sip.listen: must be a list"),
        ({}, {"SIPRESENCE_ACCOUNTS": "none"}, "accounts: must be a list"),
        ({}, {"SIPRESENCE_ACCOUNTS": '[{"realm": "a.example", "id": 5}]'}, "accounts.0.id: must be text in quotes"),
        ({}, {"SIPRESENCE_ACCOUNTS": '[{"name": "\\ud800"}]'}, "accounts.0.name: "),
    ],
)
def test_wrong_variables(overrides: dict[str, str], environ: dict[str, str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, overrides, environ)
    assert [line for line in caught.value.findings if line.startswith(expected)], caught.value.findings


def findings_if_any(file: Path, text: str) -> tuple[str, ...]:
    try:
        load_text(file, text)
    except ConfigError as error:
        return error.findings
    return ()


WRONG_TYPES = ["1", "true", '"text"', "[]", "[1]", '["x"]', "[[1]]", "{}", "{ a = 1 }", "[{}]", "1979-05-27", "inf"]


@pytest.mark.parametrize("value", WRONG_TYPES)
@pytest.mark.parametrize(
    "key",
    [
        "sip",
        "sip.listen",
        "sip.min_expires",
        "sip.trusted_networks",
        "store.url",
        "http",
        "accounts",
    ],
)
def test_values_of_any_type_raise_nothing_else(file: Path, key: str, value: str) -> None:
    assert all(line.startswith(key) for line in findings_if_any(file, f"{key} = {value}"))


@pytest.mark.parametrize("value", WRONG_TYPES)
@pytest.mark.parametrize(
    "key", ["id", "realm", "aliases", "tokens", "api_key", "users", "devices", "lists", "digest_algorithms"]
)
def test_values_of_any_type_in_an_account(file: Path, key: str, value: str) -> None:
    lines = findings_if_any(file, f"[[accounts]]\n{key} = {value}\n[[accounts]]\n{key} = {value}")
    assert all(line.startswith("accounts.") for line in lines)


def test_no_secret_is_shown(file: Path) -> None:
    text = f"""
    [[accounts]]
    id = "{ID}"
    realm = "one.example.com"
    api_key = "{"HIDDEN" * 3}"
    tokens = ["HIDDEN", "HIDDEN-TOKEN", "HIDDEN-TOKEN"]
    users = [{{ id = "{ID}", password = ["HIDDEN"] }}]
    devices = [
        {{ id = "{ID}", sip = {{ username = "phone", password = "{"HIDDEN" * 9}" }} }},
        {{ id = "{ID_2}", sip = {{ username = "other", ha1 = {{ "MD5" = "HIDDEN" }} }} }},
    ]
    """
    with pytest.raises(ConfigError) as caught:
        load_text(file, text)
    assert keys(list(caught.value.findings)) == {
        "accounts.0.api_key",
        "accounts.0.tokens.0.token",
        "accounts.0.tokens.2",
        "accounts.0.users.0.password",
        "accounts.0.devices.0.sip.password",
        "accounts.0.devices.1.sip.ha1",
    }
    assert "HIDDEN" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_no_repr_shows_a_secret(file: Path) -> None:
    api_key = "HIDDEN" * 10 + "four"
    text = f'{ACCOUNT}tokens = ["HIDDEN-TOKEN"]\napi_key = "{api_key}"{USER}password = "HIDDEN"{DEVICE}'
    config = load_text(file, text)
    assert "HIDDEN" not in repr(config)
    assert "s3cret-sip" not in repr(config)
    password = config.accounts[0].devices[0].sip.password
    assert password is not None
    assert password.get_secret_value() == "s3cret-sip"
    assert HA1["MD5"] not in repr(load_text(file, device_with(ha1_of("MD5", HA1["MD5"]))))


# --- the file itself --------------------------------------------------------------------------------------------------


def test_a_syntax_error_is_one_finding_with_its_line(file: Path) -> None:
    (line,) = findings(file, "[sip]\nmin_expires = 60\nmax_expires 7200\n")
    assert line.startswith(f"{file}: ")
    assert "line 3" in line


def test_a_missing_file_is_one_finding(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, {}, {})
    assert caught.value.findings == (f"{file}: No such file or directory",)


def test_a_folder_is_one_finding(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {}, {})
    assert caught.value.findings == (f"{tmp_path}: Is a directory",)


def test_a_file_that_is_no_text_is_one_finding(file: Path) -> None:
    file.write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError) as caught:
        load(file, {}, {})
    assert caught.value.findings == (f"{file}: is not UTF-8 text",)


def test_a_byte_order_mark_is_tolerated(file: Path) -> None:
    assert load_text(file, "\ufeff[sip]\nt1_ms = 200").sip.t1_ms == 200


# --- the address helpers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("BLF.example.com", ("blf.example.com", None)),
        ("[::1]:5060", ("::1", 5060)),
        ("[::1]", ("::1", None)),
        ("localhost:0", ("localhost", 0)),
        ("3com.example:5060", ("3com.example", 5060)),
    ],
)
def test_split_host_port(text: str, expected: tuple[str, int | None]) -> None:
    assert split_host_port(text) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("udp://0.0.0.0:5060", ("udp", "0.0.0.0", 5060)),
        ("TCP://[::]", ("tcp", "::", 5060)),
        ("udp://127.0.0.1:0", ("udp", "127.0.0.1", 0)),
    ],
)
def test_split_listen_url(url: str, expected: tuple[str, str, int]) -> None:
    assert split_listen_url(url) == expected
