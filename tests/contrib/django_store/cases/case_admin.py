"""In the admin: what everybody may see, and the acts that each may do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings

from flaggate.contrib.django import models, project
from flaggate.contrib.django.store import DjangoStore
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.runtime.gate import Gate
from flaggate.stores.record import read_flag
from tests.runtime.scenes import FLAGS

LIST = "/admin/flaggate/row/"
TAKES_OUT = {Verb.PAUSE, Verb.STEP_BACK, Verb.ROLLBACK, Verb.OFF, Verb.KILL}
PLANNED = """
[flags.planned]
description = "A rollout with all that a plan may say"
owner = "owner@example.com"
deny = { account = ["acme-de"] }
stages = [
    { name = "some", audience = { city = "Leeds" }, share = 50, soak = "24h", approval = true },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]
"""
ASKED = """
[flags.asked]
description = "A rollout that somebody has to approve"
owner = "owner@example.com"
stages = [
    { name = "some", share = 50, approval = true },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]
"""


@pytest.fixture
def gate(store: DjangoStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The project's, on its database as outside of tests."""
    gate = Gate(store, background=False)
    monkeypatch.setitem(project._made, "gate", gate)
    Control(store).apply(parse(FLAGS), actor="apply@example.com")
    gate.refresh()
    yield gate
    gate.close()


def _client(*rights: str, name: str = "ada") -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="flaggate", codename__in=rights))
    client = Client()
    client.force_login(user)
    return client


def _page(name: str, view: str = "change") -> str:
    return f"{LIST}{models.Row.objects.get(kind='flag', name=name).pk}/{view}/"


def _act(client: Client, name: str, verb: Verb, **words: str) -> Any:
    version = models.Row.objects.get(name=name).version
    return client.post(_page(name, "act"), {"verb": verb.value, "version": version, **words}, follow=True)


def _text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_who_may_view_sees_flags_and_history_and_no_button(gate: Gate) -> None:
    client = _client("view_row")
    listed = _text(client, LIST)
    assert "draft" in listed
    assert "A rollout that starts with half of everyone" in listed
    assert "Add flag" not in listed
    page = _text(client, _page("half"))
    assert "50 % of everyone" in page
    assert "apply@example.com" in page
    assert 'name="verb"' not in page
    assert client.get(_page("half", "delete")).status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.get(_page("half", "act")).status_code == 405
    for verb in Verb:
        assert _act(client, "banner", verb, reason="no right").status_code == 403
    assert len(gate.store.history("banner")) == 1


def _row(label: str, words: str) -> str:
    return f'<th scope="row">{label}</th><td>{words}</td>'


def test_the_page_says_what_status_says(gate: Gate) -> None:
    client, control = _client("view_row"), Control(gate.store)
    control.apply(parse(PLANNED), actor="owner@example.com")
    page = _text(client, _page("planned"))
    assert _row("has it now", "nobody") in page
    assert _row("deny", "account acme-de") in page
    assert _row("waits for", "start") in page
    for verb in (Verb.OWNER_ACCEPT, Verb.START):
        control.act(verb, "planned", actor="owner@example.com")
    page = _text(client, _page("planned"))
    assert _row("has it now", "50 % of city Leeds, never account acme-de") in page
    assert "1  here  some: 50 % of city Leeds; soak 24h, approval" in page
    assert _row("next", "everyone, no earlier than ").removesuffix("</td>") in page
    assert "soak 0 s of 24 h" in page
    assert "<td>approval; ends it: somebody approves</td>" in page
    assert "status draft -&gt; running" in page
    assert '<th scope="row">legal now</th>' not in page


@pytest.mark.parametrize("has_zones", [True, False])
def test_times_are_on_the_projects_clock_and_say_so(gate: Gate, has_zones: bool) -> None:
    client = _client("view_row")
    at = gate.store.history("half")[0].at
    with override_settings(USE_TZ=has_zones, TIME_ZONE="Asia/Tokyo"):
        assert f"<td>{at.astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%d %H:%M:%S} JST</td>" in _text(client, _page("half"))


def test_a_flags_history_is_on_its_page_and_who_is_not_there_has_none(gate: Gate) -> None:
    client = _client("view_row")
    assert client.get(_page("half", "history"), follow=True).redirect_chain == [(_page("half"), 302)]
    for view in ("change", "history"):
        response = client.get(f"{LIST}{models.Row.objects.latest('pk').pk + 1}/{view}/", follow=True)
        assert response.status_code == 404
    row, event = models.Row.objects.get(name="half"), models.Event.objects.get(name="half")
    assert (str(row), str(event)) == ("half", f"{event.at} apply@example.com apply half")


def test_who_has_no_right_sees_nothing(gate: Gate) -> None:
    client = _client()
    assert client.get(LIST).status_code == 403
    assert client.get(_page("half")).status_code == 403
    assert "/flaggate/" not in _text(client, "/admin/")


def test_who_may_kill_kills_in_one_step_and_cannot_undo_it(gate: Gate) -> None:
    """This process serves it with the answer."""
    Control(gate.store).act(Verb.ON, "banner", actor="owner@example.com")
    gate.refresh()
    gate.ready = gate.begun()
    assert gate.is_on("banner")
    client = _client("kill")
    assert 'value="kill"' in _text(client, _page("banner"))
    assert "Kill of banner: done" in _act(client, "banner", Verb.KILL, reason="it hurts").content.decode()
    assert not gate.is_on("banner")
    (event,) = gate.store.history("banner")[-1:]
    assert (event.verb, event.actor, event.reason) == ("kill", "ada", "it hurts")
    assert _act(client, "banner", Verb.UNKILL, reason="again").status_code == 403
    assert 'value="unkill"' not in _text(client, _page("banner"))


@pytest.mark.parametrize(
    ("right", "verbs"),
    [
        ("advance", set(Verb) - {Verb.APPROVE, Verb.UNKILL}),
        ("approve", {Verb.APPROVE, Verb.KILL}),
        ("roll_back", TAKES_OUT),
        ("kill", {Verb.KILL}),
        ("unkill", {Verb.KILL, Verb.UNKILL}),
    ],
)
def test_less_exposure_needs_fewer_rights(gate: Gate, right: str, verbs: set[Verb]) -> None:
    """What is allowed may still be refused for where the flag stands; then the page says so."""
    client = _client(right)
    may = {verb for verb in Verb if _act(client, "banner", verb, reason="to see").status_code == 200}
    assert may == verbs


def test_who_may_approve_approves_and_moves_nothing(gate: Gate) -> None:
    """A button where a stage waits for it; who may advance only has none."""
    owner = "owner@example.com"
    control = Control(gate.store)
    control.apply(parse(ASKED), actor=owner)
    client, other = _client("approve"), _client("advance", name="grace")
    assert 'value="approve"' not in _text(client, _page("asked"))
    control.act(Verb.OWNER_ACCEPT, "asked", actor=owner)
    control.act(Verb.START, "asked", actor=owner)
    assert 'value="approve"' in _text(client, _page("asked"))
    assert 'value="approve"' not in _text(other, _page("asked"))
    assert _act(other, "asked", Verb.APPROVE).status_code == 403
    assert "Approve of asked: done" in _act(client, "asked", Verb.APPROVE).content.decode()
    (event,) = gate.store.history("asked")[-1:]
    assert (event.verb, event.actor) == ("approve", "ada")
    rollout = read_flag(gate.store, "asked").rollout
    assert (rollout.stage, rollout.approval is not None) == (1, True)
    assert 'value="approve"' not in _text(client, _page("asked"))


def test_an_act_that_is_refused_says_why(gate: Gate) -> None:
    """Illegal now, without its reason, or overtaken since the page was made."""
    client = _client("advance", "unkill")
    assert "nobody answers for it" in _act(client, "half", Verb.START).content.decode()
    response = client.post(_page("banner", "act"), {"verb": "on", "version": 7}, follow=True)
    assert "was changed meanwhile" in response.content.decode()
    for words in ({"verb": "explode", "version": 1}, {"verb": "on"}, {"verb": "on", "version": "x"}):
        assert client.post(_page("banner", "act"), words).status_code == 404
    assert len(gate.store.history("banner")) == 1


def test_enter_in_the_reason_does_nothing(gate: Gate) -> None:
    """It presses the first button of a form, which is no act: a browser presses none that is disabled, and no other."""
    _, _, form = _text(_client("kill", "advance"), _page("banner")).partition('/act/">')
    first, *rest = re.findall(r"<button[^>]*>", form)
    assert first == '<button type="submit" disabled hidden>'
    assert 'name="verb"' in rest[0]


def test_an_owner_is_not_named_here(gate: Gate) -> None:
    """It takes a name, for which the page has no field: there is no button, and the act names nobody."""
    client = _client("advance")
    assert 'value="owner accept"' in _text(client, _page("half"))
    assert 'value="owner set"' not in _text(client, _page("half"))
    assert "nothing was written" in _act(client, "half", Verb.OWNER_SET).content.decode()
    assert len(gate.store.history("half")) == 1


def test_a_flag_that_cannot_be_read_hides_no_other_and_can_be_killed(gate: Gate) -> None:
    models.Row.objects.filter(name="banner").update(document='{"flag": 7}')
    client = _client("kill")
    assert "cannot be read" in _text(client, LIST)
    assert 'value="kill"' in _text(client, _page("banner"))


def test_what_people_wrote_is_text(gate: Gate) -> None:
    client = _client("kill")
    _act(client, "banner", Verb.KILL, reason="<script>alert(1)</script>")
    assert "<script>alert" not in _text(client, _page("banner"))


def test_a_form_of_another_site_does_nothing(gate: Gate) -> None:
    client = _client("kill")
    client.handler.enforce_csrf_checks = True
    assert _act(client, "banner", Verb.KILL).status_code == 403
    assert len(gate.store.history("banner")) == 1


def test_a_store_that_is_elsewhere_is_not_shown(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables may be there all the same, and say nothing."""
    client = _client("view_row")
    project.forget()
    assert client.get(LIST).status_code == 403
    assert client.get(_page("half")).status_code == 403
