"""KYC and KYB cases: opened, filled in, handed over by one person and approved by another, looked at again in time."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from lending import access, approvals, audit, checklists, reasons, screening
from lending.checklists import Line
from lending.engine import money
from lending.models import (
    Approval,
    CaseFact,
    Client,
    Document,
    KycCase,
    RelatedParty,
    Role,
    SigningRule,
    User,
)
from lending.screening import Standing

KIND = "kyc_case"
KEEPERS = frozenset({Role.RELATIONSHIP_MANAGER, Role.OPERATIONS})
# The longest until a case is looked at again; what a desk's own policy says is a day before that.
REVIEW_WITHIN = {KycCase.Rating.LOW: 3 * 366, KycCase.Rating.MEDIUM: 2 * 366, KycCase.Rating.HIGH: 366}
_A_DECISION = timedelta(days=7)


class UnableToKeep(Exception):
    """A case can not be opened or changed in this way; the message says why."""


class UnableToSubmit(Exception):
    """A case can not be handed over; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that is missing, in words, and on which page of the path it is done."""

    words: str
    page: str


def current(client: Client) -> KycCase | None:
    """Return the case that is worked on: the open one, or else the one in force."""
    rows = KycCase.objects.filter(client=client, state__in=(KycCase.State.OPEN, KycCase.State.APPROVED))
    return rows.select_related("client", "maker", "checker").order_by("-opened_at", "-pk").first()


def in_force(client: Client) -> KycCase | None:
    """Return the approved case of a client."""
    return KycCase.objects.filter(client=client, state=KycCase.State.APPROVED).select_related("client").first()


@transaction.atomic
def open_case(client: Client, *, by: User, now: datetime) -> KycCase:
    """
    Open a case; one that follows another begins with its facts, people and matrix.

    Raises
    ------
    UnableToKeep
        If one is open already, or the client is closed.
    lending.access.UnableToAccess
        If `by` keeps no cases, or does not see the client.
    """
    _require(by, client)
    if client.stage == Client.Stage.CLOSED:
        raise UnableToKeep(f"{client} is closed")
    before = in_force(client)
    try:
        with transaction.atomic():
            case = KycCase.objects.create(client=client, opened_by=by, opened_at=now)
    except IntegrityError as refused:
        raise UnableToKeep(f"a case of {client} is open already") from refused
    if before is not None:
        _copy(before, case)
    if client.stage == Client.Stage.PROSPECT:
        client.stage, client.stage_at = Client.Stage.ONBOARDING, now
        client.save(update_fields=["stage", "stage_at"])
    audit.write("case_opened", actor=by, obj=case, after={"review": before is not None}, now=now)
    return case


def _copy(before: KycCase, case: KycCase) -> None:
    for table in (CaseFact, RelatedParty, SigningRule):
        rows: list[Any] = list(table.objects.filter(case=before).order_by("pk"))
        for row in rows:
            row.pk, row.case = None, case
        table.objects.bulk_create(rows)


@transaction.atomic
def answer(case: KycCase, code: str, value: str, *, person: UUID | None = None, by: User, now: datetime) -> None:
    """Write down what a checklist asks for; nothing typed takes an answer back."""
    opened(case, by)
    said = value.strip()
    facts = CaseFact.objects.filter(case=case, code=code, person=person)
    if not said:
        facts.delete()
    elif len(said) > 400:
        raise UnableToKeep("an answer has at most 400 characters")
    else:
        CaseFact.objects.update_or_create(
            case=case,
            code=code,
            person=person,
            defaults={"client": case.client, "value": said, "recorded_by": by, "recorded_at": now},
        )


@transaction.atomic
def rate(case: KycCase, rating: str, reason: str, review_date: date, *, by: User, now: datetime) -> None:
    """
    Rate the risk of a client, and say when the case is looked at again.

    Raises
    ------
    UnableToKeep
        If no reason is given, or the review is not after today or later than the rating allows.
    """
    row = opened(case, by)
    latest = now.date() + timedelta(days=REVIEW_WITHIN[KycCase.Rating(rating)])
    said = reasons.kept(reason, UnableToKeep, missing="say what the rating rests on")
    if not now.date() < review_date <= latest:
        raise UnableToKeep(f"a client of {rating} risk is looked at again after today and by {latest:%d %b %Y}")
    row.risk_rating, row.rating_reason, row.review_date, row.rated_by = rating, said, review_date, by
    row.save(update_fields=["risk_rating", "rating_reason", "review_date", "rated_by"])
    after = {"rating": rating, "review_date": review_date.isoformat()}
    audit.write("case_rated", actor=by, obj=row, after=after, reason=row.rating_reason, now=now)


def looked_at() -> QuerySet[KycCase]:
    """Return cases with what tells whether their people are known: owned, directed, how many sign, who accepts."""
    parties = RelatedParty.objects.filter(case=OuterRef("pk"))
    signing = parties.filter(is_signer=True).order_by().values("case").annotate(number=Count("pk")).values("number")
    accepts = SigningRule.objects.filter(case=OuterRef("pk"), action=SigningRule.Action.ACCEPT)
    rows = KycCase.objects.select_related("client", "maker", "checker")
    return rows.annotate(
        owned=Exists(parties.filter(owner_share__isnull=False)),
        directed=Exists(parties.filter(is_director=True)),
        signing=Coalesce(Subquery(signing), 0),
        accepts=Exists(accepts),
    )


def missing(case: KycCase, *, now: datetime) -> list[Gap]:
    """Return what keeps a case from being handed over, or in force, in the order of the path."""
    row = looked_at().get(pk=case.pk)
    lists = checklists.of([row], now=now)
    return gaps(row, lists[row.pk].lines, screening.standing(row.client))


def gaps(case: KycCase, lines: Sequence[Line], standing: Standing) -> list[Gap]:
    """Return what a case that was `looked_at` misses, given the lines of its checklist and its client's screening."""
    return [
        *of_client(case.client),
        *of_papers(case, lines),
        *_of_people(case),
        *_of_rating(case),
        *_of_screening(case, standing),
    ]


def of_client(client: Client) -> list[Gap]:
    """Return what is not known of a client itself."""
    asked = {
        "source": "how the client came to us",
        "geography": "where its business is",
        "expected_size_usd": "what it is expected to borrow",
        "classification": "its classification",
    }
    return [Gap(words, "facts") for name, words in asked.items() if not getattr(client, name)]


def of_papers(case: KycCase, lines: Sequence[Line]) -> list[Gap]:
    """Return what is missing, or no longer good, of what a checklist asks for."""
    if not lines:
        what = f"{case.client.get_kind_display().lower()} clients in {case.client.jurisdiction}"
        return [Gap(f"a checklist for {what}: none is in force", "documents")]
    return [Gap(f"{line.words}: {line.problem}", "documents") for line in lines if line.problem]


def _of_people(case: Any) -> list[Gap]:
    """Return who behind a client is not known: of a person, only by which address they sign for themself."""
    asked = [
        (case.owned, "an owner"),
        (case.directed, "a director"),
        (case.signing, "somebody who signs"),
        (case.accepts, "who may accept offers, in the authority matrix"),
    ]
    if case.client.kind == Client.Kind.INDIVIDUAL:
        asked = [
            (case.signing, "the e-mail address by which they sign for themself"),
            (case.signing < 2 or case.accepts, "which of them may accept offers, in the authority matrix"),
        ]
    return [Gap(words, "people") for there, words in asked if not there]


def _of_rating(case: KycCase) -> list[Gap]:
    return [] if case.risk_rating and case.review_date else [Gap("a risk rating and the day of the review", "review")]


def _of_screening(case: KycCase, standing: Standing) -> list[Gap]:
    """Return that a screening is missing; a match stops a case that is in force too."""
    passes = standing.clear or (case.state == KycCase.State.APPROVED and not standing.waits)
    return [] if passes else [Gap(f"the screening: {standing.words}", "review")]


def waiting(case: KycCase, *, now: datetime) -> Approval | None:
    """Return the request that waits for a second person to decide a case."""
    found = Approval.objects.filter(
        kind=KIND, client=case.client_id, state=Approval.State.REQUESTED, expires_at__gt=now,
        payload__case=str(case.public_id),
    )  # fmt: skip
    return found.select_related("maker").order_by("pk").first()


@transaction.atomic
def submit(case: KycCase, *, maker: User, now: datetime) -> Approval:
    """
    Hand a case over to a second person, bound to exactly what it holds now.

    Raises
    ------
    UnableToSubmit
        If something is missing, all of it named; or it waits for a decision already.
    """
    row = opened(case, maker)
    gaps = missing(row, now=now)
    if gaps:
        raise UnableToSubmit("still missing: " + "; ".join(gap.words for gap in gaps))
    if waiting(row, now=now) is not None:
        raise UnableToSubmit("it waits for a second person already")
    payload = {
        "case": str(row.public_id),
        "reason": row.rating_reason,
        "risk_rating": row.risk_rating,
        "review_date": str(row.review_date),
        "content_hash": _hash(contents([row], now=now)[0]).hex(),
    }
    return approvals.request(KIND, payload, maker=maker, now=now, client=row.client, time_to_live=_A_DECISION)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> KycCase:
    """
    Put a case in force as a second person approved it, in place of the one before.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it is not open, was changed since it was handed over, misses something by now, or the checker has rated it or
        brought in a paper, an answer, a person or a line of the matrix that it rests on.
    """
    if approval.checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    case = KycCase.objects.select_for_update(of=("self",)).get(public_id=approval.payload["case"])
    if case.state != KycCase.State.OPEN:
        raise approvals.UnableToApprove(f"the case is {case.get_state_display().lower()} already")
    gaps = missing(case, now=now)
    if gaps:
        raise approvals.UnableToApprove("the case misses by now: " + "; ".join(gap.words for gap in gaps))
    holds = contents([case], now=now)[0]
    if _hash(holds).hex() != approval.payload["content_hash"]:
        raise approvals.UnableToApprove(
            "the case was changed after it was handed over: reject this and have it sent anew"
        )
    if approval.checker_id in _makers(case, now):
        raise approvals.UnableToApprove(
            f"{approval.checker} made a part of what the case rests on: another approves it"
        )
    KycCase.objects.filter(client=case.client_id, state=KycCase.State.APPROVED).update(state=KycCase.State.SUPERSEDED)
    case.state, case.maker, case.checker = KycCase.State.APPROVED, approval.maker, approval.checker
    case.approved_at, case.content = now, holds
    case.save(update_fields=["state", "maker", "checker", "approved_at", "content"])
    after = {"rating": case.risk_rating, "review_date": str(case.review_date), "maker": approval.maker.email}
    audit.write("case_approved", actor=approval.checker, obj=case, after=after, now=now)
    return case


def contents(cases: Sequence[KycCase], *, now: datetime) -> list[dict[str, Any]]:
    """Return all that each case rests on: what two persons look at, and what stays with it."""
    lists = checklists.of(cases, now=now)
    facts, rules = defaultdict(list), defaultdict(list)
    for fact in CaseFact.objects.filter(case__in=cases).order_by("code", "person"):
        facts[fact.case_id].append([fact.code, str(fact.person or ""), fact.value])
    for rule in SigningRule.objects.filter(case__in=cases).select_related("asset").order_by("action", "pk"):
        rules[rule.case_id].append(rule_facts(rule))
    return [
        {
            "client": client_facts(case.client),
            "rating": [case.risk_rating, case.rating_reason, str(case.review_date)],
            "documents": [
                [line.item.code, str(line.person or ""), _paper(line.document)]
                for line in lists[case.pk].lines
                if line.document
            ],
            "facts": facts[case.pk],
            "people": [_party(party) for party in lists[case.pk].parties],
            "authority": rules[case.pk],
        }
        for case in cases
    ]


def client_facts(client: Client) -> list[str]:
    """Return who a client is and what it is expected to be, as its case is approved for it."""
    size = "" if client.expected_size_usd is None else money.text(client.expected_size_usd)
    who = [client.name, client.kind, client.jurisdiction, client.classification]
    return [*who, client.source, client.geography, size]


def differs(case: KycCase, client: Client) -> bool:
    """Return whether a client is another than its approved case says; what an older case does not hold is left out."""
    approved_as = case.content.get("client", [])
    return any(was != is_now for was, is_now in zip(approved_as, client_facts(client), strict=False))


def _makers(case: KycCase, now: datetime) -> set[int | None]:
    """Return who has brought in what a case rests on."""
    made = {line.document.uploaded_by_id for line in checklists.of([case], now=now)[case.pk].lines if line.document}
    for table in (CaseFact, RelatedParty, SigningRule):
        made |= set(table.objects.filter(case=case).values_list("recorded_by", flat=True))
    return made | {case.rated_by_id}


def _paper(document: Document) -> str:
    return f"{bytes(document.file.sha256).hex()} {document.expires_date or ''}".rstrip()


def _party(party: RelatedParty) -> dict[str, str]:
    share = "" if party.owner_share is None else money.text(party.owner_share)
    return {
        "person": str(party.person), "name": party.name, "country": party.country, "email": party.email,
        "birth_date": str(party.birth_date or ""), "share": share,
        "director": str(party.is_director), "signer": str(party.is_signer),
    }  # fmt: skip


def rule_facts(rule: SigningRule) -> dict[str, str]:
    """Return a line of the matrix as it is approved and remembered."""
    return {
        "person": str(rule.person or ""),
        "action": rule.action,
        "asset": rule.asset.code if rule.asset else "",
        "up_to": "" if rule.up_to is None else money.text(rule.up_to),
        "signatures": str(rule.signatures),
    }


def _hash(holds: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(holds, sort_keys=True, separators=(",", ":")).encode()).digest()


def _require(by: User, client: Client) -> None:
    access.require_role(by, *KEEPERS)
    access.require_client(by, client)


def opened(case: KycCase, by: User) -> KycCase:
    """
    Return a case as it stands, locked, for somebody who keeps it.

    Raises
    ------
    UnableToKeep
        If it is approved: what it holds then stays.
    lending.access.UnableToAccess
        If they keep no cases, or do not see its client.
    """
    _require(by, case.client)
    row = KycCase.objects.select_for_update(of=("self",)).select_related("client").get(pk=case.pk)
    if row.state != KycCase.State.OPEN:
        raise UnableToKeep("the case is approved: open a review to change what it holds")
    return row
