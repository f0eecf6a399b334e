"""What of a project's responses is counted, and what is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from typing import Any
from wsgiref.util import FileWrapper

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient
from django.urls import path

from flaggate.contrib.django import aflags_from, feature_required, flags_from, gate
from tests.contrib.django.scenes import ShopBoard, client_of, get_async, got, kill
from tests.contrib.django.shop.urls import urlpatterns as shop_paths
from tests.runtime.guarded import WHOLE, begin
from tests.runtime.scenes import until
from tests.web.scenes import http_environ, http_scope

pytestmark = [pytest.mark.urls("tests.contrib.django.test_counting"), pytest.mark.django_db]


REACHED: list[int] = []


@feature_required("banner")
def answers(request: HttpRequest, status: int) -> HttpResponse:
    if status == 404:
        raise Http404
    if status == 500:
        raise LookupError
    if status == 0:
        raise SystemExit(3)
    return HttpResponse("said", status=status)


async def answers_async(request: HttpRequest, status: int) -> HttpResponse:
    flags = await aflags_from(request, "banner")
    flags["banner"]
    if status == 500:
        raise LookupError
    if status == 0:
        REACHED.append(status)
        await asyncio.Event().wait()
    return HttpResponse("said", status=status)


def stream(request: HttpRequest, kind: str) -> StreamingHttpResponse:
    """Two parts: a flag is asked before and in each."""
    flags = flags_from(request)
    flags["banner"]

    def parts() -> Iterator[str]:
        yield f"{flags['banner']} {gate().is_on('banner')} "
        if kind == "fails":
            raise LookupError
        kill("banner")
        yield f"{flags['banner']} {gate().is_on('banner')}"

    return StreamingHttpResponse(parts(), headers={"ETag": '"one"'})


async def stream_async(request: HttpRequest, kind: str) -> StreamingHttpResponse:
    flags = await aflags_from(request, "banner")
    flags["banner"]

    async def parts() -> AsyncIterator[str]:
        yield f"{flags['banner']} {gate().is_on('banner')} "
        if kind == "fails":
            raise LookupError
        if kind == "waits":
            await asyncio.Event().wait()
        yield f"{flags['banner']} {gate().is_on('banner')}"

    return StreamingHttpResponse(parts(), headers={"ETag": '"one"'})


def generated_file(request: HttpRequest) -> FileResponse:
    flags_from(request)["banner"]
    return FileResponse(iter(["a", "b"]))


def late(request: HttpRequest) -> StreamingHttpResponse:
    """Asks when the headers are gone."""
    return StreamingHttpResponse(f"{flags_from(request)['local']}" for _ in range(1))


def file(request: HttpRequest) -> FileResponse:
    flags_from(request)["banner"]
    return FileResponse(BytesIO(b"%PDF"), filename="invoice.pdf")


def fails_for(request: HttpRequest, is_known: int) -> HttpResponse:
    assert flags_from(request)["checkout"]
    if is_known:
        request.user.get_username()
    raise LookupError


async def fails_for_async(request: HttpRequest, is_known: int) -> HttpResponse:
    assert (await aflags_from(request, "checkout"))["checkout"]
    if is_known:
        await request.auser()
    raise LookupError


urlpatterns = [
    *shop_paths,
    path("answers/<int:status>", answers),
    path("aanswers/<int:status>", answers_async),
    path("streams/<kind>", stream),
    path("astreams/<kind>", stream_async),
    path("generated", generated_file),
    path("late", late),
    path("fails-for/<int:is_known>", fails_for),
    path("fails-for-async/<int:is_known>", fails_for_async),
    path("pdf", file),
]


def replaces(get_response: Any) -> Any:
    """A middleware of the shop's, which sends another response."""

    def middleware(request: HttpRequest) -> HttpResponse:
        get_response(request)
        return HttpResponse("replaced", status=503)

    return middleware


def breaks(get_response: Any) -> Any:
    """One that fails when the response was made."""

    def middleware(request: HttpRequest) -> HttpResponse:
        get_response(request)
        raise LookupError

    return middleware


def timed(board: ShopBoard) -> int:
    """So many requests have a time."""
    board.gate.flush()
    return sum(sum(count.histogram.values()) for count in board.store.counts("banner"))


@pytest.fixture
def banner(board: ShopBoard) -> ShopBoard:
    board.on("banner")
    return board


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["", "a"])
def test_failures_are_counted(banner: ShopBoard, kind: str) -> None:
    for status in (200, 404, 503, 500):
        answer = client_of().get if not kind else get_async
        assert answer(f"/{kind}answers/{status}").status_code == status
    assert banner.counted("banner") == {"on": (4, 2)}
    assert timed(banner) == 4


def test_the_projects_own_404_counts_as_none(board: ShopBoard) -> None:
    assert client_of().get("/answers/200").status_code == 404
    assert board.counted("banner") == {"off": (1, 0)}


def test_a_worker_that_is_ended_has_failed(banner: ShopBoard) -> None:
    with pytest.raises(SystemExit):
        client_of().get("/answers/0")
    assert banner.counted("banner") == {"on": (1, 1)}


@pytest.mark.parametrize("is_propagated", [False, True])
def test_exceptions_that_the_project_passes_on(banner: ShopBoard, settings: Any, is_propagated: bool) -> None:
    settings.DEBUG_PROPAGATE_EXCEPTIONS = is_propagated
    client = client_of()
    client.raise_request_exception = True
    with pytest.raises(LookupError):
        client.get("/answers/500")
    assert banner.counted("banner") == {"on": (1, 1)}
    assert not gate().is_on("banner") or gate().current.get() is None


# --- streams and files --------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/streams/fine", "/astreams/fine"])
def test_a_stream_is_one_visit_and_counted_without_a_time(banner: ShopBoard, url: str) -> None:
    client = client_of() if url[1] == "s" else AsyncClient()
    text = read(client, url)
    assert text == b"True True True True"
    assert banner.counted("banner") == {"on": (1, 0)}
    assert timed(banner) == 0
    assert gate().current.get() is None


def read(client: Any, url: str) -> bytes:
    if not isinstance(client, AsyncClient):
        return b"".join(client.get(url).streaming_content)

    async def reading() -> bytes:
        response: Any = await client.get(url)
        parts = [part async for part in response.streaming_content]
        response.close()
        return b"".join(parts)

    return async_to_sync(reading)()


@pytest.mark.parametrize("url", ["/streams/fails", "/astreams/fails"])
def test_a_stream_that_fails_in_the_midst(banner: ShopBoard, url: str) -> None:
    with pytest.raises(LookupError):
        read(client_of() if url[1] == "s" else AsyncClient(), url)
    assert banner.counted("banner") == {"on": (1, 1)}


@pytest.mark.parametrize("taken", [0, 1])
def test_a_client_that_leaves_is_not_counted(banner: ShopBoard, taken: int) -> None:
    response: Any = client_of().get("/streams/fine")
    parts = iter(response.streaming_content)
    for _ in range(taken):
        next(parts)
    response.close()
    response.close()
    assert banner.counted("banner") == ({"on": (0, 0)} if taken == 0 else {})


def test_nobody_takes_the_body_of_a_head(banner: ShopBoard) -> None:
    response: Any = client_of().head("/streams/fine")
    response.close()
    assert banner.counted("banner") == {"on": (1, 0)}


def test_a_stream_asked_for_by_the_other_kind_of_server(banner: ShopBoard) -> None:
    """Django takes it whole, and warns."""
    with pytest.warns(Warning, match="must consume asynchronous iterators"):
        assert b"".join(client_of().get("/astreams/fine")) == b"True True True True"
    assert banner.counted("banner") == {"on": (1, 0)}


def test_what_is_asked_after_the_headers_were_made_is_said(board: ShopBoard, caplog: pytest.LogCaptureFixture) -> None:
    board.on("local")
    response: Any = client_of().get("/late")
    assert b"".join(response.streaming_content) == b"False"
    assert "flag 'local' is asked after the headers were sent: caches are told nothing of it" in caplog.text
    assert board.counted("local") == {"off": (1, 0)}


def test_a_file_is_handed_to_the_server_as_it_is(banner: ShopBoard) -> None:
    body = WSGIHandler()(http_environ("/pdf") | {"wsgi.file_wrapper": FileWrapper}, lambda *_: lambda _: None)
    assert isinstance(body, FileWrapper)
    assert b"".join(body) == b"%PDF"
    body.close()
    response: Any = client_of().get("/pdf")
    assert b"".join(response.streaming_content) == b"%PDF"
    assert banner.counted("banner") == {"on": (2, 0)}
    assert timed(banner) == 0


def test_a_file_that_is_made_while_it_is_sent_is_a_stream(banner: ShopBoard) -> None:
    response: Any = client_of().get("/generated")
    assert banner.counted("banner") == {}
    assert response.getvalue() == b"ab"
    assert banner.counted("banner") == {"on": (1, 0)}


# --- on an event loop ---------------------------------------------------------------------------


async def leave(path: str, parts: int) -> None:
    """A client that leaves after so many parts."""
    communicator: Any = ApplicationCommunicator(ASGIHandler(), http_scope(path))  # type: ignore[no-untyped-call]  # it has no types
    await communicator.send_input({"type": "http.request", "body": b""})
    for _ in range(parts):
        await communicator.receive_output(10)
    if parts == 0:
        await asyncio.to_thread(until, lambda: REACHED, "the view waits")
    await communicator.send_input({"type": "http.disconnect"})
    await communicator.wait(10)


@pytest.mark.parametrize(
    ("url", "parts", "counted"),
    [("/aanswers/0", 0, {"on": (0, 0)}), ("/astreams/waits", 2, {})],
)
def test_a_client_that_leaves_an_async_view(
    banner: ShopBoard, url: str, parts: int, counted: dict[str, tuple[int, int]]
) -> None:
    REACHED.clear()
    async_to_sync(leave)(url, parts)
    assert banner.counted("banner") == counted


# --- middleware outside -------------------------------------------------------------------------


@pytest.mark.parametrize("outer", ["replaces", "breaks"])
@pytest.mark.parametrize("url", ["/answers/200", "/streams/fine", "/astreams/fine", "/pdf"])
def test_what_a_middleware_outside_replaces_is_counted_as_the_view_answered(
    banner: ShopBoard, settings: Any, url: str, outer: str
) -> None:
    """And at once: a stream that nobody sends is not taken for one that hangs."""
    settings.MIDDLEWARE = [f"tests.contrib.django.test_counting.{outer}", *settings.MIDDLEWARE]
    assert client_of().get(url).status_code == (503 if outer == "replaces" else 500)
    assert banner.counted("banner") == {"on": (1, 0)}


def test_a_stream_that_the_browser_has_already(banner: ShopBoard, settings: Any) -> None:
    settings.MIDDLEWARE = ["django.middleware.http.ConditionalGetMiddleware", *settings.MIDDLEWARE]
    for _ in range(3):
        assert client_of().get("/streams/fine", headers={"If-None-Match": '"one"'}).status_code == 304
    assert banner.counted("banner") == {"on": (3, 0)}


def test_a_stream_that_is_compressed(banner: ShopBoard, settings: Any) -> None:
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    response = client_of().get("/streams/fine", headers={"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.getvalue()
    assert banner.counted("banner") == {"on": (1, 0)}


def test_what_is_asked_by_a_middleware_outside(banner: ShopBoard, settings: Any) -> None:
    """Afterwards it is answered as things stand, and not counted."""
    settings.MIDDLEWARE = ["tests.contrib.django.test_counting.asks_outside", *settings.MIDDLEWARE]
    assert got(client_of().get("/ask/local")) == (200, "False True False")
    assert banner.counted("banner") == {}
    assert gate().current.get() is None


def asks_outside(get_response: Any) -> Any:
    def middleware(request: HttpRequest) -> HttpResponse:
        before = flags_from(request)["banner"]
        response: HttpResponse = get_response(request)
        kill("banner")
        response.content += f" {before} {flags_from(request)['banner']}".encode()
        return response

    return middleware


# --- whom it hit --------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["fails-for", "fails-for-async"])
@pytest.mark.parametrize(("is_known", "units"), [(1, 1), (0, 2)], ids=["known", "not known"])
def test_whom_a_failure_hit(
    banner: ShopBoard, ada: User, url: str, is_known: int, units: int, django_assert_num_queries: Any
) -> None:
    """Where no rule had to know the user, he is told by what the project itself has looked up."""
    begin(banner.store, WHOLE)
    banner.gate.refresh()
    client = client_of(ada)
    for _ in range(2):
        with django_assert_num_queries(is_known):
            assert client.get(f"/{url}/{is_known}").status_code == 500
    banner.gate.flush()
    (hit,) = (one for one in banner.store.units("checkout", 1, 1) if (one.metric, one.span) == ("errors", 0))
    assert (hit.units, hit.bad) == (units, 2)


def test_a_failure_of_somebody_who_is_not_signed_in(banner: ShopBoard) -> None:
    begin(banner.store, WHOLE)
    banner.gate.refresh()
    for _ in range(2):
        assert client_of().get("/fails-for/1").status_code == 500
    banner.gate.flush()
    (hit,) = (one for one in banner.store.units("checkout", 1, 1) if (one.metric, one.span) == ("errors", 0))
    assert (hit.units, hit.bad) == (2, 2)
