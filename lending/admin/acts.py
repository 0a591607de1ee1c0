"""Buttons: an address that does one thing to one row, by its verb, and says what came of it."""

import copy
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse

from lending import clock

Act = Callable[[HttpRequest, Any, datetime], str]
Again = Callable[[HttpRequest, Any, str], HttpResponse]


def on_its_page(page: Callable[..., HttpResponse]) -> Again:
    """
    Return what shows a row's own page again after a refusal.

    Its template finds the words as `refusal` and what was sent as `typed`.
    """

    def again(request: HttpRequest, row: Model, refusal: str) -> HttpResponse:
        read = copy.copy(request)
        read.method = "GET"  # the page itself is only to be read
        answer = page(read, str(row.pk), extra_context={"refusal": refusal, "typed": request.POST})
        answer.status_code = 422
        return answer

    return again


def perform(
    request: HttpRequest,
    rows: QuerySet[Any],
    pk: int,
    act: Act,
    *,
    refusals: tuple[type[Exception], ...],
    again: Again | None = None,
) -> HttpResponse:
    """
    Do something to one of the rows that the reader sees, and go back to its page with what came of it.

    Where something was typed, a refusal is answered by `again`, which shows the form as it was sent beside the refusal.
    """
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    row: Model = get_object_or_404(rows, pk=pk)
    refused: tuple[type[Exception], ...] = (*refusals, PermissionDenied)
    try:
        said = act(request, row, clock.now())
    except refused as refusal:
        words = f"Refused: {str(refusal) or 'your role does not include this'}."
        if again is not None:
            return again(request, row, words)
        messages.error(request, words)
    else:
        messages.success(request, said)
    meta = row._meta
    return HttpResponseRedirect(reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[pk]))
