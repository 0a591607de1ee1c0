"""The way of a client from prospect to its first funded loan: what is done, and what is missing next."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from lending import agreements, authority, checklists, eligibility, kyc, screening
from lending.checklists import Checklist
from lending.kyc import Gap
from lending.models import (
    Approval,
    Client,
    Document,
    KycCase,
    Loan,
    LoanState,
    Product,
    SignedAgreement,
)
from lending.screening import Standing

TITLES = {
    "facts": "Prospect",
    "documents": "Documents",
    "people": "People and authority",
    "review": "Approval",
    "agreement": "Agreement",
    "portal": "Portal access",
    "offer": "First offer",
    "funded": "Funded",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way: its page, and what is missing in it."""

    page: str
    gaps: Sequence[Gap]

    @property
    def title(self) -> str:
        return TITLES[self.page]

    @property
    def done(self) -> bool:
        return not self.gaps


@dataclass(frozen=True, slots=True)
class Path:
    """A client's way: the case that is worked on, the one in force, its steps, and where screening had it last."""

    client: Client
    case: KycCase | None
    in_force: KycCase | None
    checklist: Checklist
    steps: Sequence[Step]
    asked: int | None
    standing: Standing

    @property
    def next(self) -> Gap | None:
        """Return what is to be done next; nothing once a loan is funded."""
        return next((gap for step in self.steps for gap in step.gaps), None)

    @property
    def editable(self) -> bool:
        return self.case is not None and self.case.state == KycCase.State.OPEN


def paths(clients: QuerySet[Client], *, now: datetime) -> list[Path]:
    """Return the ways of clients in their order, in six queries however many there are."""
    rows = list(_looked_at(clients, now))
    cases = list(
        kyc.looked_at()
        .filter(client__in=[row.pk for row in rows], state__in=(KycCase.State.OPEN, KycCase.State.APPROVED))
        .order_by("opened_at", "pk")
    )
    lists = checklists.of(cases, now=now)
    worked = {case.client_id: case for case in cases}  # the open one comes last
    approved = {case.client_id: case for case in cases if case.state == KycCase.State.APPROVED}
    return [
        _path(
            row,
            worked.get(row.pk),
            approved.get(row.pk),
            lists.get(worked[row.pk].pk) if row.pk in worked else None,
            now,
        )
        for row in rows
    ]


def path(client: Client, *, now: datetime) -> Path:
    """Return the way of one client."""
    return paths(Client.objects.filter(pk=client.pk), now=now)[0]


def refusal(client: Client, product: Product, *, now: datetime) -> str:
    """Return why a client is not lent to under a product now, and where that is mended; nothing where it may be."""
    return refusals([(client, product)], now=now).get((client.pk, product.pk), "")


def refusals(asked: Collection[tuple[Client, Product]], *, now: datetime) -> dict[tuple[int, int], str]:
    """
    Return why clients are not lent to under products, by the keys of both; nothing about those who are.

    It takes two queries where nothing is missing, however many are asked for.
    """
    missing, rules = unready([client for client, _ in asked], now=now), eligibility.in_force(on=now.date())
    found = {}
    for client, product in asked:
        if gaps := missing.get(client.pk):
            words = ", ".join(f"{gap.words} (step {TITLES[gap.page]})" for gap in gaps)
            found[client.pk, product.pk] = f"{client} is not onboarded; still missing: {words}"
        elif why := eligibility.refusal(rules, client, product):
            found[client.pk, product.pk] = f"{client} is not eligible for {product}: {why}"
    return found


def unready(clients: Collection[Client], *, now: datetime) -> dict[int, list[Gap]]:
    """
    Return what keeps clients from being lent to, by key, on the page where each is done; nothing about the others.

    What counts is the approved case: that there is one, that its papers are still good and its review is not overdue;
    and a master agreement in force. Screening is checked by itself, because not everybody may be told of it.
    """
    doubted = _doubted(clients, now)
    if not doubted:
        return {}
    cases = list(kyc.looked_at().filter(client__in=doubted, state=KycCase.State.APPROVED))
    approved, lists = {case.client_id: case for case in cases}, checklists.of(cases, now=now)
    found = {}
    for row in _looked_at(Client.objects.filter(pk__in=doubted), now):
        case: KycCase | None = approved.get(row.pk)
        gaps = [Gap("it is closed", "facts")] if row.stage == Client.Stage.CLOSED else []
        gaps += kyc.of_papers(case, lists[case.pk].lines) if case else []
        gaps += [*_approval(row, case, now), *_agreement(row)]
        if gaps:
            found[row.pk] = gaps
    return found


def _doubted(clients: Collection[Client], now: datetime) -> list[int]:
    """Return the keys of clients that may miss something: all that do, and some whose newer paper makes up for it."""
    mine, today = {"client": OuterRef("pk")}, now.date()
    spent = Q(expires_date__lt=today) | Q(withdrawn_at__isnull=False)
    ready = Q(
        Exists(KycCase.objects.filter(**mine, state=KycCase.State.APPROVED, review_date__gte=today)),
        Exists(SignedAgreement.objects.filter(**mine, version__in=agreements.current(on=today))),
        ~Exists(Document.objects.filter(spent, **mine)),
        ~Exists(KycCase.objects.filter(**mine, state=KycCase.State.OPEN)),  # a review may say something else of them
        ~Q(stage=Client.Stage.CLOSED),
    )
    asked = Client.objects.filter(pk__in={client.pk for client in clients})
    return list(asked.exclude(ready).values_list("pk", flat=True))


def _looked_at(clients: QuerySet[Client], now: datetime) -> QuerySet[Client]:
    mine = {"client": OuterRef("pk")}
    asked = Approval.objects.filter(**mine, kind=kyc.KIND, state=Approval.State.REQUESTED, expires_at__gt=now)
    loans = Loan.objects.filter(**mine).exclude(state=LoanState.CANCELLED)
    return (
        screening.with_last(clients)
        .select_related("relationship_manager")
        .annotate(
            asked=Subquery(asked.order_by("pk").values("pk")[:1]),
            agreed=Exists(SignedAgreement.objects.filter(**mine, version__in=agreements.current(on=now.date()))),
            signs_in=Exists(authority.signers().filter(**mine)),
            offered=Exists(loans),
            funded=Exists(loans.filter(start_at__isnull=False)),
        )
    )


def _path(
    row: Any,
    case: KycCase | None,
    in_force: KycCase | None,
    found: Checklist | None,
    now: datetime,
) -> Path:
    checklist, standing = found or Checklist([], []), screening.last_known(row)
    gaps = kyc.of_client(row) if case is None else kyc.gaps(case, checklist.lines, standing)
    if case is None:
        gaps = [*gaps, Gap("a case: open it", "documents"), Gap("a risk rating and the day of the review", "review")]
        gaps += [Gap("who is behind it", "people")] if row.kind == Client.Kind.ENTITY else []

    def of(page: str) -> list[Gap]:
        return [gap for gap in gaps if gap.page == page]

    steps = (
        Step("facts", of("facts")),
        Step("documents", of("documents")),
        Step("people", of("people")),
        Step("review", [*of("review"), *_approval(row, in_force, now)]),
        Step("agreement", _agreement(row)),
        Step("portal", [] if row.signs_in else [Gap("somebody who signs in and can sign", "portal")]),
        Step("offer", [] if row.offered else [Gap("the first offer", "offer")]),
        Step("funded", [] if row.funded else [Gap("a funded loan", "funded")]),
    )
    return Path(row, case, in_force, checklist, steps, row.asked, standing)


def _agreement(row: Any) -> list[Gap]:
    return [] if row.agreed else [Gap("the master agreement in a version in force", "agreement")]


def _approval(row: Any, in_force: KycCase | None, now: datetime) -> list[Gap]:
    if in_force is not None:
        due = in_force.review_date
        late = due is not None and due < now.date()
        if kyc.differs(in_force, row):
            # What a review has changed is not approved until the review is.
            return [Gap("the decision of compliance on the review: who they are was changed in it", "review")]
        return [Gap(f"a review: it was due on {due:%d %b %Y}", "review")] if late else []
    if row.asked:
        return [Gap("the decision of compliance on the case", "review")]
    return [Gap("the case handed over to compliance", "review")]
