"""A gate's table: what it gates, and that nobody gets around it where a framework's own router would let them in."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flaggate.errors import SettingError
from flaggate.web.routes import Gated, Routes


def is_gated(pattern: str, path: str) -> bool:
    return Routes({pattern: "new"}).match(path) == Gated("new", None)


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("/v2", ["/v2", "/v2/", "//v2", "/v2//", "v2", "/v2\n", "/v2/\n"], ["/", "", "/v2/x", "/v", "/v22", "/V2"]),
        ("/v2/", ["/v2", "/v2/", "//v2//"], ["/v2/x", "/v2-x"]),
        ("//v2//", ["/v2", "/v2/", "//v2//"], ["/v2/x"]),
        ("/", ["/", "", "//", "/\n", "/.", "/x/.."], ["/x", "/\n\n", " "]),
        ("/*", ["/", "", "//", "/x", "x", "/x/y/", "/\n\n", "*", "/.."], []),
        ("/v2/*", ["/v2", "/v2/", "/v2/x", "/v2/x/y/", "//v2//x", "v2/x", "/v2\n", "/v2/x\ny\n"], ["/v22", "/", "/v2x/y"]),
        ("/v2//*", ["/v2", "/v2/", "/v2/x", "//v2//x"], ["/v22"]),
        ("/a/*/c", ["/a/b/c", "/a/b/c/", "/a//b//c", "/a/b\n/c", "/a/*/c"], ["/a/c", "/a/b/b/c", "/a/b/c/d", "/a/b"]),
        ("/a/*/c/*", ["/a/b/c", "/a/b/c/d/e", "/a/b/c/"], ["/a/c/d", "/a/b/b/c"]),
        ("/a/*.json", ["/a/b.json", "/a/.json", "/a/b.json/"], ["/a/b/c.json", "/a/bxjson", "/a/b.jsonx"]),
        ("/a*", ["/a", "/ab", "/ab/"], ["/ab/c", "/b"]),
        ("/*/c", ["/a/c", "/%2e/c"], ["/c", "//c", "/a/b/c"]),
        ("/a.b+(c)", ["/a.b+(c)"], ["/axb+(c)", "/a.bb(c)"]),
        ("/a b/é/*", ["/a b/é", "/a b/é/ü"], ["/a%20b/é", "/a b/e\u0301"]),
        ("/v2/*", ["/v2/../x", "/x/../v2", "/./v2", "/v2/.", "/x/.././v2/y/..", "/../v2", "/v2/.x"], ["/v/2/..", "/v2..", "/.v2/"]),
    ],
)  # fmt: skip
def test_a_pattern_gates_its_paths(pattern: str, inside: list[str], outside: list[str]) -> None:
    assert [path for path in inside if not is_gated(pattern, path)] == []
    assert [path for path in outside if is_gated(pattern, path)] == []


def test_the_first_line_that_matches_is_the_one() -> None:
    routes = Routes({"/v2/open": "first", "/v2/*": "second", "/*": "third", "/v2/late": "never"})
    assert [routes.match(path) for path in ("/v2/open", "/v2/x", "/v2/late", "/x")] == [
        Gated("first", None),
        Gated("second", None),
        Gated("second", None),
        Gated("third", None),
    ]


def test_a_longer_table_is_read_as_one_line_is() -> None:
    routes = Routes({f"/{number}/*": (f"flag-{number}", f"/old/{number}/*") for number in range(300)})
    assert routes.match("/299/x") == Gated("flag-299", "/old/299/x")
    assert routes.match("/300/x") is None


def test_an_empty_table_gates_nothing() -> None:
    routes = Routes({})
    assert not routes
    assert routes.match("/") is None
    assert routes.match("") is None
    assert Routes({"/": "new"})


@pytest.mark.parametrize(
    ("pattern", "otherwise", "path", "served"),
    [
        ("/v2", "/v1", "/v2", "/v1"),
        ("/v2", "/v1", "/v2/", "/v1"),
        ("/v2/*", "/v1", "/v2/x/y", "/v1"),
        ("/v2/*", "/v1/*", "/v2/x/y", "/v1/x/y"),
        ("/v2/*", "/v1/*", "/v2/x/", "/v1/x/"),
        ("/v2/*", "/v1/*", "//v2//x", "/v1/x"),
        ("/v2/*", "/v1/*", "/v2/", "/v1/"),
        ("/v2/*", "/v1/*", "/v2", "/v1"),
        ("/v2/*", "/v1/*", "/v2/.well-known/é", "/v1/.well-known/é"),
        ("/v2/*", "/*", "/v2/x", "/x"),
        ("/v2/*", "/*", "/v2/", "/"),
        ("/v2/*", "/*", "/v2", "/"),
        ("/*", "/old/*", "/x", "/old/x"),
        ("/*", "/old/*", "/", "/old/"),
        ("/*", "/closed", "/x", "/closed"),
        ("/*", "/closed", "/closed", "/closed"),
        ("/v2/*", "/v2", "/v2/x", "/v2"),
        ("/*/v2/*", "/v1/*", "/a/v2/x", "/v1/x"),
        ("/*/v2", "/v1", "/a/v2", "/v1"),
        # A path with dots in it may be another one to what serves it: nothing is made of it.
        ("/static/v2/*", "/static/v1/*", "/static/v2/../v2/x", None),
        ("/v2/*", "/v1/*", "/v2/../secret", None),
        ("/v2/*", "/v1", "/x/../v2", None),
    ],
)
def test_another_path_is_served(pattern: str, otherwise: str, path: str, served: str | None) -> None:
    assert Routes({pattern: ("new", otherwise)}).match(path) == Gated("new", served)


def test_a_list_serves_as_a_pair() -> None:
    """As TOML and JSON have it."""
    table: Any = {"/v2/*": ["new", "/v1/*"], "/v3": ["new", None]}
    assert Routes(table).match("/v2/x") == Gated("new", "/v1/x")
    assert Routes(table).match("/v3") == Gated("new", None)


@pytest.mark.parametrize(
    "table",
    [
        None,
        "/v2/*",
        ["/v2/*"],
        [("/v2/*", "new")],
        {"v2/*": "new"},
        {"": "new"},
        {"*": "new"},
        {1: "new"},
        {re.compile("/v2"): "new"},
        {"/v2": None},
        {"/v2": True},
        {"/v2": 1},
        {"/v2": ()},
        {"/v2": ("new",)},
        {"/v2": ("new", "/v1", "/v0")},
        {"/v2": (None, "/v1")},
        # a name that no flag has
        {"/v2": "New_Invoicing"},
        {"/v2": "new_invoicing"},
        {"/v2": "2nd"},
        {"/v2": "new "},
        {"/v2": "new\n"},
        {"/v2": ""},
        {"/v2": ("", "/v1")},
        {"/v2": f"n{'n' * 200}"},
        # itself
        {"/v2/*": ("new", "/v2/*")},
        {"/v2": ("new", "/v2")},
        {"/v2": ("new", "//v2/")},
        {"/v2/": ("new", "/x/../v2")},
        {"/": ("new", "/")},
        {"/*": ("new", "/*")},
        {"/v2": ("new", "v1")},
        {"/v2": ("new", "https://example.com/")},
        {"/v2": ("new", "")},
        {"/v2": ("new", 1)},
        # a star that would be served as one
        {"/v2": ("new", "/v1/*")},
        {"/v2/*": ("new", "/v1*")},
        {"/v2/*": ("new", "/*/v1")},
        {"/v2/*": ("new", "/*/v1/*")},
        # another language than ours, which would match nothing
        {"/v2/**": "new"},
        {"/v2/**/x": "new"},
        {"/v2/*-*": "new"},
        {"/v2/<int:number>": "new"},
        {"/v2/{number}": "new"},
        {"/v2?x=1": "new"},
        {"/v2#x": "new"},
        {"/new%20invoices": "new"},
        {"/v2": ("new", "/v1?x=1")},
        {"/v2/<int:number>": ("new", "/v1/<int:number>")},
        {"/good": "new", "/caf%C3%A9/*": "new"},
    ],
)
def test_a_wrong_table_is_told(table: Any) -> None:
    with pytest.raises(SettingError) as caught:
        Routes(table)
    assert caught.value.setting == "routes"
    assert re.match(r"routes: .*; allowed: a ", str(caught.value))


def test_of_a_wrong_table_the_line_is_named() -> None:
    with pytest.raises(SettingError, match=r"^routes: \{'/v2': \('new', 'v1'\)\}; allowed: a path that begins with"):
        Routes({"/v1": "old", "/v2": ("new", "v1")})
    with pytest.raises(SettingError, match=r"^routes: \{'/v2': 'New'\}; allowed: a flag's name: lower-case letters, "):
        Routes({"/v1": "old", "/v2": "New"})
    with pytest.raises(
        SettingError, match=r"^routes: \{'/v2': \('new', '/v2/'\)\}; allowed: a path other than its own: "
    ):
        Routes({"/v1": "old", "/v2": ("new", "/v2/")})


# --- nobody gets around it ------------------------------------------------------------------------

_PARTS = st.sampled_from(
    ["/", "//", "a", "b", "static", "v2", "app.js", "ab", "A", ".", "..", "/../", "/./", "/a/", "/v2/", "\n", "\r", " ", "\x85",
     "\u2028", "é", "e\u0301", "*", "%", "%2F", ";", "?", "#", "\\", "\x00", "{x}", "<x>", "\ufffd"]
)  # fmt: skip
_PATHS = st.lists(_PARTS | st.text(max_size=3), max_size=8).map("".join)
_A = Routes({"/a/*": "new"})
_LITERAL = Routes({"/a": "new", "/a/b/": "new"})
_MIDDLE = Routes({"/a/*/b": "new"})


def starlette_matches(path: str, *patterns: str) -> bool:
    """Whether Starlette would serve it by a route of one of these paths, or below it."""
    routing = pytest.importorskip("starlette.routing", reason="pip install starlette")
    scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}

    async def app(*_: Any) -> None:
        return

    routes = [routing.Route(pattern, app) for pattern in patterns if not pattern.endswith("!")]
    routes += [routing.Mount(pattern[:-1], app) for pattern in patterns if pattern.endswith("!")]
    return any(route.matches(dict(scope))[0] != routing.Match.NONE for route in routes)


@given(_PATHS | _PATHS.map(lambda path: f"/a{path}") | _PATHS.map(lambda path: f"/a/{path}"))
@example("/a\n")
@example("/a/../x")
def test_what_starlette_serves_below_a_path_is_gated(path: str) -> None:
    below = ("/a", "/a/", "/a/{x}", "/a/{x}/b", "/a/{number:int}", "/a/{rest:path}", "/a/b\n", "/a!")
    if starlette_matches(path, *below):
        assert _A.match(path)
    if starlette_matches(path, "/a", "/a/", "/a/b", "/a/b/"):
        assert _LITERAL.match(path)
    if starlette_matches(path, "/a/{x}/b", "/a/{x}/b/"):
        assert _MIDDLE.match(path)


def werkzeug_matches(path: str, *patterns: str, **settings: bool) -> bool:
    """Whether Flask would serve it by a rule of one of these paths."""
    routing = pytest.importorskip("werkzeug.routing", reason="pip install werkzeug")
    exceptions = pytest.importorskip("werkzeug.exceptions", reason="pip install werkzeug")
    rules = routing.Map([routing.Rule(pattern, endpoint=pattern) for pattern in patterns], **settings)
    try:
        rules.bind("example.com").match(path)
    except (exceptions.NotFound, routing.RequestRedirect):  # a redirect is another request
        return False
    return True


@given(
    _PATHS | _PATHS.map(lambda path: f"/a{path}") | _PATHS.map(lambda path: f"//a/{path}"), st.booleans(), st.booleans()
)
@example("a/x", True, True)
@example("///a", True, True)
def test_what_werkzeug_serves_below_a_path_is_gated(path: str, merges: bool, is_strict: bool) -> None:
    settings = {"merge_slashes": merges, "strict_slashes": is_strict}
    below = ("/a", "/a/", "/a/<x>", "/a/<x>/b", "/a/<int:number>/", "/a/<path:rest>", "/a/<path:rest>/edit")
    if werkzeug_matches(path, *below, **settings):
        assert _A.match(path)
    for pattern in ("/a", "/a/", "/a/b", "/a/b/"):
        if werkzeug_matches(path, pattern, **settings):
            assert _LITERAL.match(path)
    if werkzeug_matches(path, "/a/<x>/b", "/a/<x>/b/", **settings):
        assert _MIDDLE.match(path)


_DOTTED = st.lists(st.sampled_from(["..", ".", "x", "v2", "v1", "", "app.js", "sub"]), max_size=8).map("/".join)
_STATIC = Routes({"/static/v2/*": ("new", "/static/v1/*"), "/static/app.js": "new"})


@given(_DOTTED)
@example("x/../v2/app.js")
@example("v2/../v2/app.js")
def test_files_are_not_reached_by_dots(tmp_path_factory: pytest.TempPathFactory, rest: str) -> None:
    """Starlette and Flask resolve dots when they look for a file, and not when they look for a route."""
    staticfiles = pytest.importorskip("starlette.staticfiles", reason="pip install starlette")
    security = pytest.importorskip("werkzeug.security", reason="pip install werkzeug")
    path = f"/static/{rest}"
    files = staticfiles.StaticFiles(directory=tmp_path_factory.getbasetemp())
    found = files.get_path({"type": "http", "path": path, "root_path": "/static"})
    for file in (Path(found).as_posix(), security.safe_join("", rest)):
        if file is not None and (file == "app.js" or file.split("/")[0] == "v2"):
            gated = _STATIC.match(path)
            assert gated
            if gated.otherwise is not None:
                assert posixpath.normpath(gated.otherwise).startswith("/static/v1")


@given(_PATHS)
def test_any_path_is_gated_or_not(path: str) -> None:
    for routes in (_A, _LITERAL, _MIDDLE, _STATIC):
        gated = routes.match(path)
        assert gated is None or gated.flag == "new"
        slashed = routes.match(path.replace("/", "//"))
        assert (gated and gated.flag) == (slashed and slashed.flag)


@pytest.mark.parametrize("part", ["/", "a", "/a", ".", "/.", "/..", "\n", "-", "/-", "b/"])
def test_64_kilobytes_of_anything_are_matched_in_time(part: str) -> None:
    """Whoever reads a part of it again for each of its characters takes minutes."""
    routes = Routes({"/*/*/*/x": "new", "/*-/*-/*": "new", "/a/*.a/b": "new", "/*/*-a": "new"})
    text = part * (65_536 // len(part))
    for path in (text, f"/{text}", f"/a/{text}", f"{text}/q", f"/-{text}", f"/a/{text}.a/c"):
        gated = routes.match(path)
        assert gated is None or gated.flag == "new"
