"""What caches are told: no shared one keeps what was decided for one person, and the rest stays as the app said it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flaggate.web.caching import DEPENDS_ON, Depends, cache_control, vary


@pytest.mark.parametrize(
    ("reads", "depends"),
    [
        ([], Depends.NOTHING),
        (["ip"], Depends.ADDRESS),
        (["city", "city_id", "region", "country"], Depends.ADDRESS),
        (["visitor"], Depends.VISITOR),
        (["visitor", "city"], Depends.VISITOR),
        (["user"], Depends.IDENTITY),
        (["account"], Depends.IDENTITY),
        (["staff"], Depends.IDENTITY),
        (["groups"], Depends.IDENTITY),
        (["tier"], Depends.IDENTITY),
        (["attributes"], Depends.IDENTITY),
        (["user", "city", "visitor"], Depends.IDENTITY),
        (["something", "new"], Depends.IDENTITY),  # when in doubt, the most
    ],
)
def test_an_answer_depends_on_what_its_flag_reads(reads: list[str], depends: Depends) -> None:
    assert DEPENDS_ON[frozenset(reads)] is depends


_WORDS = st.frozensets(st.sampled_from(["ip", "city", "country", "visitor", "user", "tier", "attributes"]))


@given(_WORDS, _WORDS)
def test_who_reads_more_depends_on_more(some: frozenset[str], others: frozenset[str]) -> None:
    assert DEPENDS_ON[some | others] >= max(DEPENDS_ON[some], DEPENDS_ON[others])


# --- Vary -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "depends", "told"),
    [
        ("", Depends.NOTHING, ""),
        ("Accept", Depends.NOTHING, "Accept"),
        ("", Depends.ADDRESS, ""),  # no header carries it
        ("Accept-Encoding", Depends.ADDRESS, "Accept-Encoding"),
        ("", Depends.VISITOR, "Cookie"),
        ("", Depends.IDENTITY, "Cookie, Authorization"),
        ("Accept-Encoding", Depends.VISITOR, "Accept-Encoding, Cookie"),
        ("Accept-Encoding,Accept", Depends.VISITOR, "Accept-Encoding, Accept, Cookie"),
        ("Cookie", Depends.VISITOR, "Cookie"),
        ("cookie", Depends.IDENTITY, "cookie, Authorization"),
        ("AUTHORIZATION, Accept", Depends.IDENTITY, "AUTHORIZATION, Accept, Cookie"),
        ("X-Cookie", Depends.VISITOR, "X-Cookie, Cookie"),
        (" , Cookie ,, ", Depends.VISITOR, "Cookie"),
        ("*", Depends.IDENTITY, "*"),
        ("Accept, *", Depends.IDENTITY, "Accept, *"),
        ("*, Accept", Depends.VISITOR, "*, Accept"),
    ],
)
def test_vary_names_what_was_read(known: str, depends: Depends, told: str) -> None:
    assert vary(known, depends) == told


_FIELDS = st.lists(st.sampled_from(["Accept", "cookie", "Cookie", "AUTHORIZATION", "*", "", "X-Cookie"])).map(",".join)


@given(_FIELDS, st.sampled_from(Depends))
def test_vary_takes_nothing_away_and_is_said_once(known: str, depends: Depends) -> None:
    told = vary(known, depends)
    names = [name.strip() for name in told.split(",")]
    assert {name for name in known.split(",") if name} <= set(names)
    assert vary(told, depends) == told
    if "*" not in names and depends >= Depends.VISITOR:
        assert "cookie" in told.lower().split(", ")


# --- Cache-Control --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ("", "private"),
        (" , ,", "private"),
        ("public", "private"),
        ("Public", "private"),
        ("public, max-age=60", "max-age=60, private"),
        ("PUBLIC,MAX-AGE=60", "MAX-AGE=60, private"),
        ("max-age=60, public", "max-age=60, private"),
        ("max-age=60", "max-age=60, private"),
        ("s-maxage=600", "private"),
        ('S-MaxAge="600", max-age=60', "max-age=60, private"),
        ("s-maxage = 600", "private"),
        ("proxy-revalidate, must-revalidate", "must-revalidate, private"),
        ("no-cache", "no-cache, private"),
        ("max-age=60, stale-while-revalidate=30, immutable", "max-age=60, stale-while-revalidate=30, immutable, private"),
        ("must-understand", "must-understand, private"),
        # kept out of shared caches already
        ("no-store", "no-store"),
        ("No-Store, max-age=0", "No-Store, max-age=0"),
        ("private", "private"),
        ("Private,max-age=60", "Private,max-age=60"),
        ("max-age=60 , private", "max-age=60 , private"),
        # of some fields only
        ('private="set-cookie"', "private"),
        ('private="set-cookie", max-age=60', "max-age=60, private"),
        ('private="x-one, x-two", max-age=60', "max-age=60, private"),
        ('private="x-one, public, private, no-store"', "private"),
        ('Private = "x"', "private"),
        ("private=x", "private"),
        ('private=""', "private"),
        ('private="x-one", private', "private"),  # of two of a name some readers take the last
        ('private, max-age=60, private="x-one"', "private, max-age=60"),
        ("private, public, s-maxage=60", "private"),
        # for whom knows the status code no-store is none (RFC 9111 5.2.2.3)
        ("no-store, must-understand, public, max-age=60", "no-store, must-understand, max-age=60, private"),
        ("must-understand, no-store,private", "must-understand, no-store,private"),
        # a text is no directive
        ('no-cache="x-one, x-two", max-age=60', 'no-cache="x-one, x-two", max-age=60, private'),
        ('ext="no-store, private", public', 'ext="no-store, private", private'),
        ('ext=", no-store, "', 'ext=", no-store, ", private'),
        (r'ext="\", no-store, \"", public', r'ext="\", no-store, \"", private'),
        (r'ext="\\", no-store', r'ext="\\", no-store'),
        ("no-store=x, public", "no-store=x, private"),
        ("x-no-store, x-private", "x-no-store, x-private, private"),
        # a text without an end would hide what follows
        ('ext="a, no-store', 'private, ext="a, no-store'),
        ('max-age=60, ext="a', 'private, max-age=60, ext="a'),
        ('"', 'private, "'),
        (r'ext="a\"', r'private, ext="a\"'),
    ],
)  # fmt: skip
def test_no_shared_cache_keeps_it(known: str, told: str) -> None:
    assert cache_control(known) == told


_DIRECTIVES = st.lists(
    st.sampled_from(
        [
            "public",
            "PUBLIC",
            "private",
            'private="x"',
            'private="x, public"',
            "s-maxage=1",
            "max-age=60",
            "no-store",
            "no-cache",
            'no-cache="private, no-store"',
            "must-understand",
            r'ext="a\", private"',
            "proxy-revalidate",
            "",
        ]
    ),
    max_size=6,
)


@given(_DIRECTIVES, st.sampled_from([", ", ",", " ,\t"]))
@example(["no-store", "must-understand", "public"], ", ")
def test_a_strict_reader_finds_it_private(directives: list[str], separator: str) -> None:
    """The reader is werkzeug's."""
    http = pytest.importorskip("werkzeug.http", reason="pip install werkzeug")
    told = cache_control(separator.join(directives))
    read = {name.lower(): value for name, value in http.parse_dict_header(told).items()}
    is_stored_nowhere = "no-store" in read and "must-understand" not in read
    if not is_stored_nowhere:
        assert read.get("private", "not there") is None
        assert not {"public", "s-maxage", "proxy-revalidate"} & set(read)
    assert ("max-age" in read) == ("max-age=60" in directives)
    assert cache_control(told) == told


@given(st.text(st.sampled_from('ab=,"\\ \t') | st.characters(max_codepoint=0xFF)))
def test_any_text_is_followed_or_led_by_private(known: str) -> None:
    told = cache_control(known)
    assert told == known or "private" in (told[:7], told[-7:])


@pytest.mark.parametrize("part", [",", '"', '\\"', '"\\', "a", "a,", 'a="b",', " ", 'a="'])
def test_64_kilobytes_of_anything_are_read_in_time(part: str) -> None:
    """Whoever reads a part of it again for each of its characters takes minutes."""
    text = part * (65_536 // len(part))
    for known in (text, f'"{text}', f'{text}"', f"{text}="):
        assert "private" in cache_control(known)
    assert "Cookie" in vary(text, Depends.VISITOR)


def test_however_many_sets_of_attributes_there_are_each_is_told_right_and_few_are_kept() -> None:
    for number in range(1100):
        assert DEPENDS_ON[frozenset({f"own-{number}"})] is Depends.IDENTITY
    assert len(DEPENDS_ON) <= 1000
