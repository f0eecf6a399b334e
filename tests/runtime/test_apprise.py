"""Reading Apprise's configurations, sending by them, and keeping what is secret in them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaggate.errors import SettingError
from flaggate.runtime.apprise import Loaded, Service, load
from flaggate.runtime.sender import UNANSWERED
from tests.runtime.notice_scenes import Mailbox, Target, configure
from tests.runtime.scenes import until


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.stop()


def loaded(path: Path, text: str) -> Loaded:
    path.write_text(text)
    return load(path)


def refused(path: Path, text: str) -> str:
    with pytest.raises(SettingError) as caught:
        loaded(path, text)
    assert caught.value.setting == "notify"
    assert caught.value.value == str(path)
    return caught.value.allowed


def test_tags_may_be_addresses(tmp_path: Path, target: Target) -> None:
    config = configure(tmp_path / "apprise.yml", {target.url(): "Ada@Example.com, oncall"})
    (service,) = load(config).services
    assert [service.reaches(tag) for tag in ("ada@example.com", "ADA@example.com", "oncall", "all")] == [True] * 4
    assert [service.reaches(tag) for tag in ("ada", "example.com", "grace", "ada@example.com, oncall", "")] == [
        False
    ] * 5


def test_always_is_for_whatever_recipient(tmp_path: Path, target: Target) -> None:
    config = configure(tmp_path / "apprise.yml", {target.url("a"): "always", target.url("b"): "oncall"})
    assert [service.reaches("ada") for service in load(config).services] == [True, False]


def test_a_service_that_is_there_twice_is_one(tmp_path: Path) -> None:
    """With the tags of both, and of Apprise's groups; others of the same place are numbered."""
    text = "oncall=json://localhost:1/a\nops=json://localhost:1/a\nx=json://localhost:1/b\nteam = oncall, x\n"
    services = loaded(tmp_path / "apprise.conf", text).services
    assert [(service.name, set(service.tags)) for service in services] == [
        ("json://localhost:1", {"oncall", "ops", "team"}),
        ("json://localhost:1 (2)", {"x", "team"}),
    ]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (
            "json://ada:geheim@hooks.example.com:8080/T0/geheim?+X-Key=geheim&:key=geheim",
            "json://hooks.example.com:8080",
        ),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops", "slack://****"),
        ("ntfy://geheim-topic", "ntfys://****"),
        ("ntfys://ntfy.sh/geheim", "ntfys://ntfy.sh"),
        ("ifttt://geheim@Geheim/", "ifttt://****"),
        ("json://hooks:8080/x", "json://****:8080"),
        ("json://127.0.0.1/x", "json://127.0.0.1"),
        ("json://[::1]:8080/x", "json://[::1]:8080"),
        ("json://localhost:8080/x", "json://localhost:8080"),
        ("mailtos://ada:geheim@example.com", "mailtos://example.com"),
    ],
)
def test_its_name_tells_no_secret(tmp_path: Path, url: str, name: str) -> None:
    (service,) = load(configure(tmp_path / "apprise.yml", {url: "ops"})).services
    assert service.name == name


@pytest.mark.parametrize("name", ["a b.yml", "ä%41?.yml", "#1.yml", "apprise.yaml", "a+b&c=d.yml"])
def test_any_name_of_a_file_will_do(tmp_path: Path, target: Target, name: str) -> None:
    assert len(load(configure(tmp_path / name, {target.url(): "ops"})).services) == 1


def test_what_apprise_refuses_is_said_by_its_place_only(tmp_path: Path) -> None:
    """Its own words quote the line, with the password."""
    lines = "json://fine.example.com\nslack://geheim\nbogus://ada:geheim@x\n"
    assert loaded(tmp_path / "a.conf", lines).refused == "Apprise refuses line 2"
    entries = "urls:\n  - json://fine.example.com\n  - geheim\n  - slack://geheim\n"
    assert loaded(tmp_path / "a.yml", entries).refused == "Apprise refuses entry 2, 3"
    some = "urls:\n  - json://fine.example.com\n  - bogus://geheim\n"
    assert loaded(tmp_path / "a.yml", some).refused == "Apprise refuses some of it"
    assert loaded(tmp_path / "a.yml", "urls:\n  - json://fine.example.com\n").refused is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no service is in it)"),
        ("urls: [", "no service is in it)"),
        ("urls:\n  - geheim\n", "no service is in it; Apprise refuses entry 1)"),
    ],
)
def test_a_file_without_a_service_is_refused(tmp_path: Path, text: str, why: str) -> None:
    said = refused(tmp_path / "apprise.yml", text)
    assert said == f"the file of an Apprise configuration, such as apprise.yml ({why}"


def test_an_address_as_tag_needs_yaml(tmp_path: Path) -> None:
    assert "line 1" in refused(tmp_path / "apprise.conf", "ada@example.com=json://geheim.example.com\n")


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="No such file"):
        load(tmp_path / "gone.yml")
    (tmp_path / "latin.yml").write_bytes(b"\xe4")
    with pytest.raises(SettingError, match="utf-8"):
        load(tmp_path / "latin.yml")


# --- sending ----------------------------------------------------------------------------------


def only(path: Path, url: str) -> Service:
    (service,) = load(configure(path, {url: "ops"})).services
    return service


def test_a_message_arrives_as_it_is(tmp_path: Path, target: Target) -> None:
    service = only(tmp_path / "apprise.yml", target.url("T0/geheim"))
    body = "By ada <ada@example.com> & co\nstages.tenth.share: 10 -> 5\n:smile: \\n ${HOME} *so*"
    assert service.send("invoicing: <rolled back>", body, "failure") is None
    assert target.heard == [("/T0/geheim", "invoicing: <rolled back>", body, "failure")]


def test_a_mail_keeps_its_lines(tmp_path: Path, mailbox: Mailbox) -> None:
    """Apprise would make one of them, without the plain text's own format."""
    url = f"mailto://127.0.0.1:{mailbox.port}/?from=flags@example.com&to=ada@example.com&mode=insecure"
    assert only(tmp_path / "apprise.yml", url).send("invoicing: killed", "One <b>.\nTwo.", "failure") is None
    ((to, mail),) = mailbox.mails
    assert (to, mail["Subject"]) == (["ada@example.com"], "invoicing: killed")
    assert mail.get_body(("plain",)).get_content().splitlines() == ["One <b>.", "Two."]  # type: ignore[union-attr]  # it has one


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_refusal_is_told_by_its_number(tmp_path: Path, target: Target, status: int) -> None:
    target.status = status
    assert only(tmp_path / "apprise.yml", target.url()).send("a", "b", "info") == f"it answered {status}"


def test_nobody_there(tmp_path: Path, target: Target) -> None:
    service = only(tmp_path / "apprise.yml", target.url("geheim"))
    target.stop()
    assert service.send("a", "b", "info") == "it could not be reached, did not answer in time, or refused to talk"


def test_a_service_may_take_longer_than_apprise_waits(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four seconds, made short here: whoever answers later has heard it."""
    monkeypatch.setattr("apprise.URLBase.socket_read_timeout", 0.01)
    service = only(tmp_path / "apprise.yml", f"{target.place}/?cto=60")
    target.is_open.clear()
    found: list[str | None] = []
    sends = threading.Thread(target=lambda: found.append(service.send("a", "b", "info")))
    sends.start()
    until(lambda: target.asked == 1, "it was asked")
    sends.join(0.2)
    assert found == [], "it waits on"
    target.is_open.set()
    sends.join(60)
    assert (found, target.titles) == ([None], ["a"])


def test_a_mail_server_may_take_as_long(tmp_path: Path) -> None:
    """Apprise has one limit for mail, which counts for each answer."""
    made = [only(tmp_path / "a.yml", f"mailto://a:b@localhost/?to=c@d.de{more}") for more in ("", "&cto=3")]
    assert [service._sends.socket_connect_timeout for service in made] == [28.0, 3.0]


def test_what_was_asked_and_not_answered_is_told_from_what_was_not_reached(tmp_path: Path, target: Target) -> None:
    service = only(tmp_path / "apprise.yml", f"{target.place}/?rto=0.05&cto=60")
    target.is_open.clear()
    assert service.send("a", "b", "info") == UNANSWERED
    assert target.asked == 1


def test_its_key_is_the_same_wherever_it_stands_and_another_in_each_store(tmp_path: Path) -> None:
    one, two = "json://localhost/one", "json://localhost/two"
    before = load(configure(tmp_path / "a.yml", {one: "ada", two: "grace"}), "store").services
    after = load(configure(tmp_path / "a.yml", {two: "grace", one: "ada, oncall"}), "store").services
    other = load(configure(tmp_path / "a.yml", {one: "ada", two: "grace"}), "another").services
    assert [service.key for service in before] == [service.key for service in reversed(after)]
    assert len({service.key for service in (*before, *other)}) == 4


def test_a_plugin_that_fails_tells_no_more_than_its_kind(tmp_path: Path) -> None:
    service = only(tmp_path / "apprise.yml", "json://localhost")
    broken = Service(service.name, service.key, service.tags, object())
    assert broken.send("a", "b", "info") == "AttributeError in Apprise"


def test_what_apprise_does_not_explain(tmp_path: Path, target: Target) -> None:
    assert only(tmp_path / "apprise.yml", target.url()).send("", "", "info") == "Apprise could not send it"


def test_no_log_tells_a_secret(tmp_path: Path, target: Target, caplog: pytest.LogCaptureFixture) -> None:
    """Not even to somebody who listens to everything."""
    caplog.set_level(1)
    for logger in ("apprise", "urllib3", "urllib3.connectionpool"):
        logging.getLogger(logger).setLevel(1)
    config = configure(tmp_path / "apprise.yml", {target.url("geheim", "+X-Key=geheim"): "ops"})
    config.write_text(config.read_text() + "  - bogus://geheim\n")
    (service,) = load(config).services
    for status in (200, 401):
        target.status = status
        service.send("a", "b", "info")
    target.stop()
    service.send("a", "b", "info")
    assert "geheim" not in caplog.text
    assert "geheim" not in repr(service)


def test_the_app_still_hears_what_apprise_says_to_it(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("apprise").warning("for the app")
    assert "for the app" in caplog.text


def test_what_the_file_includes_is_left_out(tmp_path: Path, target: Target) -> None:
    """It could be somewhere in the network."""
    configure(tmp_path / "more.yml", {target.url("more"): "ops"})
    path = tmp_path / "apprise.yml"
    services = loaded(path, f"include: more.yml\nurls:\n  - {target.url('own')}:\n      tag: ops\n").services
    assert len(services) == 1
