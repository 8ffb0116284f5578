"""What fields of the configuration must be to each other.

This looks at the text as read, where nothing need have the right type yet, so that a wrong field hides no duplicate:
what is of the wrong type is passed over here, since it has a finding already.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import TypeAlias

from sipresence.config.model import SipConfig
from sipresence.config.values import bare_host, join_host_port, split_listen_url

_Table: TypeAlias = tuple[str, dict[str, object]]
"""A table and the path of its key."""


def contradictions(raw: dict[str, object]) -> Iterator[str]:
    """Yield a finding, `key.path: message`, for each."""
    accounts = _tables([("", raw)], "accounts")
    of_all: object = SipConfig.model_fields["digest_algorithms"].default
    for sip in _tables([("", raw)], "sip"):
        of_all = sip[1].get("digest_algorithms", of_all)
        yield from _expires_out_of_order(sip, "")
        yield from _expires_out_of_order(sip, "register_")
        yield from _repeated(_listeners(sip))
        yield from _repeated(_texts([sip], "digest_algorithms"))
        yield from _certificate_missing(sip)
        yield from _repeated(_texts(_tables([sip], "tls_hosts"), "name"))
    yield from _repeated(_texts(accounts, "id"))
    yield from _repeated(((path, bare_host(text)) for path, text in _texts(accounts, "realm", "aliases")))
    secrets = chain(_texts(accounts, "api_key", "tokens"), _texts(_tables(accounts, "tokens"), "token"))
    yield from _repeated(secrets, fold=str)
    yield from _orphans(accounts)
    for account in accounts:
        users, devices = _tables([account], "users"), _tables([account], "devices")
        yield from _repeated(_texts(users, "id"))
        yield from _repeated(_texts(devices, "id"))
        yield from _repeated(_texts(_tables(devices, "sip"), "username"))
        yield from _repeated(_texts(_tables([account], "lists"), "name"))
        user_ids = {text.lower() for _, text in _texts(users, "id")}
        for path, owner in _texts(devices, "owner_id"):
            if owner.lower() not in user_ids:
                yield f"{path}: names no user of this account"
        yield from _repeated(_texts([account], "digest_algorithms"))
        offered = account[1].get("digest_algorithms", of_all)
        for path, ha1 in _tables(_tables(devices, "sip"), "ha1"):
            if isinstance(offered, list | tuple) and not any(algorithm in offered for algorithm in ha1):
                yield f"{path}: has none of the account's digest_algorithms"


def _orphans(accounts: Sequence[_Table]) -> Iterator[str]:
    """Accounts whose parent is none, or below themselves."""
    ids = {text.lower() for _, text in _texts(accounts, "id")}
    parents = {
        str(account.get("id")).lower(): (f"{path}.parent_id", str(account["parent_id"]).lower())
        for path, account in accounts
        if "parent_id" in account
    }
    for ident, (path, parent) in parents.items():
        if parent not in ids:
            yield f"{path}: names no account"
        ancestors: list[str] = []
        while parent in parents and parent not in ancestors:
            ancestors.append(parent)
            _, parent = parents[parent]
        if ident in (*ancestors, parent):
            yield f"{path}: the account would be below itself"


def _tables(parents: Iterable[_Table], key: str) -> list[_Table]:
    """The tables under `key`, alone or in an array."""
    found: list[_Table] = []
    for parent_path, parent in parents:
        path, value = f"{parent_path}.{key}".removeprefix("."), parent.get(key)
        if isinstance(value, dict):
            found.append((path, value))
        elif isinstance(value, list):
            found += [(f"{path}.{index}", entry) for index, entry in enumerate(value) if isinstance(entry, dict)]
    return found


def _texts(tables: Iterable[_Table], *keys: str) -> Iterator[tuple[str, str]]:
    """The path and text of each string under one of `keys`, alone or in a list."""
    for path, table in tables:
        for key in keys:
            value = table.get(key)
            if isinstance(value, str):
                yield f"{path}.{key}", value
            elif isinstance(value, list):
                yield from ((f"{path}.{key}.{i}", entry) for i, entry in enumerate(value) if isinstance(entry, str))


def _repeated(texts: Iterable[tuple[str, str]], fold: Callable[[str], str] = str.lower) -> Iterator[str]:
    first: dict[str, str] = {}
    for path, text in texts:
        earlier = first.setdefault(fold(text), path)
        if earlier != path:
            yield f"{path}: the same as {earlier}"


def _listen_urls(sip: _Table) -> Iterator[tuple[str, tuple[str, str, int]]]:
    for path, url in chain(_texts([sip], "listen"), _texts(_tables([sip], "listen"), "url")):
        with suppress(ValueError):
            yield path, split_listen_url(url)


def _listeners(sip: _Table) -> Iterator[tuple[str, str]]:
    """The sockets: all but UDP share the ports of TCP."""
    for path, (scheme, host, port) in _listen_urls(sip):
        if port:
            yield path, f"{'udp' if scheme == 'udp' else 'tcp'}://{join_host_port(host, port)}"


def _certificate_missing(sip: _Table) -> Iterator[str]:
    if ("tls_certificate" in sip[1]) != ("tls_private_key" in sip[1]):
        yield f"{sip[0]}.tls_certificate: needs tls_private_key, and the other way round"
    elif "tls_certificate" not in sip[1]:
        for path, (scheme, _, _) in _listen_urls(sip):
            if scheme in ("tls", "wss"):
                yield f"{path}: {scheme}:// needs sip.tls_certificate and sip.tls_private_key"


def _expires_out_of_order(sip: _Table, of: str) -> Iterator[str]:
    """Those of subscriptions, or of registrations: the keys that begin with `of`."""
    path, table = sip
    names = (f"{of}min_expires", f"{of}default_expires", f"{of}max_expires")
    try:
        low, default, high = (int(str(table.get(name, SipConfig.model_fields[name].default))) for name in names)
    except ValueError:
        return
    if not low <= default <= high:
        yield f"{path}.{names[1]}: {default} is not between {names[0]} {low} and {names[2]} {high}"
