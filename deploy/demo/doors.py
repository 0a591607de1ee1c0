"""The doors of the demo: what is simulated, and the strip that controls it. Where no demo runs they do not exist."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from deploy.demo import context, controls, letters, visitors
from lending import access, clock
from lending.models import Asset, Loan
from lending.portal.doors import SignedIn, borrower_only
from risk.models import MarginCall, Mark

View = Callable[..., HttpResponse]


def in_demo(view: View) -> View:
    """Wrap a view so that it does not exist unless the demo runs."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.PLIMSOLL_DEMO:
            raise Http404
        return view(request, *args, **kwargs)

    return wrapped


def staff_only(view: View) -> View:
    """Wrap a view of the demo so that only people of the desk reach it."""

    @in_demo
    @login_required
    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        access.require_role(request.user, *access.STAFF_ROLES)
        return view(request, *args, **kwargs)

    return wrapped


def _back(request: HttpRequest) -> HttpResponseRedirect:
    """Return to the page that the visitor was on."""
    came_from = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(came_from, allowed_hosts={request.get_host()})
    return HttpResponseRedirect(came_from if safe else "/")


def _done(request: HttpRequest, deed: Callable[[], str]) -> HttpResponseRedirect:
    """Do what was asked, tell what came of it, and return to the visitor's page."""
    try:
        messages.success(request, deed())
    except controls.UnableToControl as refusal:
        messages.error(request, f"Not done: {refusal}.")
    return _back(request)


@require_POST
@in_demo
def hide(request: HttpRequest) -> HttpResponse:
    """Fold the words about the simulation away until the session ends."""
    request.session[context.HIDDEN] = True
    return _back(request)


@never_cache
@require_safe
@in_demo
def now(request: HttpRequest) -> HttpResponse:
    """Tell the pages that are open how platform time runs."""
    at, speed, stop_at = clock.reading()
    jump = controls.jump_under_way()
    return JsonResponse(
        {
            "now": at.isoformat(),
            "speed": float(speed),
            "stop": stop_at.isoformat() if stop_at else None,
            "jump_to": jump.to.isoformat() if jump else None,
        }
    )


def _shown(request: HttpRequest, here: str) -> dict[str, Any]:
    """Return the controls with what they have done: clock, venues with the marks they make, processes."""
    at, speed, _ = clock.reading()
    crash, wanted = controls.crash(), controls.wanted_speed()
    return {
        "here": here,
        "now": at,
        "speed": speed,
        "over": controls.over(),
        "wanted": wanted,
        "pressed": wanted if speed else speed,
        "speeds": controls.SPEEDS,
        "crash": crash if crash and at < crash else None,
        "jump": controls.jump_under_way(),
        "venues": controls.venues(),
        "marks": Mark.objects.select_related("asset").order_by("asset__code"),
        "processes": controls.processes(),
    }


@never_cache
@require_safe
@staff_only
def page(request: HttpRequest) -> HttpResponse:
    """Show the controls as a page of their own."""
    return render(request, "demo/page.html", _shown(request, request.path))


@never_cache
@require_safe
@staff_only
def letters_written(request: HttpRequest) -> HttpResponse:
    """Show the newest letters, all or those to one address."""
    to = request.GET.get("to", "")
    return render(request, "demo/letters.html", {"letters": letters.newest(to), "to": to})


@never_cache
@require_safe
@staff_only
def strip(request: HttpRequest) -> HttpResponse:
    """Show the controls as a part of the page that the visitor is on."""
    return render(request, "demo/strip.html", _shown(request, request.GET.get("next", "/")))


@require_POST
@staff_only
def speed(request: HttpRequest) -> HttpResponse:
    """Set the speed of platform time, 0 for a pause."""
    try:
        wanted = Decimal(request.POST.get("speed", ""))
    except InvalidOperation:
        wanted = Decimal("NaN")
    return _done(request, lambda: controls.run_at(wanted))


@require_POST
@staff_only
def jump(request: HttpRequest) -> HttpResponse:
    """Jump ahead: to the crash, or by an hour."""

    def deed() -> str:
        if request.POST.get("to") != "crash":
            return controls.jump(clock.now() + timedelta(hours=1))
        if (crash := controls.crash()) is None:
            raise controls.UnableToControl("nobody knows of a crash in this scenario")
        return controls.jump(crash)

    return _done(request, deed)


@require_POST
@staff_only
def venue(request: HttpRequest) -> HttpResponse:
    """Cut a venue's line, or bring it back."""
    code, up = request.POST.get("venue", ""), request.POST.get("up") == "1"
    return _done(request, lambda: controls.cut(code, up=up))


@require_POST
@staff_only
def kill(request: HttpRequest) -> HttpResponse:
    """Kill a process."""
    name = request.POST.get("process", "")
    return _done(request, lambda: controls.kill(name))


@require_POST
@in_demo
@borrower_only
def send(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Send a simulated transfer towards a margin call of the visitor's own client."""
    mine = MarginCall.objects.filter(client__in=access.own_clients(request.user)).select_related("client", "cure_asset")
    call = get_object_or_404(mine, public_id=public_id)
    way, _, what = request.POST.get("send", "").partition(":")
    code, _, share = what.partition(":")
    now = clock.now()
    _sent(request, lambda: visitors.send(call, code, cash=way == "cash", share=share, by=request.user, now=now))
    return redirect("portal_call", public_id=public_id)


@require_POST
@in_demo
@borrower_only
def pledge(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Send the simulated collateral that a loan of the visitor's own client waits for."""
    mine = Loan.objects.filter(client__in=access.own_clients(request.user))
    loan = get_object_or_404(mine.select_related("client", "asset", "margin_account__terms"), public_id=public_id)
    code, now = request.POST.get("asset", ""), clock.now()
    _sent(request, lambda: visitors.pledge(loan, code, by=request.user, now=now))
    return redirect("portal_loan", public_id=public_id)


def _sent(request: SignedIn, deed: Callable[[], tuple[Decimal, Asset]]) -> None:
    """Have something sent, and tell what was, or why not."""
    try:
        quantity, asset = deed()
    except visitors.UnableToSend as refusal:
        messages.error(request, f"Not sent: {refusal}.")
    else:
        sent = f"{quantity.normalize():,f} {asset.code}"
        messages.success(request, format_html('Sent {}. <a href="#transfers">Watch it come in.</a>', sent))
