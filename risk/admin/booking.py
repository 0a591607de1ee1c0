"""The way from a new client to an offer: client, people, terms, collateral, review; with what is missing in sight."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from lending import access, authority, eligibility, kyc, offers, onboarding, people, schedules, staff
from lending.admin.onboarding import PAGES
from lending.engine import money
from lending.kyc import Gap
from lending.models import Client, ClientUser, Loan, MarginAccount, Product, Role
from lending.staff import Page
from risk import exposures, letters, previews, prices
from risk.admin.booking_forms import PersonForm, TermsForm
from risk.previews import Preview

_BOOKS = frozenset({Role.RELATIONSHIP_MANAGER})
_FORM = require_http_methods(["GET", "HEAD", "POST"])


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the way: what it is called, what of it is done or missing, where it is."""

    title: str
    words: str
    done: bool
    here: bool
    href: str = ""


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """Choose a client; those who may not be lent to yet say what is missing."""
    known = list(staff.clients(request).order_by("name"))
    missing = onboarding.unready(known, now=staff.now(request))
    rows = [(client, _linked(client, missing.get(client.pk, []))) for client in known]
    context = {"known": rows, "stages": _stages("client", None)}
    return _page(request, "start", "Book a loan", context, bad=False)


@_FORM
def client_people(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Show who acts for the client, and add somebody."""
    client = _client(request, public_id)
    rows = list(ClientUser.objects.filter(client=client).select_related("user").order_by("pk"))
    form = PersonForm(request.POST or None, initial=_next_signer(client, rows))
    if request.method == "POST" and form.is_valid() and _invited(request, client, form):
        return HttpResponseRedirect(reverse("admin:risk_book_people", args=[public_id]))
    signs = client.signs  # type: ignore[attr-defined]
    context = {"client": client, "form": form, "rows": rows, "signs": signs, "gaps": _gaps(request, client)}
    context["stages"] = _stages("people", client, signs=signs)
    return _page(request, "people", f"Who acts for {client}", context, bad=bool(form.errors))


def _gaps(request: HttpRequest, client: Client) -> list[tuple[Gap, str]]:
    """Return what keeps a client from being lent to, each with the address where it is done."""
    return _linked(client, onboarding.unready([client], now=staff.now(request)).get(client.pk, []))


def _linked(client: Client, gaps: list[Gap]) -> list[tuple[Gap, str]]:
    return [(gap, reverse(f"admin:{PAGES[gap.page]}", args=[client.public_id])) for gap in gaps]


def _next_signer(client: Client, rows: list[ClientUser]) -> dict[str, str]:
    """Return the first person of the client's case who signs and does not sign in yet, as the form asks for them."""
    case = kyc.current(client)
    known = {row.user.email.lower() for row in rows}
    signers = case.parties.filter(is_signer=True).exclude(email="").order_by("pk") if case else ()
    found = next((party for party in signers if party.email.lower() not in known), None)
    return {"name": found.name, "email": found.email} if found else {}


def _invited(request: HttpRequest, client: Client, form: PersonForm) -> bool:
    asked, inviter = form.cleaned_data, request.user
    try:
        added = people.invite(
            client, asked["email"], Role(asked["role"]), name=asked["name"], invited_by=inviter,  # type: ignore[arg-type]
            origin=request.build_absolute_uri("/"), now=staff.now(request),
        )  # fmt: skip
    except people.UnableToGrant as refusal:
        form.add_error("email", f"Not added: {refusal}.")
        return False
    messages.success(request, f"{added.user} is added; a letter with a link to choose a password is on its way.")
    return True


@_FORM
def terms(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Ask for the terms with their preview; show them all together; send the offer. Nothing typed is lost between."""
    client = _client(request, public_id)
    typed = request.POST.dict() if request.method == "POST" else None
    form = TermsForm(typed, client=client, now=staff.now(request))
    asked = request.POST.get("act", "")
    valid = form.is_valid()
    if asked == "send" and valid and (made := _offered(request, client, form)):
        messages.success(request, "The offer is out. Once the client has accepted it, a second person approves it.")
        return HttpResponseRedirect(reverse("admin:lending_loan_change", args=[made.pk]))
    review = asked in {"review", "send"} and valid and not form.non_field_errors()
    ladder = form.ladder if review else None
    context = {"client": client, "form": form, "ladder": ladder, **_previewed(request, client, form)}
    context["stages"] = _stages("review" if review else "terms", client, signs=context["signs"], terms_done=valid)
    name, title = ("review", "Review the offer") if review else ("terms", f"A loan for {client}")
    return _page(request, name, title, context, bad=asked in {"review", "send"} and not review)


def _offered(request: HttpRequest, client: Client, form: TermsForm) -> Loan | None:
    """Offer a loan on the terms of a valid form; a refusal becomes the form's own error, and None comes back."""
    asked, now, maker = form.cleaned_data, staff.now(request), request.user
    try:
        with transaction.atomic():
            offer = offers.quote(
                client=client,
                product=asked["product"],
                principal=asked["principal"],
                **form.rates,
                maturity_date=asked["maturity_date"],
                quoted_until=now + timedelta(hours=asked["hours"]),
                payout_address=asked["payout_address"],
                collateral={held.code: quantity for held, quantity in form.planned().items()},
                terms=form.ladder,
                margin_account=form.pool,
                opens_pool=form.opens_pool,
                made_by=maker,  # type: ignore[arg-type]
                now=now,
            )
            letters.offered(offer, now=now)
            return offer
    except (offers.UnableToQuote, access.UnableToAccess) as refusal:
        form.add_error(None, f"Not offered: {refusal}.")
        return None


@require_safe
def preview(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Show what the typed terms come to: the part of the page that follows the typing."""
    client = _client(request, public_id)
    form = TermsForm(request.GET.dict(), client=client, now=staff.now(request))
    context = {"client": client, "form": form, **_previewed(request, client, form)}
    return TemplateResponse(request, "admin/book/preview.html", context)


def _previewed(request: HttpRequest, client: Client, form: TermsForm) -> dict[str, Any]:
    """Return the preview of what could be read of a form, its schedule, and what is missing, in words."""
    now = staff.now(request)
    signs = client.signs  # type: ignore[attr-defined]
    gaps = _gaps(request, client)
    missing = ["what its onboarding still asks for"] if gaps else []
    missing += [] if signs else ["somebody who can sign for the client"]
    found: Preview | None = None
    schedule: schedules.Schedule | None = None
    if form.is_bound:
        form.is_valid()
    asked = form.cleaned_data if form.is_bound else {"maturity_date": form["maturity_date"].initial}
    names = {"product": "a product", "principal": "the principal", "rate": "a rate", "maturity_date": "a maturity"}
    product, principal = asked.get("product"), asked.get("principal")
    if product is not None and not product.has_fixed_end:
        del names["maturity_date"]
    if product is not None and product.floats:
        del names["rate"]
    missing += [words for name, words in names.items() if asked.get(name) is None]
    missing += ["a default rate from the rate on and below 100 %"] if "default_rate" in form.errors else []
    refused = "" if product is None else eligibility.refusal(eligibility.in_force(on=now.date()), client, product)
    missing += [f"a product that it is eligible for: {refused}"] if refused else []
    if product is not None and principal is not None:
        marks = prices.current(now=now)
        pool = form.pool
        shared = exposures.of_accounts([pool], now=now)[pool.pk].position if pool is not None else None
        found = previews.of_terms(
            pool.terms if pool is not None else product.terms, product.asset, principal, form.planned(),
            haircuts=offers.haircuts_in(pool, product), marks=marks, beside=shared,
        )  # fmt: skip
        missing += _refused_by(pool, client, product)
        if ends := asked.get("maturity_date") is not None or not product.has_fixed_end:
            missing += [form.no_rate] if form.no_rate else []
        if ends and form.first_rate is not None:
            step_up, step_up_date = form.rates["step_up"], form.rates["step_up_date"]
            schedule = schedules.planned(
                principal=principal, annual_rate=form.first_rate, day_count=product.day_count,
                origination_fee=product.origination_fee, decimals=product.asset.decimals, start_at=now,
                maturity_date=asked.get("maturity_date"), schedule_kind=product.schedule_kind,
                frequency_months=product.frequency_months, calendar=product.calendar,
                is_line=product.is_line, step_up=step_up if step_up_date else money.ZERO,
                step_up_date=step_up_date if step_up else None,
            )  # fmt: skip
        if not found.fits:
            missing.append("marks that can be used" if found.unusable else "enough collateral")
    elif not any(form.planned().values() if form.is_bound else ()):
        missing.append("the collateral")
    return {
        "preview": found, "schedule": schedule, "missing": missing, "signs": signs, "product": product, "now": now,
        "asset": product.asset.code if product is not None else "", "gaps": gaps, "pool": form.is_bound and form.pool,
    }  # fmt: skip


def _refused_by(pool: MarginAccount | None, client: Client, product: Product) -> list[str]:
    """Return why a pool can not secure another loan of a product, if it can not."""
    try:
        if pool is not None:
            offers.check_pool(pool, client, product)
    except offers.UnableToQuote as refusal:
        return [f"a pool that can secure it: {refusal}"]
    return []


def _client(request: HttpRequest, public_id: UUID) -> Client:
    """Return a client that the reader sees, with `signs`: whether somebody can sign for it."""
    signers = authority.signers().filter(client=OuterRef("pk"))
    return get_object_or_404(staff.clients(request).annotate(signs=Exists(signers)), public_id=public_id)


def _stages(here: str, client: Client | None, *, signs: bool = False, terms_done: bool = False) -> list[Stage]:
    def address(name: str) -> str:
        return reverse(f"admin:{name}", args=[client.public_id]) if client is not None else ""

    chosen = str(client or "choose one")
    who = "somebody can sign" if signs else "nobody can sign yet"
    typed = "typed" if terms_done else "to be typed"
    after = "the client accepts, then a second person approves"
    return [
        Stage("Client", chosen, client is not None, here == "client", reverse("admin:risk_book")),
        Stage("People", who, signs, here == "people", address("risk_book_people")),
        Stage("Terms and collateral", typed, terms_done, here == "terms", address("risk_book_terms")),
        Stage("Review", "read it before it goes out", False, here == "review"),
        Stage("Approval", after, False, here == "approval"),
    ]


def _page(request: HttpRequest, name: str, title: str, context: dict[str, Any], *, bad: bool) -> HttpResponse:
    frame = {**admin.site.each_context(request), "title": title, **context}
    return TemplateResponse(request, f"admin/book/{name}.html", frame, status=422 if bad else 200)


_site: Any = admin.site
_site.add_page(Page("book/", "risk_book", start, _BOOKS, "risk", title="Book a loan"))
_site.add_page(Page("book/<uuid:public_id>/people/", "risk_book_people", client_people, _BOOKS, "risk"))
_site.add_page(Page("book/<uuid:public_id>/terms/", "risk_book_terms", terms, _BOOKS, "risk"))
_site.add_page(Page("book/<uuid:public_id>/preview/", "risk_book_preview", preview, _BOOKS, "risk"))
