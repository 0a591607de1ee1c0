"""A page on which something is begun and ended by two persons: its two forms, and what becomes of what was sent."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from lending import staff
from lending.models import Role
from lending.staff import roles

Ask = Callable[[dict[str, Any], Any, datetime], object]  # with what a valid form says, as whom, and when


class Asking:
    """The forms that ask a second person, one to `begin` something and one to `end` it; none for who may not ask."""

    def __init__(
        self,
        request: HttpRequest,
        name: str,
        begin: type[forms.Form],
        end: type[forms.Form],
        *,
        makers: frozenset[Role],
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        self.request, self.may = request, bool(roles(request) & makers)
        self.act = request.POST.get("act") if request.method == "POST" else None
        if self.act and not self.may:
            raise PermissionDenied
        sent = {act: request.POST if self.act == act else None for act in (name, "end")}
        self._begin = begin(sent[name], initial=dict(initial or {}), auto_id=f"{name}_%s")
        self._end = end(sent["end"], auto_id="end_%s")
        self._sent = self._begin if self.act == name else self._end

    @property
    def begin(self) -> forms.Form | None:
        """Return the form that asks for something to begin."""
        return self._begin if self.may else None

    @property
    def end(self) -> forms.Form | None:
        """Return the form that asks for something to end."""
        return self._end if self.may else None

    def done(self, begin: Ask, end: Ask, *, refusal: type[Exception]) -> bool:
        """Ask for what the form that was sent says, and return if it was; a refusal becomes the form's own error."""
        form, maker = self._sent, self.request.user
        if not self.act or not form.is_valid():
            return False
        try:
            (end if form is self._end else begin)(dict(form.cleaned_data), maker, staff.now(self.request))
        except refusal as why:
            form.add_error(None, f"Not asked: {why}.")
            return False
        messages.success(self.request, "Asked: it waits on the page Approvals for a second person.")
        return True
