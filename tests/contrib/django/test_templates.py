"""What templates ask, in Django's own language and in Jinja2."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import Context, Template, TemplateSyntaxError, engines
from django.template.loader import get_template, render_to_string
from django.test import RequestFactory
from django.urls import path

import flaggate
from flaggate.contrib.django import aflags_from, feature_required, flags_from, gate, templating
from tests.contrib.django.scenes import ShopBoard, client_of, get_async, kill

pytestmark = pytest.mark.urls("tests.contrib.django.test_templates")


def page(request: HttpRequest) -> HttpResponse:
    return render(request, "page.html", {"name": request.GET.get("name")})


def in_jinja(request: HttpRequest) -> HttpResponse:
    return render(request, "page.j2", using="jinja2")


async def page_async(request: HttpRequest) -> HttpResponse:
    await aflags_from(request)
    return render(request, "page.html")


def with_flags_of_the_request(request: HttpRequest) -> HttpResponse:
    text = "{{ request.flags.team }} {{ request.flags.second_banner }}"
    return HttpResponse(Template(text).render(Context({"request": request})))


@feature_required("team")
def agree(request: HttpRequest) -> HttpResponse:
    """A flag that is killed meanwhile is the same all over the request."""
    before = flags_from(request)["team"], gate().is_on("team")
    kill("team")
    rendered = render_to_string("part.html", request=request), render_to_string("part.html")
    return HttpResponse(f"{before} {rendered} {flags_from(request)['team']} {gate().is_on('team')}")


urlpatterns = [
    path("request-flags", with_flags_of_the_request),
    path("page", page),
    path("jinja", in_jinja),
    path("apage", page_async),
    path("agree", agree),
]


def rendered(text: str, **context: Any) -> str:
    return Template("{% load flaggate %}" + text).render(Context(context))


def test_the_flags_of_the_request_take_underscores(board: ShopBoard, ada: User) -> None:
    board.on("team")
    gate().refresh()
    assert client_of(ada).get("/request-flags").content == b"True False"
    assert "second-banner" in gate().health().unknown


def test_a_page_with_all_forms(board: ShopBoard, ada: User) -> None:
    board.on("team")
    assert client_of(ada).get("/page").content == b"<>True True yes  newnew\n".strip()
    assert client_of().get("/page").content == b"<>False False no  oldold"
    board.on("banner")
    assert client_of(ada).get("/page").content == b"<banner>True True yes named newnew"
    assert client_of(ada).get("/page?name=team").content == b"<banner>True True yes named newnew"
    assert client_of().get("/page?name=team").content == b"<banner>False False no  oldold"
    assert get_async("/apage", ada).content == b"<banner>True True yes named newnew"


def test_outside_of_a_request(board: ShopBoard) -> None:
    """For nobody, or for whom a visit is."""
    board.on("team", "banner")
    text = '{% feature "team" %}staff{% else %}nobody{% endfeature %} {% feature "banner" %}banner{% endfeature %}'
    assert rendered(text) == "nobody banner"
    with gate().visit(flaggate.Context(staff=True)):
        assert rendered(text) == "staff banner"


def test_view_template_and_gate_agree_while_a_kill_arrives(board: ShopBoard, ada: User) -> None:
    board.on("team")
    assert client_of(ada).get("/agree").content == b"(True, True) ('new', 'new') True True"
    assert client_of(ada).get("/agree").status_code == 404


def test_without_the_middleware_it_is_the_requests_user(board: ShopBoard) -> None:
    board.on("team")
    request = RequestFactory().get("/")
    request.user = User(pk=7, is_staff=True)
    assert page(request).content == b"<>True True yes  newnew"
    assert in_jinja(request).content == b"yes old new"  # a macro without its context knows no request
    request.user = User(pk=8)
    assert page(request).content == b"<>False False no  oldold"


# --- Django's language --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{% feature %}x{% endfeature %}",
        '{% feature "banner" "team" %}x{% endfeature %}',
        '{% feature "banner" as %}',
        '{% feature "banner" is on %}',
        '{% feature "banner" as on now %}',
    ],
)
def test_a_wrong_form_says_the_right_ones(text: str) -> None:
    allowed = r'allowed: \{% feature "new-invoicing" %\}, \{% feature "new-invoicing" as on %\}'
    with pytest.raises(TemplateSyntaxError, match=rf"^\{{% feature.*; {allowed}"):
        rendered(text)


@pytest.mark.parametrize("text", ['{% feature "new_banner" %}{% endfeature %}', "{% feature 'Banner' as on %}"])
def test_a_name_that_no_flag_can_have_is_said_at_once(text: str) -> None:
    with pytest.raises(TemplateSyntaxError, match=r"^\{% feature .*; allowed: the name of a flag: lower-case letters"):
        rendered(text)


@pytest.mark.parametrize("text", ['{% feature "banner" %}x', '{% feature "banner" %}x{% else %}y{% endif %}'])
def test_a_part_without_its_end_is_said_by_django(text: str) -> None:
    with pytest.raises(TemplateSyntaxError):
        rendered(text)


def test_a_variable_that_is_not_there_is_off_and_said(board: ShopBoard, caplog: pytest.LogCaptureFixture) -> None:
    assert rendered("{% feature missing %}x{% else %}y{% endfeature %}") == "y"
    assert "flag '' is not in memory://; it is off" in caplog.text
    assert rendered('{% feature "ban"|add:"ner" as on %}{{ on }}') == "False"


def test_a_block_inside_a_part_is_seen_by_those_who_extend_it(board: ShopBoard) -> None:
    base = Template(
        '{% load flaggate %}{% feature "banner" %}<{% block a %}{% endblock %}>{% else %}'
        "{% block b %}-{% endblock %}{% endfeature %}"
    )
    child = Template("{% extends base %}{% block a %}in{% endblock %}{% block b %}out{% endblock %}")
    assert child.render(Context({"base": base})) == "out"
    board.on("banner")
    assert child.render(Context({"base": base})) == "<in>"


# --- Jinja2 -------------------------------------------------------------------------------------


def test_jinja2_with_imported_macros(board: ShopBoard, ada: User) -> None:
    board.on("team")
    assert client_of(ada).get("/jinja").content == b"yes new new"
    assert client_of().get("/jinja").content == b"no old old"


def test_jinja2_without_a_request(board: ShopBoard) -> None:
    board.on("banner")
    template = engines["jinja2"].from_string('{{ feature("banner") }} {{ feature("team") }}')
    assert template.render() == "True False"
    assert template.render({"request": "a customer's"}) == "True False"
    assert get_template("page.j2").render() == "no old old"


def test_what_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'FeaturesExtension'"):
        templating.FeaturesExtension  # noqa: B018
