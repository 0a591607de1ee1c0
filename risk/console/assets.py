"""Marks by asset: the sources behind each, how it moved, and how good it was."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from lending.portal.doors import SignedIn
from risk.console.doors import frame, risk_only


@require_safe
@risk_only
def marks(request: SignedIn) -> HttpResponse:
    """Show every mark with the sources that made it."""
    return render(request, "console/marks.html", frame(request, "marks"))
