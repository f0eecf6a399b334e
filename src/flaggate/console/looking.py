"""Pages to look at: the board, one flag, and who has it."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from flaggate.console.asked import Asked
from flaggate.console.board import Need, board
from flaggate.console.page import page

__all__ = ["all_flags", "one_flag", "who_has_it"]

_MOST_SPARKS: Final = 100
"""Of those that need somebody most."""


def all_flags(asked: Asked) -> Response:
    """All flags."""
    query = asked.request.query_params
    words, owner = query.get("q", ""), query.get("owner", "")
    seen = asked.site.seen()
    tiles = board(seen, words=words, owner=owner)
    lively = [tile.name for tile in tiles if tile.need <= Need.RUNNING]
    return asked.html(
        "board.html",
        tiles=tiles,
        sparks=asked.site.sparks.of(lively[:_MOST_SPARKS], seen.rows, seen.now),
        words=words,
        owner=owner,
        all_of_them=len(seen.rows),
        url=asked.site.store.url,
    )


def one_flag(asked: Asked) -> Response:
    """One of them."""
    seen, one = asked.one()
    return asked.html(
        "flag.html", page=page(asked.site.store, seen, one, asked.person, is_read_only=asked.site.is_read_only)
    )


def who_has_it(asked: Asked) -> Response:
    """Whether somebody has it, and why."""
    from flaggate.console.who import asked_about, trace

    _, one = asked.one()
    fields = dict(asked.request.query_params)
    context, problem = asked_about(fields)
    explanation = None if context is None or not fields else trace(asked.site.store, one, context)
    return asked.html("who.html", name=one.flag.name, fields=fields, explanation=explanation, problem=problem)
