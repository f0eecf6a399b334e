"""Flags and their history in Django's admin: nothing to edit, and the acts that the user's permissions allow.

Only of a store in DATABASES: the admin shows tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.timezone import get_current_timezone

from flaggate.contrib.django import models as tables
from flaggate.contrib.django.project import gate
from flaggate.contrib.django.rights import rights_of
from flaggate.contrib.django.store import DjangoStore
from flaggate.errors import FlaggateError, ForbiddenError, UnreadableError
from flaggate.rollout.event_words import change_words
from flaggate.rollout.moves import legal_verbs
from flaggate.rollout.state import Event, Verb
from flaggate.rollout.words import answers, standing, who_has_it
from flaggate.runtime.overview import overview
from flaggate.runtime.rights import may
from flaggate.runtime.status_words import Reader, about
from flaggate.stores.columns import row_of
from flaggate.stores.record import Record, record_of

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Admin = ModelAdmin[tables.Row]
else:
    Admin = admin.ModelAdmin

__all__ = ["FlagAdmin"]

_EVENTS: Final = 100
_ELSEWHERE: Final = frozenset({"legal now", "last"})
"""Of what status says: the buttons, and the history."""


@admin.register(tables.Row)
class FlagAdmin(Admin):
    """Where the flags stand; one of them with its plan, its history, and what this user may do to it now."""

    list_display = ("name", "standing", "owner", "description")
    search_fields = ("name",)
    ordering = ("name",)
    actions = None

    # --- who may what -----------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002  # Django's
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002  # Django's
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002  # Django's
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002  # Django's
        """Also for those who may do something."""
        return _store() is not None and bool(rights_of(request))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    # --- looking ----------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[tables.Row]:
        store = _store()
        rows = super().get_queryset(request).filter(kind="flag", document__isnull=False)
        return rows.none() if store is None else rows.using(store.alias)

    def standing(self, row: tables.Row) -> str:
        """Where it stands."""
        record = _record(row)
        return record if isinstance(record, str) else standing(record.flag, record.rollout)

    def owner(self, row: tables.Row) -> str:
        """Who answers for it."""
        record = _record(row)
        return "" if isinstance(record, str) else answers(record.rollout)

    def description(self, row: tables.Row) -> str:
        """What it is for."""
        record = _record(row)
        return "" if isinstance(record, str) else record.flag.description

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002  # Django's
        extra_context: Any = None,
    ) -> HttpResponse:
        """One flag."""
        row = self._row(request, object_id)
        record = _record(row)
        readable = None if isinstance(record, str) else record
        events = _stored().history(row.name, limit=_EVENTS)
        context = {
            **self.admin_site.each_context(request),
            **(extra_context or {}),
            "opts": self.opts,
            "title": row.name,
            "row": row,
            "record": readable,
            "problem": record if readable is None else None,
            "standing": self.standing(row),
            "lines": () if readable is None else _lines(readable, events),
            "verbs": _verbs(request, readable),
            "events": _history(events),
        }
        return TemplateResponse(request, "flaggate/admin_flag.html", context)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:  # noqa: ARG002  # Django's
        """Stands on the flag's own page."""
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:flaggate_row_change", args=[object_id]))

    def _row(self, request: HttpRequest, object_id: str) -> tables.Row:
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return row

    # --- acting -----------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        act = self.admin_site.admin_view(self.act_view)
        return [path("<int:object_id>/act/", act, name="flaggate_row_act"), *super().get_urls()]

    def act_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Do what the button says, in this user's name."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self._row(request, str(object_id))
        try:
            verb, version = Verb(request.POST["verb"]), int(request.POST["version"])
        except (KeyError, ValueError) as error:
            raise Http404 from error
        try:
            with transaction.atomic(using=_stored().alias):  # at its end this process's gates look
                outcome = gate().control.act(
                    verb,
                    row.name,
                    actor=request.user.get_username(),
                    reason=request.POST.get("reason", "").strip() or None,
                    expected_version=version,
                    rights=rights_of(request),
                )
        except ForbiddenError as error:
            raise PermissionDenied from error
        except FlaggateError as error:
            messages.error(request, str(error))
        else:
            said = "it was so already, and nothing was written" if outcome.event is None else "done"
            messages.success(request, f"{verb} of {row.name}: {said}")
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:flaggate_row_change", args=[object_id]))


def _store() -> DjangoStore | None:
    """The project's, if it is in DATABASES."""
    store = gate().store
    return store if isinstance(store, DjangoStore) else None


def _stored() -> DjangoStore:
    store = _store()
    assert store is not None  # else nobody has the permission to be here
    return store


def _record(row: tables.Row) -> Record | str:
    """The flag, or why it cannot be read: this is not to hide the others."""
    try:
        return record_of(row_of("flag", row.name, row.version, row.document))
    except UnreadableError as error:
        return f"cannot be read: {error.problem}"


def _lines(record: Record, events: Sequence[Event]) -> list[tuple[str, str]]:
    """What `flaggate status` says of the flag, but for what the page has at another place."""
    seen = overview(_stored(), datetime.now(UTC))
    own = [event for event in events if event.kind == "flag"]
    told = about(seen.standing(record.flag.name), seen, own, Reader(_time, "manage.py flaggate"))
    lines = [line for line in told if line[0] not in _ELSEWHERE]
    return [*lines[:1], ("has it now", who_has_it(record.flag, record.rollout) or "nobody"), *lines[1:]]


def _history(events: Sequence[Event]) -> list[tuple[str, Event, str]]:
    """When, what and what is different now, as `flaggate history` says it; the newest first."""
    return [(_time(event.at), event, change_words(event)) for event in reversed(events)]


def _time(moment: datetime) -> str:
    """On the clock of the project, or of this user, with its zone: the template says neither where USE_TZ is off."""
    return f"{moment.astimezone(get_current_timezone()):%Y-%m-%d %H:%M:%S %Z}"


def _verbs(request: HttpRequest, record: Record | None) -> list[Verb]:
    """What this user may do now. A flag that cannot be read can be killed."""
    legal = (Verb.KILL,) if record is None else legal_verbs(record.flag, record.rollout)
    rights = rights_of(request)
    return [verb for verb in legal if verb is not Verb.OWNER_SET and may(verb, rights)]
