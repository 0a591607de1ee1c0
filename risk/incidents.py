"""What a person must look at, and why something that was due was not done."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from lending import audit, bulk, events, ids
from lending.models import Asset, Event, MarginAccount, User
from risk.models import DecisionLog, Incident, IncidentEvent, PriceSnapshot

CONSOLE = "console"
# A reason that holds on is written again once a minute, not with every poll.
REPEAT_AFTER = timedelta(seconds=60)
NOTE_LENGTH = 1000
UNKNOWN_STATE, SALE_REFUSED, DISPUTE = "unknown_state", "sale_refused", "dispute"
UNBOOKED_FILL, SETTLEMENT_FAILED, TRANSFER_HELD = "unbooked_fill", "settlement_failed", "transfer_held"
RESET_OVERDUE, CAPITALISATION_OVERDUE, STEP_FAILS = "reset_overdue", "capitalisation_overdue", "step_fails"
FOR_DEFAULT = "collateral is being sold for a default, which pays the loan off"  # why a breach is not called
# These end with their cause, which has a door of its own: while it stands, nobody may say that it is over.
CLOSES_BY_ITSELF = frozenset(
    {
        UNKNOWN_STATE, SALE_REFUSED, DISPUTE, UNBOOKED_FILL, SETTLEMENT_FAILED, RESET_OVERDUE, CAPITALISATION_OVERDUE,
        STEP_FAILS, TRANSFER_HELD,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one account that a person must look at."""

    margin_account: MarginAccount
    summary: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Undone:
    """
    Why a breach of one account led to no call, or a due sale was not made.

    A row from before `since` is written again at once: the reason holds for another breach.
    """

    margin_account: MarginAccount
    episode: int
    decision: str
    reason: str
    since: datetime | None = None


class UnableToHandle(Exception):
    """Somebody else has the incident, it is closed, or there is nothing in the note."""


def open_once(
    kind: str,
    summary: str,
    *,
    now: datetime,
    margin_account: MarginAccount | None = None,
    asset: Asset | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Incident:
    """Open an incident of one kind for an account or an asset and alert the desk, unless one is open already."""
    subject = Incident.objects.filter(kind=kind, margin_account=margin_account, asset=asset)
    already = subject.filter(closed_at=None).first()
    if already is not None:
        return already
    incident = _new(kind, summary, now=now, margin_account=margin_account, asset=asset, facts=facts or {})
    incident.save(force_insert=True)
    _tell([incident], "incident_opened", now=now)
    return incident


def open_for(kind: str, found: Sequence[Finding], *, now: datetime) -> None:
    """Open an incident of one kind for each of some accounts as `open_once` does, in a constant number of queries."""
    if not found:
        return
    accounts = [finding.margin_account.pk for finding in found]
    open_now = Incident.objects.filter(kind=kind, margin_account__in=accounts, asset=None, closed_at=None)
    already = set(open_now.values_list("margin_account", flat=True))
    fresh = [
        _new(kind, finding.summary, now=now, margin_account=finding.margin_account, asset=None, facts=finding.facts)
        for finding in found
        if finding.margin_account.pk not in already
    ]
    _tell(Incident.objects.bulk_create(fresh), "incident_opened", now=now)


def restate(kind: str, found: Sequence[Finding]) -> None:
    """Have the open incidents of one kind of some accounts say what is found about them by now; two queries."""
    if not found:
        return
    by_account = {finding.margin_account.pk: finding for finding in found}
    changed = []
    for row in Incident.objects.filter(kind=kind, margin_account__in=by_account, asset=None, closed_at=None):
        finding = by_account.get(row.margin_account_id or 0)
        if finding is not None and row.facts != finding.facts:
            row.summary, row.facts = finding.summary, dict(finding.facts)
            changed.append(row)
    bulk.update(changed, ["summary", "facts"])


def follow(kind: str, found: Mapping[int, Finding], *, now: datetime, undecided: Collection[int] = ()) -> int:
    """
    Have the incidents of one kind say what is found, by margin account key; return how many were opened or closed.

    What is undecided about an account leaves its incident as it is.
    """
    standing = Incident.objects.filter(kind=kind, closed_at=None).select_related("margin_account")
    accounts = {row.margin_account.pk: row.margin_account for row in standing if row.margin_account is not None}
    fresh = [finding for key, finding in found.items() if key not in accounts]
    open_for(kind, fresh, now=now)
    restate(kind, [finding for key, finding in found.items() if key in accounts])
    over = [account for key, account in accounts.items() if key not in found and key not in undecided]
    return len(fresh) + close_for(kind, over, now=now)


def close(kind: str, *, now: datetime, margin_account: MarginAccount | None = None, asset: Asset | None = None) -> int:
    """Close the open incident of one kind for an account or an asset, and return how many there were."""
    return _close(Incident.objects.filter(kind=kind, margin_account=margin_account, asset=asset), now=now)


def close_for(kind: str, margin_accounts: Sequence[MarginAccount], *, now: datetime) -> int:
    """Close the open incidents of one kind of some accounts in a constant number of queries; return how many."""
    if not margin_accounts:
        return 0
    return _close(Incident.objects.filter(kind=kind, margin_account__in=margin_accounts, asset=None), now=now)


def _new(
    kind: str,
    summary: str,
    *,
    now: datetime,
    margin_account: MarginAccount | None,
    asset: Asset | None,
    facts: Mapping[str, Any],
) -> Incident:
    about = margin_account.public_id if margin_account else asset.code if asset else "platform"
    key = f"{kind}:{about}:{now.isoformat()}"
    return Incident(
        public_id=ids.derived("incident", key),
        key=key,
        kind=kind,
        asset=asset,
        margin_account=margin_account,
        client_id=margin_account.client_id if margin_account else None,
        summary=summary,
        facts=dict(facts),
        opened_at=now,
    )


def _close(of_subjects: QuerySet[Incident], *, now: datetime) -> int:
    found = list(of_subjects.filter(closed_at=None).order_by("pk"))
    for incident in found:
        incident.closed_at = now
    bulk.update(found, ["closed_at"])
    _tell(found, "incident_closed", now=now, end=": over")
    return len(found)


def _tell(incidents: Sequence[Incident], kind: str, *, now: datetime, end: str = "") -> None:
    """Announce what became of incidents to the console."""
    Event.objects.bulk_create(
        events.new(
            CONSOLE,
            kind,
            {"incident": str(incident.public_id), "summary": f"{incident.summary}{end}"},
            client_id=incident.client_id,
            now=now,
        )
        for incident in incidents
    )


def acknowledge(incident: Incident, *, user: User, now: datetime) -> Incident:
    """
    Note who looks into an incident; the first who says so has it.

    Raises
    ------
    UnableToHandle
        If somebody else looks into it.
    """
    with transaction.atomic():
        row = _locked(incident)
        if row.acknowledged_by_id not in (None, user.pk):
            raise UnableToHandle(f"{row.acknowledged_by} looks into it already")
        if row.acknowledged_by_id is None:
            row.acknowledged_by = user
            row.save(update_fields=["acknowledged_by"])
            _keep(row, "acknowledged", f"{user} looks into it", user=user, note="", now=now)
    return row


def note(incident: Incident, text: str, *, user: User, now: datetime) -> IncidentEvent:
    """
    Keep what a person has to say about an incident.

    Raises
    ------
    UnableToHandle
        If the text is empty or longer than NOTE_LENGTH.
    """
    said = _said(text)
    with transaction.atomic():
        return _keep(incident, "noted", f"{user} noted: {said[:120]}", user=user, note=said, now=now)


def resolve(incident: Incident, text: str, *, user: User, now: datetime) -> Incident:
    """
    Close an incident by hand, with what was done about it.

    Raises
    ------
    UnableToHandle
        If it is closed, nothing is said about it, or the platform closes its kind by itself once the cause is gone.
    """
    said = _said(text)
    with transaction.atomic():
        row = _locked(incident)
        if row.closed_at is not None:
            raise UnableToHandle("it is closed already")
        if row.kind in CLOSES_BY_ITSELF:
            raise UnableToHandle("its cause still stands: it closes by itself once that is gone")
        row.closed_at, row.resolved_by = now, user
        row.save(update_fields=["closed_at", "resolved_by"])
        _keep(row, "resolved", f"{row.summary[:200]}: resolved by {user}", user=user, note=said, now=now)
    return row


def _locked(incident: Incident) -> Incident:
    return Incident.objects.select_for_update(of=("self",)).select_related("acknowledged_by").get(pk=incident.pk)


def _keep(incident: Incident, kind: str, summary: str, *, user: User, note: str, now: datetime) -> IncidentEvent:
    """Keep a step with its actor, on the audit trail too, and tell the console."""
    audit.write(f"incident.{kind}", actor=user, obj=incident, after={"note": note} if note else {}, now=now)
    payload = {"incident": str(incident.public_id), "summary": summary}
    events.emit(CONSOLE, f"incident_{kind}", payload, client_id=incident.client_id, now=now)
    return IncidentEvent.objects.create(
        incident=incident, client_id=incident.client_id, kind=kind, actor=user, note=note, happened_at=now
    )


def _said(text: str) -> str:
    said = text.strip()
    if not said:
        raise UnableToHandle("say what it is about")
    if len(said) > NOTE_LENGTH:
        raise UnableToHandle(f"it has {len(said)} characters, and {NOTE_LENGTH} are kept")
    return said


def log(
    margin_account: MarginAccount,
    episode: int,
    decision: str,
    reason: str,
    *,
    now: datetime,
    snapshot: PriceSnapshot | None = None,
) -> None:
    """
    Write down why a breach led to no call, or a due sale was not made; one row per account, episode and reason.
    """
    log_many([Undone(margin_account, episode, decision, reason)], now=now, snapshot=snapshot)


# A row that stood before is counted again once a minute, and at once if it is older than what it is about now.
_COUNT = """
    UPDATE risk_decisionlog d SET last_at = %(now)s, count = d.count + 1
      FROM unnest(%(account)s::bigint[], %(episode)s::int[], %(decision)s::text[], %(reason)s::text[],
                  %(since)s::timestamptz[]) AS v(account, episode, decision, reason, since)
     WHERE d.margin_account_id = v.account AND d.episode = v.episode AND d.decision = v.decision
       AND d.reason = v.reason AND (d.last_at <= %(before)s OR d.last_at < v.since)
"""


def log_many(found: Sequence[Undone], *, now: datetime, snapshot: PriceSnapshot | None = None) -> None:
    """Write down as `log` does why something was not done about some accounts, in two statements."""
    if not found:
        return
    DecisionLog.objects.bulk_create(
        [
            DecisionLog(
                margin_account=undone.margin_account,
                client_id=undone.margin_account.client_id,
                episode=undone.episode,
                decision=undone.decision,
                reason=undone.reason,
                snapshot=snapshot,
                first_at=now,
                last_at=now,
            )
            for undone in found
        ],
        ignore_conflicts=True,
    )
    values: dict[str, Any] = {
        "now": now,
        "before": now - REPEAT_AFTER,
        "account": [undone.margin_account.pk for undone in found],
        "episode": [undone.episode for undone in found],
        "decision": [undone.decision for undone in found],
        "reason": [undone.reason for undone in found],
        "since": [undone.since for undone in found],
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, values)
