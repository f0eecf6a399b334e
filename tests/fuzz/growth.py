"""How time grows with the length of a hostile input: the exponent of CPU time over 1, 2, 4 and 8 times the length.

    python -m tests.fuzz.growth

1.0 is linear. Everything here is read before anybody is known, or by whoever may edit flags.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import repeat
from statistics import linear_regression
from time import thread_time
from typing import Any, Final, NamedTuple

from packaging.specifiers import SpecifierSet

from flaggate import Context
from flaggate.decide.explain import explain
from flaggate.errors import DocumentError
from flaggate.flags.audience import after, in_network, version
from flaggate.flags.document import parse
from flaggate.web.client_ip import FORWARDED, X_FORWARDED_FOR, ClientAddresses
from flaggate.web.routes import Routes
from flaggate.web.visitor import COOKIE, Visitors
from tests.fuzz.test_audiences import flag_of, running
from tests.fuzz.test_console import Console, console

__all__ = ["LENGTHS", "SHAPES", "Growth", "Shape", "measured"]

LENGTHS: Final = (1, 2, 4, 8)
_RUNS: Final = 2
_FLOOR: Final = 1e-5
"""Seconds: less than this is the clock's."""


class Shape(NamedTuple):
    """A kind of input."""

    shortest: int
    """Its length at 1, in its own pieces."""
    make: Callable[[int], Callable[[], object]]
    """Given a length, what is measured."""


class Growth(NamedTuple):
    """What was measured of a shape."""

    seconds: tuple[float, ...]
    """The least of some runs, at each of LENGTHS."""

    @property
    def exponent(self) -> float:
        """The slope of the logarithms."""
        return linear_regression(
            [*map(math.log, LENGTHS)], [math.log(max(each, _FLOOR)) for each in self.seconds]
        ).slope


def measured(shape: Shape) -> Growth:
    """On this thread's CPU clock: what else runs here does not count."""
    return Growth(tuple(min(_seconds(shape.make(shape.shortest * length)) for _ in range(_RUNS)) for length in LENGTHS))


def _seconds(act: Callable[[], object]) -> float:
    begun = thread_time()
    act()
    return thread_time() - begun


# --- definitions ------------------------------------------------------------------------------


def _read(shortest: int, text: Callable[[int], str], syntax: Any = "toml") -> Shape:
    def make(length: int) -> Callable[[], object]:
        written = text(length)

        def act() -> None:
            try:
                parse(written, syntax=syntax)
            except DocumentError as error:
                str(error)

        return act

    return Shape(shortest, make)


def _lines(line: str) -> Callable[[int], str]:
    return lambda length: "".join(line.format(number) for number in range(length))


_DOCUMENTS: Final[Mapping[str, Shape]] = {
    "TOML: a dotted key": _read(2000, lambda n: "flags.a." + "b." * n + "c = 1"),
    "TOML: a dotted key of quoted parts": _read(2000, lambda n: "flags.a." + '"\\"".' * n + "c = 1"),
    "TOML: a dotted header": _read(4000, lambda n: "[flags." + "b." * n + "c]"),
    "TOML: a dotted key inside": _read(4000, lambda n: "flags = {" + "b." * n + "c = 1}"),
    "TOML: almost a dotted key": _read(50, lambda n: ("a" * n + ".") * 90 + "x = 1"),
    "TOML: an unfinished quoted key": _read(5000, lambda n: '"a\\"' * n),
    "TOML: nested lists": _read(2000, lambda n: "flags = " + "[" * n + "]" * n),
    "TOML: a long list": _read(2000, lambda n: "flags = [" + "1, " * n + "]"),
    "TOML: many tables": _read(300, _lines("[flags.a{}]\n")),
    "TOML: many stages": _read(200, _lines('[[flags.a.stages]]\nname = "s{}"\nsoak = "0s"\n')),
    "TOML: escapes": _read(5000, lambda n: 'flags = "' + "\\n" * n + '"'),
    "TOML: an unfinished text": _read(50_000, lambda n: 'flags = """' + '""a' * n),
    "TOML: a long number": _read(20_000, lambda n: "flags = 1" + "_1" * n + "x"),
    "TOML: many decimals": _read(20_000, lambda n: "flags = 0." + "1" * n),
    "TOML: a hexadecimal number": _read(20_000, lambda n: "flags = 0x" + "f" * n),
    "JSON: nested lists": _read(20_000, lambda n: "[" * n + "]" * n, "json"),
    "JSON: many keys": _read(1000, lambda n: "{" + ",".join(f'"a{i}":1' for i in range(n)) + "}", "json"),
    "JSON: one key, many times": _read(2000, lambda n: "{" + ",".join(repeat('"a":1', n)) + "}", "json"),
    "JSON: a flag of many keys": _read(
        500, lambda n: '{"flags":{"a":{' + ",".join(f'"k{i}":1' for i in range(n)) + "}}}", "json"
    ),
    "JSON: many people": _read(
        1000, lambda n: '{"flags":{"a":{"deputies":[' + ",".join(f'"d{i}"' for i in range(n)) + "]}}}", "json"
    ),
    "JSON: many conditions": _read(
        500, lambda n: '{"flags":{"a":{"audience":[' + ",".join(f'{{"k{i}":[1,2]}}' for i in range(n)) + "]}}}", "json"
    ),
}

# --- audiences --------------------------------------------------------------------------------

_VERSIONS: Final = SpecifierSet(">=2.1,<3")
_MOMENT: Final = running(flag_of({"staff": True}, 100)).since  # type: ignore[arg-type]  # it is a flag


def _asked(
    operator: Callable[[Any, Any], bool], operand: Any, value: Callable[[int], str], shortest: int = 5000
) -> Shape:
    def make(length: int) -> Callable[[], object]:
        text = value(length)
        return lambda: operator(text, operand)

    return Shape(shortest, make)


def _explained(length: int) -> Callable[[], object]:
    flag = flag_of({"seats": {"version": ">=1"}, "city": {"prefix": "a"}}, 50)
    assert flag is not None
    context = Context("u", city="a" + " \n" * length, attributes={"seats": "1" + " " * length + "x"})
    return lambda: explain(flag, running(flag), context, {})


_AUDIENCES: Final[Mapping[str, Shape]] = {
    "version: digits": _asked(version, _VERSIONS, lambda n: "1" * n),
    "version: dots": _asked(version, _VERSIONS, lambda n: "1." * n + "x"),
    "version: spaces": _asked(version, _VERSIONS, lambda n: "1" + " " * n + "x"),
    "version: local": _asked(version, _VERSIONS, lambda n: "1+" + "a." * n + "!"),
    "version: zeros": _asked(version, _VERSIONS, lambda n: "0." * n + "0"),
    "version: letters": _asked(version, _VERSIONS, lambda n: "1" + "a1" * n),
    "in_network: colons": _asked(in_network, (), lambda n: ":1" * n),
    "in_network: dots": _asked(in_network, (), lambda n: "1." * n),
    "after: digits": _asked(after, _MOMENT, lambda n: "2026-01-01T00:00:00." + "0" * n),
    "explain": Shape(5000, _explained),
}

# --- requests ---------------------------------------------------------------------------------


def _hops(header: str, line: Callable[[int], str], shortest: int = 2000) -> Shape:
    addresses = ClientAddresses(["10.0.0.0/8", "127.0.0.0/8"], header)

    def make(length: int) -> Callable[[], object]:
        written = line(length)
        return lambda: addresses.client("10.0.0.1", [written])

    return Shape(shortest, make)


def _named(peer: Callable[[int], str], line: Callable[[int], str], shortest: int = 4000) -> Shape:
    addresses = ClientAddresses(["127.0.0.0/8"])

    def make(length: int) -> Callable[[], object]:
        who, written = peer(length), line(length)
        return lambda: addresses.may_be_rewritten(who, [written])

    return Shape(shortest, make)


def _cookies(header: Callable[[int], str], shortest: int = 300) -> Shape:
    visitors = Visitors(["a key for tests"])

    def make(length: int) -> Callable[[], object]:
        written = header(length)
        return lambda: visitors.known([written])

    return Shape(shortest, make)


def _path(path: Callable[[int], str]) -> Shape:
    routes = Routes({"/v2/*": "a", "/*/x/*/y": "b", "/a*b/c*d/*": "c"})

    def make(length: int) -> Callable[[], object]:
        written = path(length)
        return lambda: routes.match(written)

    return Shape(4000, make)


def _hop(number: int) -> str:
    return f"10.{number // 256 % 256}.{number % 256}.1"


_REQUESTS: Final[Mapping[str, Shape]] = {
    "X-Forwarded-For: proxies": _hops(X_FORWARDED_FOR, lambda n: ", ".join(map(_hop, range(n))), 1500),
    "X-Forwarded-For: commas": _hops(X_FORWARDED_FOR, lambda n: "," * n, 20_000),
    "X-Forwarded-For: colons": _hops(X_FORWARDED_FOR, lambda n: ":1" * n),
    "X-Forwarded-For: brackets": _hops(X_FORWARDED_FOR, lambda n: "[" * n + "]" * n),
    "Forwarded: proxies": _hops(FORWARDED, lambda n: ", ".join(f"for={_hop(each)}" for each in range(n)), 1500),
    "Forwarded: commas": _hops(FORWARDED, lambda n: "," * n),
    "Forwarded: parameters": _hops(FORWARDED, lambda n: ";".join(f"a{each}=b" for each in range(n)), 500),
    "Forwarded: a quoted text": _hops(FORWARDED, lambda n: 'for="' + "\\\\" * n + '"'),
    "Forwarded: open quotes": _hops(FORWARDED, lambda n: 'a="\\' * n + '"'),
    "Forwarded: spaces": _hops(FORWARDED, lambda n: " \t" * n + "x"),
    "Forwarded: a word": _hops(FORWARDED, lambda n: "a" * n + "=" + "a" * n),
    "the peer in X-Forwarded-For": _named(lambda n: "-" * n + "x", lambda n: "-" * 2 * n),
    "an address in X-Forwarded-For": _named(lambda _: "1.1.1.1", lambda n: "1.1.1." * n),
    "Cookie: a visitor's, many times": _cookies(lambda n: f"{COOKIE}=a.b; " * n),
    "Cookie: a long one": _cookies(lambda n: f"{COOKIE}=" + "a." * 100 * n),
    "Cookie: backslashes": _cookies(lambda n: f'{COOKIE}="' + '\\"' * 50 * n + '"'),
    "a path of slashes": _path(lambda n: "/" * n + "x"),
    "a path of dots": _path(lambda n: "/a/.." * n),
    "a path of segments": _path(lambda n: "/x/a" * n + "\n"),
}

# --- the console ------------------------------------------------------------------------------


def _sent(where: Console, fields: Callable[[int], dict[str, str]], shortest: int, path: str = "/new") -> Shape:
    where.begin()
    base = {"token": where.token, "name": "new-one", "description": "A", "owner": "o", "what": "check"}

    def make(length: int) -> Callable[[], object]:
        filled = base | fields(length)
        return lambda: where.send(path, filled)

    return Shape(shortest, make)


def _got(where: Console, line: Callable[[int], str], shortest: int) -> Shape:
    def make(length: int) -> Callable[[], object]:
        written = line(length)
        return lambda: where.ask("GET", "/flags/banner", cookie=written)

    return Shape(shortest, make)


@contextmanager
def console_shapes() -> Iterator[Mapping[str, Shape]]:
    """Those of the console, which has an event loop."""
    with console() as where:
        where.begin()
        name = where.sessions.cookie
        yield {
            "console: a cookie of backslashes": _got(where, lambda n: 'a="' + '\\"' * n + '"', 2000),
            "console: a session of backslashes": _got(where, lambda n: f'{name}="' + '\\"' * n + '"', 200),
            "console: many sessions": _got(where, lambda n: f"{name}=a.b.c; " * n, 200),
            "console: many fields": _sent(where, lambda n: {f"x{each}": "" for each in range(n)}, 200),
            "console: a long reason": _sent(where, lambda n: {"reason": "&<" * n}, 4000),
            "console: a long name": _sent(where, lambda n: {"name": "-" * n}, 4000),
            "console: many deputies": _sent(where, lambda n: {"deputies": ",".join(map(str, range(n)))}, 300),
            "console: many stages": _sent(where, lambda n: {f"stages-{i}-name": f"s{i}" for i in range(n)}, 12),
            "console: nested lists": _sent(where, lambda n: {"deny": "[" * n}, 400),
            "console: a dotted key": _sent(where, lambda n: {"deny": "{" + "a." * n + "b = 1}"}, 200),
            "console: dotted keys in each stage": _sent(
                where, lambda n: {f"stages-{i}-audience": "{" + "a." * 1500 + "b = 1}" for i in range(n)}, 6
            ),
            "console: a number of digits": _sent(where, lambda n: {"stages-1-share": "9" * n}, 4000),
            "console: a number's exponent": _sent(where, lambda n: {"stages-1-share": "1e" + "9" * n}, 4000),
        }


SHAPES: Final[Mapping[str, Shape]] = {**_DOCUMENTS, **_AUDIENCES, **_REQUESTS}


def main() -> None:
    """Print a table."""
    print("| input | CPU at 1 | at 8 times the length | exponent |\n|---|---|---|---|")
    with console_shapes() as more:
        for name, shape in {**SHAPES, **more}.items():
            found = measured(shape)
            first, last = (1000 * found.seconds[index] for index in (0, -1))
            print(f"| {name} | {first:.2f} ms | {last:.2f} ms | {found.exponent:.2f} |", flush=True)


if __name__ == "__main__":
    main()
