"""Digest: the vectors of the RFCs, what clients write, and what a nonce is good for."""

import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipresence.sip import digest
from sipresence.sip.digest import MAX_HEADERS, MAX_LENGTH, NC_WINDOW, NONCE_LIFETIME, Algorithm, Credentials, NonceState
from tests.authorization import Phone
from tests.authorization import challenges as read_challenges

KEY = bytes(range(32))
REALM = "office.example.com"
NOW = 1_700_000_000.0
SHA_256, MD5 = Algorithm.SHA_256, Algorithm.MD5
FRESH, EXPIRED, UNKNOWN = NonceState.FRESH, NonceState.EXPIRED, NonceState.UNKNOWN


def nonces(since: float = NOW - 1) -> digest.Nonces:
    return digest.Nonces(KEY, since=since)


def only(value: str) -> Credentials:
    (found,) = digest.credentials([value])
    return found


# Vectors

RFC_7616 = (  # section 3.9.1
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{}", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RFC_2617 = (  # section 3.5
    'Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
    'uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", '
    'response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)


@pytest.mark.parametrize(
    ("value", "algorithm", "password"),
    [
        (RFC_7616.format("MD5", "8ca523f5e9506fed4657c9700eebdbec"), MD5, "Circle of Life"),
        (
            RFC_7616.format("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
            SHA_256,
            "Circle of Life",
        ),
        pytest.param(RFC_2617, MD5, "Circle Of Life", id="no algorithm is MD5"),
    ],
)
def test_vectors(value: str, algorithm: Algorithm, password: str) -> None:
    found = only(value)
    assert (found.username, found.algorithm, found.nonce_count) == ("Mufasa", algorithm, 1)
    assert found.matches(algorithm.ha1("Mufasa", found.realm, password), "GET")
    assert not found.matches(algorithm.ha1("Mufasa", found.realm, "Circle of life"), "GET")
    assert not found.matches(algorithm.ha1("Mufasa", found.realm, password), "SUBSCRIBE")


def test_lengths_of_digests() -> None:
    """RFC 8760 section 2.2: 32 hex digits for MD5, 64 for SHA-256, in lower case."""
    assert re.fullmatch("[0-9a-f]{32}", MD5.digest("x"))
    assert re.fullmatch("[0-9a-f]{64}", SHA_256.digest("x"))


def test_the_comparison_takes_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(digest, "compare_digest", spy)
    assert not only(RFC_2617).matches("", "GET")
    assert [len(text) for text in compared[0]] == [32, 32]


# Authorization

FIELDS = {
    "username": '"alice"', "realm": '"r"', "nonce": '"n"', "uri": '"sip:101@r"', "response": '"ab"',
    "algorithm": "MD5", "cnonce": '"c"', "qop": "auth", "nc": "0000000a",
}  # fmt: skip
NEEDED = [name for name in FIELDS if name != "algorithm"]
PLAIN = Credentials("alice", "r", "n", "sip:101@r", "ab", MD5, "c", "0000000a")


def written(scheme: str = "Digest ", separator: str = ", ", **fields: str | None) -> str:
    told = (FIELDS | fields).items()
    return scheme + separator.join(f"{name}={value}" for name, value in told if value is not None)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (written(), PLAIN),
        (written("DIGEST  "), PLAIN),
        pytest.param(written(separator=","), PLAIN, id="no space"),
        pytest.param(written(separator=" ,\t, "), PLAIN, id="empty elements"),
        (written() + ",", PLAIN),
        pytest.param(written().replace("=", " = "), PLAIN, id="space around ="),
        pytest.param(written(qop='"auth"'), PLAIN, id="quoted qop, as old phones write it"),
        (written(qop="AUTH", algorithm='"md5"'), PLAIN),
        (written(algorithm=None), PLAIN),
        (written(algorithm="sha-256"), PLAIN._replace(algorithm=SHA_256)),
        (written(opaque='""', foo="bar"), PLAIN),
        pytest.param(written(uri="sip:101@r"), PLAIN, id="unquoted"),
        pytest.param(written(username=r'"a \"b\\, c=\"d\", e"'), PLAIN._replace(username='a "b\\, c="d", e')),
        pytest.param(written(uri='"sip:1@r;a=b,c?d=e"'), PLAIN._replace(uri="sip:1@r;a=b,c?d=e"), id="comma in quotes"),
        (written(username='""'), PLAIN._replace(username="")),
        (written(username='"\udce9"'), PLAIN._replace(username="\udce9")),
        (written().replace("username", "UserName"), PLAIN),
    ],
)
def test_credentials(value: str, wanted: Credentials) -> None:
    assert only(value) == wanted


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Digest",
        "Digest ",
        "Basic YWxpY2U6c2VjcmV0",
        written("Digest"),
        written("Digest,"),
        *("Digest " + ", ".join(f"{k}={v}" for k, v in FIELDS.items() if k != name) for name in NEEDED),
        pytest.param(written(qop=None, cnonce=None, nc=None), id="RFC 2069"),
        written(qop="auth-int"),
        written(algorithm="MD5-sess"),
        written(algorithm="SHA-512-256"),
        written(nc="00000000"),
        written(nc="1"),
        written(nc="000000001"),
        written(nc="0000000g"),
        written(nc="-0000001"),
        pytest.param(written() + ', username="bob"', id="twice"),
        pytest.param(written() + ', USERNAME="bob"', id="twice in another case"),
        pytest.param(written(cnonce='"c'), id="no end of quotes"),
        pytest.param(written(cnonce='c"'), id="no begin of quotes"),
        pytest.param(written(cnonce='"c" d'), id="text after quotes"),
        pytest.param(written(cnonce='"c\\"'), id="escaped end"),
        pytest.param(written(opaque=f'"{"x" * MAX_LENGTH}"'), id="long"),
        pytest.param("Digest " + "a" * (MAX_LENGTH - 7), id="one name"),
        pytest.param("Digest a=" + '"' + "\\" * (MAX_LENGTH - 10), id="backslashes"),
    ],
)
def test_what_is_no_digest_is_as_good_as_absent(value: str) -> None:
    assert list(digest.credentials([value])) == []


def test_several_headers_are_read_in_order_and_not_without_end() -> None:
    others = [written(realm=f'"{n}"') for n in range(20)]
    read = [found.realm for found in digest.credentials(["Basic x", *others])]
    assert read == [str(n) for n in range(MAX_HEADERS - 1)]


@given(st.text())
def test_whatever_is_written_nothing_is_raised(text: str) -> None:
    for value in (text, f"Digest {text}", written(username=f'"{text}"'), written() + text):
        list(digest.credentials([value]))


QUOTABLE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40)


@given(QUOTABLE, QUOTABLE)
def test_quoted_strings_come_back(username: str, cnonce: str) -> None:
    def quoted(text: str) -> str:
        return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))

    found = only(written(username=quoted(username), cnonce=quoted(cnonce)))
    assert (found.username, found.cnonce) == (username, cnonce)


# Challenges


def test_one_challenge_per_algorithm_in_order() -> None:
    assert digest.challenges(REALM, "n", [SHA_256, MD5], stale=False) == (
        'WWW-Authenticate: Digest realm="office.example.com", nonce="n", algorithm=SHA-256, qop="auth"\r\n'
        'WWW-Authenticate: Digest realm="office.example.com", nonce="n", algorithm=MD5, qop="auth"\r\n'
    )
    assert digest.challenges(REALM, "n", [MD5], stale=True) == (
        'WWW-Authenticate: Digest realm="office.example.com", nonce="n", algorithm=MD5, qop="auth", stale=true\r\n'
    )


@given(
    st.sampled_from([SHA_256, MD5]),
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
    st.text(st.characters(codec="utf-8")),
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
    st.text(st.characters(codec="utf-8")),
)
def test_only_the_right_name_and_password_match(
    algorithm: Algorithm, username: str, password: str, other_username: str, other_password: str
) -> None:
    (challenge,) = read_challenges(digest.challenges(REALM, nonces().make(REALM, NOW), [algorithm], stale=False))
    found = only(Phone(username, password).authorization(challenge))
    assert found.matches(algorithm.ha1(username, REALM, password), "SUBSCRIBE")
    same = (username, password) == (other_username, other_password)
    assert found.matches(algorithm.ha1(other_username, REALM, other_password), "SUBSCRIBE") == same


@given(st.sampled_from(["nonce", "uri", "response", "cnonce", "nc", "algorithm"]), st.text())
def test_credentials_with_anything_changed_match_no_more(name: str, text: str) -> None:
    ha1 = SHA_256.ha1("alice", "r", "secret")
    (challenge,) = read_challenges(digest.challenges("r", "n", [SHA_256], stale=False))
    right = only(Phone("alice").authorization(challenge))
    changed = Credentials(**(right._asdict() | {name: MD5 if name == "algorithm" else text}))
    assert changed.matches(ha1, "SUBSCRIBE") == (changed == right)


# Nonces


def test_a_nonce_is_known_for_its_realm_and_time() -> None:
    table = nonces()
    nonce = table.make(REALM, NOW)
    assert table.check(nonce, REALM, NOW) is FRESH
    assert table.check(nonce, REALM, NOW + NONCE_LIFETIME - 1) is FRESH
    assert table.check(nonce, REALM, NOW + NONCE_LIFETIME) is EXPIRED
    assert table.check(nonce, "shop.example.com", NOW) is UNKNOWN
    assert digest.Nonces(KEY[::-1], since=NOW - 1).check(nonce, REALM, NOW) is UNKNOWN


def test_no_two_nonces_are_the_same() -> None:
    table = nonces()
    made = {table.make(REALM, NOW) for _ in range(1000)}
    assert len(made) == 1000
    assert table.make(REALM, NOW - 100) not in made
    assert all(table.check(nonce, REALM, NOW) is FRESH for nonce in made)


def test_a_nonce_is_fresh_in_the_moment_of_the_start() -> None:
    table = nonces(since=NOW)
    assert table.check(table.make(REALM, NOW), REALM, NOW) is FRESH


def test_a_nonce_of_an_earlier_process_is_ours_but_expired() -> None:
    """Nobody remembers which counts of it were used."""
    nonce = nonces().make(REALM, NOW)
    assert nonces(since=NOW + 1).check(nonce, REALM, NOW + 2) is EXPIRED


def test_a_nonce_made_before_the_clock_went_back_is_expired() -> None:
    nonce = nonces().make(REALM, NOW + 3600)
    assert nonces().check(nonce, REALM, NOW) is EXPIRED


@given(st.text())
def test_what_is_no_nonce_of_ours_is_unknown(text: str) -> None:
    table = nonces()
    assert table.check(text, REALM, NOW) is UNKNOWN
    nonce = table.make(REALM, NOW)
    assert table.check(nonce + text, REALM, NOW) is (UNKNOWN if text else FRESH)
    assert table.check(text + nonce[len(text) :], REALM, NOW) is UNKNOWN or nonce.startswith(text)


def test_a_count_is_taken_once() -> None:
    table = nonces()
    nonce, other = table.make(REALM, NOW), table.make(REALM, NOW)
    assert table.use(nonce, 1)
    assert not table.use(nonce, 1)
    assert table.use(other, 1), "every nonce has counts of its own"


def test_counts_may_come_out_of_order_within_the_window() -> None:
    table = nonces()
    nonce = table.make(REALM, NOW)
    highest = 100
    assert table.use(nonce, highest)
    for count in range(highest - NC_WINDOW + 1, highest):
        assert table.use(nonce, count)
        assert not table.use(nonce, count)
    assert not table.use(nonce, highest - NC_WINDOW)
    assert not table.use(nonce, highest)


@pytest.mark.parametrize("highest", [2**32 - 1, 2**31, 70])
def test_a_jump_forgets_nothing_but_what_is_too_far_back(highest: int) -> None:
    table = nonces()
    nonce = table.make(REALM, NOW)
    assert table.use(nonce, 1)
    assert table.use(nonce, highest)
    assert not table.use(nonce, 1)
    assert not table.use(nonce, highest)
    assert table.use(nonce, highest - 1)


@given(st.lists(st.integers(1, 200), max_size=300))
def test_no_count_is_ever_taken_twice(counts: list[int]) -> None:
    table = nonces()
    nonce = table.make(REALM, NOW)
    seen: set[int] = set()
    for count in counts:
        taken = table.use(nonce, count)
        assert taken == (count not in seen and count > max(seen, default=0) - NC_WINDOW)
        if taken:
            seen.add(count)


def test_used_nonces_are_forgotten_only_once_they_have_expired() -> None:
    table = nonces()
    nonce = table.make(REALM, NOW)
    assert table.use(nonce, 1)
    for age in range(0, int(NONCE_LIFETIME) * 3, 10):
        now = NOW + age
        if table.check(nonce, REALM, now) is FRESH:
            assert not table.use(nonce, 1)
        another = table.make(REALM, now)
        assert table.check(another, REALM, now) is FRESH
        assert table.use(another, 1)
    assert len(table._young) + len(table._old) < 70


def test_a_full_table_makes_nonces_expire_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather that than taking a count twice."""
    monkeypatch.setattr(digest, "MAX_NONCES", 10)
    table = nonces()
    first = table.make(REALM, NOW)
    assert table.use(first, 1)
    for n in range(1, 31):
        now = NOW + n / 1000
        nonce = table.make(REALM, now)
        assert table.check(nonce, REALM, now) is FRESH
        assert table.use(nonce, 1)
        assert not table.use(nonce, 1)
        assert len(table._young) + len(table._old) <= 20
        if table.check(first, REALM, now) is FRESH:
            assert not table.use(first, 1)
    assert table.check(first, REALM, NOW + 1) is EXPIRED
