"""The home page of the admin: what waits and for whom, the clients of a relationship manager, what falls due."""

from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from django.conf import settings
from django.db.models import Count, Exists, F, OuterRef, Sum, Value
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from lending import (
    access,
    agreements,
    amendments,
    authority,
    checklists,
    eligibility,
    obligations,
    perfections,
    resets,
    staff,
    term_sheets,
)
from lending.admin.base import SEE_CLIENTS
from lending.admin.steps import PIPELINE, next_step, signers_of
from lending.engine import interest, money
from lending.loans import OWING
from lending.models import Approval, Client, Loan, Role
from lending.staff import roles

AHEAD = timedelta(days=30)
_ROWS = 25
_LOOKS = 100
_LATE = timedelta(days=3650)
_RULE_MAKERS = eligibility.RULES.makers | checklists.RULES.makers | {Role.DESK_HEAD}
_ALLOWED = "allowed"


def manages(request: HttpRequest) -> bool:
    """Return whether the reader is a relationship manager and nothing that sees every client."""
    held = roles(request)
    return Role.RELATIONSHIP_MANAGER in held and not held & access.SEES_EVERY_CLIENT


def unruled(request: HttpRequest, subject: access.AnyUser, *, now: datetime) -> SafeString:
    """
    Return, to who can mend it, that no rule allows anything, or of which clients nothing is asked; one query.

    What is asked for already stands among the requests.
    """
    if not roles(request) & _RULE_MAKERS:
        return SafeString("")
    allowing = eligibility.RULES.in_force(on=now.date()).filter(allowed=True).order_by().values_list(Value(_ALLOWED))
    asked = checklists.RULES.in_force(on=now.date()).order_by().values_list("client_kind")
    found = {said for (said,) in allowing.union(asked)}
    shown = []
    if _ALLOWED not in found:
        shown.append(render_to_string("admin/home/eligibility.html", {}, request=request))
    if without := [kind.label.lower() for kind in Client.Kind if kind not in found]:
        shown.append(render_to_string("admin/home/checklists.html", {"without": without}, request=request))
    return format_html_join("", "{}", ((part,) for part in shown))


def pipeline(request: HttpRequest, subject: access.AnyUser, *, now: datetime) -> SafeString:
    """Return the loans and requests that wait for somebody, those that wait for the reader first."""
    if not roles(request) & SEE_CLIENTS:
        return SafeString("")
    clients = staff.clients(request)
    rows = amendments.with_open(term_sheets.beside(Loan.objects.filter(client__in=clients)), PIPELINE)
    rows = rows.select_related("client", "asset", "product", "made_by", "approved_by").order_by("-pk")
    waiting = list(rows[:_ROWS])
    signers = signers_of(clients)
    steps = [
        (loan, step)
        for loan in waiting
        if (step := next_step(loan, signers=signers, held=roles(request), reader_id=subject.pk or 0, now=now))
    ]
    steps.sort(key=lambda pair: (not pair[1].yours, pair[1].until or now + _LATE))
    asked = Approval.objects.filter(state=Approval.State.REQUESTED, expires_at__gt=now)
    if not roles(request) & access.SEES_EVERY_CLIENT:
        asked = asked.filter(client__in=clients)
    requests = [(row, *decider(request, row)) for row in asked.select_related("client", "maker")[:_ROWS]]
    context = {
        "steps": steps,
        "requests": requests,
        "now": now,
        "full": len(waiting) == _ROWS,
        "manages": manages(request),
    }
    return render_to_string("admin/home/pipeline.html", context, request=request)


def decider(request: HttpRequest, row: Approval) -> tuple[str, bool]:
    """Return who decides a request, in words, and whether the reader may."""
    wanted = frozenset(map(Role, settings.LENDING_APPROVAL_CHECKERS.get(row.kind, access.APPROVERS)))
    managed = row.client is not None and row.client.relationship_manager_id == request.user.pk
    yours = bool(wanted & roles(request)) and row.maker_id != request.user.pk and not managed
    return " or ".join(sorted(role.label.lower() for role in wanted)), yours


def clients(request: HttpRequest, subject: access.AnyUser, *, now: datetime) -> SafeString:
    """Return the clients whom the reader manages, with what each owes."""
    if not manages(request):
        return SafeString("")
    mine = staff.clients(request)
    owed: defaultdict[int, list[tuple[str, Decimal]]] = defaultdict(list)
    count: defaultdict[int, int] = defaultdict(int)
    sums = Loan.objects.filter(client__in=mine, state__in=OWING).values("client", "asset__code")
    dues = Sum(F("principal_outstanding") + F("interest_due") + F("fees_due"))
    for row in sums.annotate(owed=dues, loans=Count("pk")).order_by("asset__code"):
        owed[row["client"]].append((row["asset__code"], row["owed"]))
        count[row["client"]] += row["loans"]
    signs = authority.signers().filter(client=OuterRef("pk"))
    known = mine.annotate(signs=Exists(signs)).order_by("name")
    rows = [(client, count[client.pk], owed[client.pk]) for client in known]
    total: defaultdict[str, Decimal] = defaultdict(Decimal)
    with money.exact():
        for owes in owed.values():
            for code, amount in owes:
                total[code] += amount
    context = {"rows": rows, "total": sorted(total.items()), "loans": sum(count.values()), "now": now}
    return render_to_string("admin/home/clients.html", context, request=request)


def ahead(request: HttpRequest, subject: access.AnyUser, *, now: datetime) -> SafeString:
    """
    Return what falls due among the reader's clients within thirty days: loans with what each earns until then, papers
    that expire, cases to be looked at again, filings and control agreements that lapse, rates that are reset, and
    clients whose master agreement ends.
    """
    if not manages(request):
        return SafeString("")
    due = obligations.ahead(staff.clients(request), until=now + AHEAD)[:_ROWS]
    mine = staff.clients(request).exclude(stage=Client.Stage.CLOSED)
    until = (now + AHEAD).date()
    others = (
        perfections.lapsing(mine, until=until),
        agreements.lapsing(mine, until=until),
        resets.ahead(mine, until=now + AHEAD),
    )
    looks = checklists.due(mine, *others, until=until, limit=_LOOKS + 1)
    context = {
        "rows": [(row, row.loan, _a_day(row.loan, now.date())) for row in due],
        "now": now,
        "today": now.date(),
        "looks": looks[:_LOOKS],
        "more": len(looks) > _LOOKS,
    }
    return render_to_string("admin/home/ahead.html", context, request=request)


def _a_day(loan: Loan, day: date) -> Decimal:
    """Return the interest that a loan earns on a day at its principal of now, rounded up at its decimals."""
    a_year = Fraction(loan.principal_outstanding) * Fraction(loan.annual_rate)
    return interest.round_up(a_year * interest.years(loan.day_count, day, day + timedelta(days=1)), loan.asset.decimals)
