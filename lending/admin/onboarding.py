"""A client's way in the admin, from prospect to its first offer: one page per step, with what is missing in sight."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from lending import access, agreements, kyc, onboarding, parties, people, prospects, staff
from lending.admin.base import SEE_CLIENTS
from lending.admin.onboarding_forms import AgreementForm, ClientForm, DescriptionForm, PartyForm, RatingForm, RuleForm
from lending.documents import UnableToStore
from lending.engine import money
from lending.models import Client, KycCase, Loan, RelatedParty, Role, SignedAgreement, SigningRule
from lending.onboarding import Path, Step
from lending.staff import Page, roles
from lending.typed import key_of

FORM = require_http_methods(["GET", "HEAD", "POST"])
REFUSALS = (
    kyc.UnableToKeep,
    kyc.UnableToSubmit,
    prospects.UnableToDescribe,
    agreements.UnableToRecord,
    UnableToStore,
    access.UnableToAccess,
)
PAGES = {
    "facts": "lending_path",
    "documents": "lending_path_documents",
    "people": "lending_path_people",
    "review": "lending_path_review",
    "agreement": "lending_path_agreement",
}
# The steps whose pages are those of booking a loan: a relationship manager's.
_BOOKING = {"portal": "risk_book_people", "offer": "risk_book_terms"}


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the way as the strip above each page shows it."""

    title: str
    words: str
    done: bool
    here: bool
    href: str


@FORM
def new(request: HttpRequest) -> HttpResponse:
    """Take a prospect on."""
    form = ClientForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        manager: Any = request.user
        asked = form.facts
        like = people.alike(asked["name"], asked["kind"], seen_by=manager)
        if not like or form.said_to_be_another:
            made = people.register(**asked, although=like, manager=manager, now=staff.now(request))
            messages.success(request, f"{made} is registered, and you look after it.")
            return HttpResponseRedirect(reverse("admin:lending_path", args=[made.public_id]))
        form.ask_if_another(like)
    frame = {**admin.site.each_context(request), "title": "Take a client on", "form": form}
    return TemplateResponse(request, "admin/onboarding/new.html", frame, status=422 if form.errors else 200)


@FORM
def facts(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Show where a client stands and what is next, and write down what it is expected to be."""
    path = path_of(request, public_id)
    client = path.client
    form = DescriptionForm(request.POST or None, initial=_known(client))
    if request.method == "POST" and form.is_valid():

        def describe() -> str:
            by: Any = request.user
            prospects.describe(client, **form.cleaned_data, by=by, now=staff.now(request))
            return "Written down."

        if done(request, form, describe):
            return again(path, "facts")
    loans = Loan.objects.filter(client=client).select_related("asset").order_by("-pk")[:10]
    return page(request, path, "facts", str(client), {"form": form, "loans": loans})


def _known(client: Client) -> dict[str, Any]:
    known = {name: getattr(client, name) for name in _DESCRIBED}
    size = client.expected_size_usd
    return known | {"expected_size_usd": size if size is None else money.text(size)}


_DESCRIBED = ("jurisdiction", "source", "geography", "expected_size_usd", "classification")


@FORM
def behind(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Show the people behind a client and who may sign what; add to both and take out."""
    path = path_of(request, public_id)
    act = request.POST.get("act", "")
    party_form = PartyForm(request.POST if act == "party" else None, initial=_themself(path))
    rule_form = RuleForm(request.POST if act == "rule" else None, parties=path.checklist.parties)
    by: Any = request.user
    now = staff.now(request)

    def add_party() -> str:
        asked = party_form.cleaned_data
        given = {name: asked[name] for name in ("name", "country", "birth_date", "email", "is_director", "is_signer")}
        parties.add_party(worked_on(path), owner_share=party_form.owner_share, **given, by=by, now=now)
        return f"{asked['name']} is added."

    def add_rule() -> str:
        parties.allow(worked_on(path), **_typed(rule_form), by=by, now=now)
        return "The matrix has a new line."

    if act == "party" and party_form.is_valid() and done(request, party_form, add_party):
        return again(path, "people")
    if act == "rule" and rule_form.is_valid() and done(request, rule_form, add_rule):
        return again(path, "people")
    if act in {"remove", "strike"}:
        done(request, None, lambda: _taken_out(request, path, act))
        return again(path, "people")
    rules = SigningRule.objects.filter(case=path.case).select_related("asset").order_by("action", "up_to", "pk")
    names: dict[UUID | None, str] = {party.person: party.name for party in path.checklist.parties}
    context = {
        "party_form": party_form,
        "rule_form": rule_form,
        "rules": [(rule, names.get(rule.person, "everybody who signs")) for rule in rules],
    }
    return page(request, path, "people", f"Who is behind {path.client}", context)


def _themself(path: Path) -> dict[str, Any]:
    """Return what is known of a person who signs for themself, until they stand in their case."""
    client = path.client
    if client.kind != Client.Kind.INDIVIDUAL or path.checklist.parties:
        return {}
    return {"name": client.name, "country": client.jurisdiction, "is_signer": True}


def _typed(form: RuleForm) -> dict[str, Any]:
    asked = dict(form.cleaned_data)
    return asked | {"person": UUID(asked["person"]) if asked["person"] else None}


def _taken_out(request: HttpRequest, path: Path, act: str) -> str:
    by: Any = request.user
    key, now = key_of(request.POST.get("row", "")), staff.now(request)
    if act == "remove":
        parties.remove_party(get_object_or_404(RelatedParty, pk=key, case=path.case), by=by, now=now)
        return "Taken out of the case."
    parties.disallow(get_object_or_404(SigningRule, pk=key, case=path.case), by=by, now=now)
    return "Taken out of the matrix."


@FORM
def review(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Rate a case and hand it over to compliance; open one, and another once the first is approved."""
    path = path_of(request, public_id)
    act, now = request.POST.get("act", ""), staff.now(request)
    by: Any = request.user
    case = path.case
    known = {name: getattr(case, name) for name in ("risk_rating", "rating_reason", "review_date")} if case else {}
    form = RatingForm(request.POST if act == "rate" else None, initial=known)

    def rate() -> str:
        asked = form.cleaned_data
        kyc.rate(worked_on(path), asked["risk_rating"], asked["rating_reason"], asked["review_date"], by=by, now=now)
        return "Rated."

    def submit() -> str:
        kyc.submit(worked_on(path), maker=by, now=now)
        return "Handed over: it waits on the page Approvals for somebody of compliance."

    def begin() -> str:
        kyc.open_case(path.client, by=by, now=now)
        return "A case is open."

    if act == "rate" and form.is_valid() and done(request, form, rate):
        return again(path, "review")
    if act in {"submit", "open"}:
        done(request, None, submit if act == "submit" else begin)
        return again(path, request.POST.get("back", "") if act == "open" else "review")
    gaps = [gap for step in path.steps[:3] for gap in step.gaps]
    context = {"form": form, "gaps": gaps, "rated": bool(case and case.risk_rating), "now": now}
    return page(request, path, "review", f"The case of {path.client}", context)


@FORM
def agreement(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Show which versions of the master agreement a client has signed, and record another."""
    path = path_of(request, public_id)
    client, now = path.client, staff.now(request)
    signed = SignedAgreement.objects.filter(client=client).select_related("version", "document__file", "recorded_by")
    known = list(signed.defer("document__file__content").order_by("-signed_date", "-pk"))
    versions = agreements.current(on=now.date())
    posted = (request.POST, request.FILES) if request.method == "POST" else (None, None)
    named = path.checklist.parties if path.case and path.case.state == KycCase.State.APPROVED else []
    form = AgreementForm(*posted, versions=versions, parties=named)

    def record() -> str:
        asked = form.cleaned_data
        chosen = [party for party in named if str(party.person) in asked.get("signers", ())]
        by: Any = request.user
        agreements.record(
            client, asked["version"], asked["paper"], name=asked["paper"].name, signers=chosen,
            signed_date=asked["signed_date"], by=by, now=now,
        )  # fmt: skip
        return "Recorded, with the hash of the paper."

    if request.method == "POST" and form.is_valid() and done(request, form, record):
        return again(path, "agreement")
    taken = {row.version_id for row in known}
    context = {
        "form": form,
        "signed": known,
        "versions": versions,
        "may_record": path.in_force is not None and any(version.pk not in taken for version in versions),
    }
    return page(request, path, "agreement", f"The agreement with {client}", context)


def path_of(request: HttpRequest, public_id: UUID) -> Path:
    """Return the way of a client whom the reader sees; anybody else's is not there."""
    found = onboarding.paths(staff.clients(request).filter(public_id=public_id), now=staff.now(request))
    if not found:
        get_object_or_404(Client.objects.none())
    return found[0]


def worked_on(path: Path) -> KycCase:
    """Return the case that is worked on; a refusal where there is none."""
    if path.case is None:
        raise kyc.UnableToKeep("open a case first")
    return path.case


def done(request: HttpRequest, form: Any, act: Callable[[], str]) -> bool:
    """Do something and say what came of it; a refusal is the form's own error, or a message where nothing was typed."""
    try:
        said = act()
    except REFUSALS as refusal:
        if form is None:
            messages.error(request, f"Refused: {refusal}.")
        else:
            form.add_error(None, f"Refused: {refusal}.")
        return False
    messages.success(request, said)
    return True


def again(path: Path, name: str) -> HttpResponse:
    """Go back to a page of the way, so that reloading it sends nothing twice."""
    return HttpResponseRedirect(
        reverse(f"admin:{PAGES.get(name, 'lending_path_review')}", args=[path.client.public_id])
    )


def address(request: HttpRequest, path: Path, step: str) -> str:
    """Return where a step is done; nothing where the reader may not go, or where it is somebody else's doing."""
    client = path.client.public_id
    if step in PAGES:
        return reverse(f"admin:{PAGES[step]}", args=[client])
    if step in _BOOKING and Role.RELATIONSHIP_MANAGER in roles(request):
        return reverse(f"admin:{_BOOKING[step]}", args=[client])
    return ""


def page(request: HttpRequest, path: Path, here: str, title: str, context: dict[str, Any]) -> HttpResponse:
    """Show a page of the way, with the strip of its steps and all that is missing beside it."""
    stages = [
        Stage(step.title, _words(step, path), step.done, step.page == here, address(request, path, step.page))
        for step in path.steps
    ]
    frame = {
        **admin.site.each_context(request),
        "title": title,
        "path": path,
        "client": path.client,
        "case": path.case,
        "stages": stages,
        "gaps_by_step": [(step, address(request, path, step.page)) for step in path.steps if step.gaps],
        "keeps": bool(roles(request) & kyc.KEEPERS),
        "here": here,
        **context,
    }
    bad = any(getattr(value, "errors", None) for value in context.values())
    return TemplateResponse(request, f"admin/onboarding/{here}.html", frame, status=422 if bad else 200)


def _words(step: Step, path: Path) -> str:
    if step.done:
        return "done"
    if step.page == "review" and path.asked:
        return "waits for compliance"
    return "to be done" if len(step.gaps) == 1 else f"{len(step.gaps)} are missing"


_site: Any = admin.site
_site.add_page(Page("onboarding/new/", "lending_onboard", new, frozenset({Role.RELATIONSHIP_MANAGER}), "lending"))
for _route, _view, _step in (
    ("", facts, "facts"),
    ("people/", behind, "people"),
    ("review/", review, "review"),
    ("agreement/", agreement, "agreement"),
):
    _site.add_page(Page(f"onboarding/<uuid:public_id>/{_route}", PAGES[_step], _view, SEE_CLIENTS, "lending"))
