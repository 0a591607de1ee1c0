"""
What a case must hold: the lines in force for its client, each with what was found for it or what is wrong.

A line begins, changes and ends by two persons; a change ends the old line on the day on which the new one begins.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import BigIntegerField, Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast, Coalesce

from lending import approvals, reasons
from lending.dated_rules import MOST, Rulebook, UnableToRule
from lending.models import Approval, CaseFact, ChecklistItem, Client, Document, KycCase, RelatedParty, Role, User

RULES = Rulebook(
    table=ChecklistItem, begins="checklist_item", ends="end_checklist_item", began="checklist_item_begun",
    ended="checklist_item_ended", makers=frozenset({Role.COMPLIANCE}),
)  # fmt: skip
_NOBODY = Value(UUID(int=0))
_COLUMNS = ("client_kind", "jurisdiction", "rating", "kind", "about", "code", "label", "help", "expires")
_BEHIND_ENTITIES = (ChecklistItem.About.OWNER, ChecklistItem.About.DIRECTOR)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a checklist for one case: what is asked, about whom, what there is, and what is wrong with it."""

    item: ChecklistItem
    party: RelatedParty | None
    document: Document | None
    value: str
    problem: str

    @property
    def person(self) -> UUID | None:
        return self.party.person if self.party else None

    @property
    def words(self) -> str:
        """Return what is asked for, with the name of the person whom it is about."""
        return f"{self.item.label} of {self.party}" if self.party else self.item.label


@dataclass(frozen=True, slots=True)
class Checklist:
    """The lines of one case, and the people whom it names."""

    lines: list[Line]
    parties: list[RelatedParty]


def of(cases: Sequence[KycCase], *, now: datetime) -> dict[int, Checklist]:
    """
    Return the checklist of each case, by its key, in four queries however many there are.

    An approved case answers to the lines that were in force when it was approved: a new line is asked for at its next
    review, while papers that expire are missed at once.
    """
    today = now.date()
    items = list(ChecklistItem.objects.order_by("kind", "about", "label", "pk"))
    parties: defaultdict[int, list[RelatedParty]] = defaultdict(list)
    for party in RelatedParty.objects.filter(case__in=cases).order_by("name", "pk"):
        parties[party.case_id].append(party)
    facts = {(fact.case_id, fact.code, fact.person): fact.value for fact in CaseFact.objects.filter(case__in=cases)}
    papers: defaultdict[tuple[int, str, UUID | None], list[Document]] = defaultdict(list)
    used = Document.objects.filter(client__in={case.client_id for case in cases}, withdrawn_at=None)
    for paper in used.select_related("file").defer("file__content").order_by("uploaded_at", "pk"):
        papers[paper.client_id, paper.kind, paper.person].append(paper)
    found = {}
    for case in cases:
        day = (case.approved_at or now).date()
        of_whom = case.client.kind, case.client.jurisdiction, case.risk_rating
        asked = [item for item in items if _asks(item, *of_whom) and _holds(item, day)]
        # Somebody who owns and signs is asked once.
        lines: dict[tuple[str, UUID | None], Line] = {}
        for item in asked:
            for whom in _about(item, parties[case.pk]):
                line = _line(item, whom, case, facts, papers, today)
                lines.setdefault((item.code, line.person), line)
        found[case.pk] = Checklist(list(lines.values()), parties[case.pk])
    return found


@dataclass(frozen=True, slots=True)
class Due:
    """
    A paper that expires, or a case that is to be looked at again: when, whose, and which paper.

    `about` is "paper" or "case"; other modules add rows about others, with the key of the loan that it is, if it is.
    """

    date: date
    client: str
    client_id: UUID
    about: str
    kind: str
    name: str
    loan_pk: int | None = None


def due(clients: QuerySet[Client], *others: QuerySet[Any], until: date, limit: int) -> list[Due]:
    """
    Return what clients' cases miss by a day, or miss already, the first on top and in one query.

    A paper that a newer one of its kind replaces is not missed. `others` are rows with the columns of `Due`.
    """
    used = Document.objects.filter(withdrawn_at=None).alias(whose=Coalesce("person", _NOBODY))
    heirs = used.filter(
        client=OuterRef("client"), kind=OuterRef("kind"), whose=OuterRef("whose"), pk__gt=OuterRef("pk")
    )
    papers: Any = used.filter(~Exists(heirs), client__in=clients, expires_date__lte=until)
    reviews = KycCase.objects.filter(client__in=clients, state=KycCase.State.APPROVED, review_date__lte=until)
    no_loan = Cast(Value(None), BigIntegerField())
    whose = ("client__name", "client__public_id")
    rows = papers.values_list("expires_date", *whose, Value("paper"), "kind", "name", no_loan).union(
        reviews.values_list("review_date", *whose, Value("case"), Value(""), Value(""), no_loan),
        *others,
        all=True,
    )
    return [Due(*row) for row in rows.order_by("expires_date")[:limit]]


def asked(client_kind: str, jurisdiction: str, rating: str, *, on: date) -> list[ChecklistItem]:
    """Return what is asked on a day of clients of a kind, in a jurisdiction and of a risk rating."""
    rows = RULES.in_force(on=on).order_by("kind", "about", "label", "pk")
    return [item for item in rows if _asks(item, client_kind, jurisdiction, rating)]


def ask(
    item: ChecklistItem, *, instead_of: ChecklistItem | None = None, reason: str, maker: User, now: datetime
) -> Approval:
    """
    Ask a second person for a line, not kept yet, from its day on; or for it instead of another, which ends that day.

    Raises
    ------
    UnableToRule
        If it would begin in the past, says no reason, asks what is asked already, for people whom such a client does
        not have, or under a code that stands for something else; or what it is instead of can not end that day.
    lending.access.UnableToAccess
        If the maker is nobody of compliance.
    """
    said = reasons.kept(reason, UnableToRule, missing="say what asks for it: the second person reads it", most=MOST)
    _check(item, instead_of)
    payload = {name: getattr(item, name) for name in _COLUMNS} | {"reason": said}
    if instead_of is not None:
        RULES.check_end(instead_of, item.start_date, now)
        payload |= {"rule": instead_of.pk, "what": str(instead_of), "end_date": str(item.start_date)}
    return RULES.ask(payload, start_date=item.start_date, maker=maker, now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> ChecklistItem:
    """
    Put a line in force as two persons agreed, and end the one that it is instead of.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it is asked for by now, or what it is instead of can no longer end that day.
    """
    said = approval.payload
    columns = {name: said[name] for name in _COLUMNS}
    former = ChecklistItem.objects.get(pk=said["rule"]) if "rule" in said else None
    try:
        _check(ChecklistItem(**columns, start_date=date.fromisoformat(said["start_date"])), former)
    except UnableToRule as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    if former is not None:
        RULES.end(approval, now=now)
    row: ChecklistItem = RULES.begin(approval, now=now, **columns)
    return row


def carry_out_end(approval: Approval, *, now: datetime) -> ChecklistItem:
    """End a line as two persons agreed."""
    row: ChecklistItem = RULES.end(approval, now=now)
    return row


def _check(item: ChecklistItem, instead_of: ChecklistItem | None) -> None:
    """Check that a line asks what can be given, and what no other that holds then asks."""
    if item.expires and item.kind == ChecklistItem.Kind.FACT:
        raise UnableToRule("an answer does not expire: only a document is good until a day")
    if item.client_kind == Client.Kind.INDIVIDUAL and item.about in _BEHIND_ENTITIES:
        raise UnableToRule("a person has no owners and no directors: ask it of the client, or of each signer")
    if item.code == Document.AGREEMENT:
        raise UnableToRule(f"{item.code} stands for the signed agreement: choose another code")
    then = ChecklistItem.objects.filter(Q(end_date=None) | Q(end_date__gt=item.start_date), code=item.code)
    others = [row for row in then.filter(client_kind=item.client_kind) if instead_of is None or row.pk != instead_of.pk]
    for row in others:
        if row.kind != item.kind:
            raise UnableToRule(f"{item.code} stands for the {row.kind} “{row.label}”: choose another code")
        if all(getattr(row, name) == getattr(item, name) for name in ("jurisdiction", "rating", "about")):
            raise UnableToRule(f"“{row.label}” asks for {item.code} of the same already: name it as what this replaces")


def _asks(item: ChecklistItem, client_kind: str, jurisdiction: str, rating: str) -> bool:
    return item.client_kind == client_kind and item.jurisdiction in {"", jurisdiction} and item.rating in {"", rating}


def _holds(item: ChecklistItem, day: date) -> bool:
    return item.start_date <= day and (item.end_date is None or day < item.end_date)


def _about(item: ChecklistItem, parties: Sequence[RelatedParty]) -> Sequence[RelatedParty | None]:
    holds = {
        ChecklistItem.About.OWNER: lambda party: party.owner_share is not None,
        ChecklistItem.About.DIRECTOR: lambda party: party.is_director,
        ChecklistItem.About.SIGNER: lambda party: party.is_signer,
    }
    if item.about == ChecklistItem.About.CLIENT:
        return (None,)
    return [party for party in parties if holds[ChecklistItem.About(item.about)](party)]


def _line(
    item: ChecklistItem,
    party: RelatedParty | None,
    case: KycCase,
    facts: dict[tuple[int, str, UUID | None], str],
    papers: Mapping[tuple[int, str, UUID | None], Sequence[Document]],
    today: date,
) -> Line:
    person = party.person if party else None
    if item.kind == ChecklistItem.Kind.FACT:
        value = facts.get((case.pk, item.code, person), "")
        return Line(item, party, None, value, "" if value else "not answered")
    # The newest counts; in an approved case the newest that was approved with it: another waits for a review.
    until = case.approved_at if case.state == KycCase.State.APPROVED else None
    known = [
        row for row in papers.get((case.client_id, item.code, person), ()) if not until or row.uploaded_at <= until
    ]
    paper = known[-1] if known else None
    if paper is None:
        return Line(item, party, None, "", "not there")
    if paper.expires_date is not None and paper.expires_date < today:
        return Line(item, party, paper, "", f"expired on {paper.expires_date:%d %b %Y}")
    if item.expires and paper.expires_date is None:
        return Line(item, party, paper, "", "without its expiry date")
    return Line(item, party, paper, "", "")
