"""The way of a client from prospect to its first funded loan: what is done, and what is missing next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from lending import checklists, kyc, screening
from lending.checklists import Checklist
from lending.kyc import Gap
from lending.models import (
    AgreementVersion,
    Approval,
    Client,
    ClientUser,
    KycCase,
    Loan,
    LoanState,
    Role,
    SignedAgreement,
)
from lending.screening import Standing


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way: its page, its title, and what is missing in it."""

    page: str
    title: str
    gaps: Sequence[Gap]

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


def _looked_at(clients: QuerySet[Client], now: datetime) -> QuerySet[Client]:
    mine = {"client": OuterRef("pk")}
    today = now.date()
    current = AgreementVersion.objects.filter(Q(end_date=None) | Q(end_date__gt=today), start_date__lte=today)
    asked = Approval.objects.filter(**mine, kind=kyc.KIND, state=Approval.State.REQUESTED, expires_at__gt=now)
    loans = Loan.objects.filter(**mine).exclude(state=LoanState.CANCELLED)
    return (
        screening.with_last(clients)
        .select_related("relationship_manager")
        .annotate(
            asked=Subquery(asked.order_by("pk").values("pk")[:1]),
            agreed=Exists(SignedAgreement.objects.filter(**mine, version__in=current)),
            signs_in=Exists(ClientUser.objects.filter(**mine, role=Role.BORROWER_ADMIN, user__is_active=True)),
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
        Step("facts", "Prospect", of("facts")),
        Step("documents", "Documents", of("documents")),
        Step("people", "People and authority", of("people")),
        Step("review", "Approval", [*of("review"), *_approval(row, in_force, now)]),
        Step(
            "agreement",
            "Agreement",
            [] if row.agreed else [Gap("the master agreement in a version in force", "agreement")],
        ),
        Step("portal", "Portal access", [] if row.signs_in else [Gap("somebody who signs in and can sign", "portal")]),
        Step("offer", "First offer", [] if row.offered else [Gap("the first offer", "offer")]),
        Step("funded", "Funded", [] if row.funded else [Gap("a funded loan", "funded")]),
    )
    return Path(row, case, in_force, checklist, steps, row.asked, standing)


def _approval(row: Any, in_force: KycCase | None, now: datetime) -> list[Gap]:
    if in_force is not None:
        due = in_force.review_date
        late = due is not None and due < now.date()
        return [Gap(f"a review: it was due on {due:%d %b %Y}", "review")] if late else []
    if row.asked:
        return [Gap("the decision of compliance on the case", "review")]
    return [Gap("the case handed over to compliance", "review")]
