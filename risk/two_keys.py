"""What risk does only when two persons have agreed to it: risk asks, the head of risk agrees."""

from datetime import datetime

from django.conf import settings
from django.db.models import Exists, F, Q, QuerySet

from lending import access, approvals
from lending.models import Approval, MarginAccount, User
from risk.models import (
    LIVE_ORDER_STATES,
    OPEN_CALL_STATES,
    DecisionLog,
    LiquidationOrder,
    MarginCall,
    MarginState,
    MarginStatus,
    Quality,
)

SALE_ON_DEGRADED = "sale_on_degraded"
SALE_IN_GRACE = "sale_in_grace"
FULL_CLOSE = "full_close"
WORDS = {kind: f"to {settings.LENDING_APPROVAL_WORDS[kind]}" for kind in (SALE_ON_DEGRADED, SALE_IN_GRACE, FULL_CLOSE)}
ON_DEGRADED = "a mark is degraded"
IN_GRACE = "grace after an outage, past the gap limit: two persons may end it"
ALL_IS_SOLD = "nothing less than selling all restores it, and that takes two persons"
_ASKS_FOR = {ON_DEGRADED: SALE_ON_DEGRADED, IN_GRACE: SALE_IN_GRACE, ALL_IS_SOLD: FULL_CLOSE}


class UnableToAsk(Exception):
    """A sale by two persons can not be asked for; the message says why."""


def needed(account: MarginAccount, episode: int) -> list[str]:
    """Return what an episode's sale waits, or has waited, for two persons to agree to."""
    waited = DecisionLog.objects.filter(margin_account=account, episode=episode, reason__in=_ASKS_FOR)
    kinds = {_ASKS_FOR[reason] for reason in waited.values_list("reason", flat=True)}
    # Where the liquidation level is reached and no breach is counted, the marks are not good enough to count one. It is
    # for the open call to say which episode that is: a sale for a default takes a number of its own beside it.
    open_call = MarginCall.objects.filter(margin_account=account, episode=episode, state__in=OPEN_CALL_STATES)
    uncounted = MarginStatus.objects.filter(
        Exists(open_call), margin_account=account, state=MarginState.LIQUIDATE, breach_since=None
    )
    # What was ordered on good marks waits at the desk while they are not.
    live = LiquidationOrder.objects.filter(margin_account=account, episode=episode, state__in=LIVE_ORDER_STATES)
    if uncounted.exists() or live.filter(asset__mark__quality=Quality.DEGRADED).exists():
        kinds.add(SALE_ON_DEGRADED)
    terms = "margin_account__terms"
    past_gap = Q(ltv__gt=F(f"{terms}__liquidation_ltv") + F(f"{terms}__gap_limit"))
    if (
        live.filter(asset__mark__grace_until__isnull=False).exists()
        and MarginStatus.objects.filter(past_gap, margin_account=account).exists()
    ):
        kinds.add(SALE_IN_GRACE)
    return sorted(kinds)


def asked(account: MarginAccount, episode: int) -> list[Approval]:
    """Return what was asked for an episode's sale so far, the newest first."""
    hashes = [approvals.payload_hash(kind, _payload(account, episode)) for kind in WORDS]
    found = Approval.objects.filter(kind__in=WORDS, client=account.client_id, payload_hash__in=hashes)
    return list(found.select_related("maker", "checker").order_by("-requested_at", "-pk"))


def request(kind: str, account: MarginAccount, episode: int, *, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to let one episode's sale go ahead on DEGRADED marks, or sell an account out.

    Raises
    ------
    UnableToAsk
        If no sale of the episode waits for that, or it has been asked for already.
    lending.access.UnableToAccess
        If the maker is not of risk.
    """
    access.require_role(maker, *access.RISK_ROLES)
    if kind not in needed(account, episode):
        raise UnableToAsk("no sale of this episode waits for two persons to agree to that")
    states = (Approval.State.REQUESTED, Approval.State.APPROVED, Approval.State.EXECUTED)
    if _rows(kind, account, episode, now=now).filter(state__in=states).exists():
        raise UnableToAsk("it was asked for already")
    return approvals.request(kind, _payload(account, episode), maker=maker, now=now, client=account.client)


def agreed(kind: str, account: MarginAccount, episode: int, *, now: datetime) -> bool:
    """Return whether two persons have agreed to a sale; it holds for the whole episode, until it expires."""
    states = (Approval.State.APPROVED, Approval.State.EXECUTED)
    return _rows(kind, account, episode, now=now).filter(state__in=states).exists()


def agreements(kind: str, *, now: datetime) -> set[tuple[str, int]]:
    """Return every account, by its public id, and episode of which two persons have agreed to a sale of one kind."""
    states = (Approval.State.APPROVED, Approval.State.EXECUTED)
    found = Approval.objects.filter(kind=kind, state__in=states, expires_at__gt=now)
    return {(payload["margin_account"], payload["episode"]) for payload in found.values_list("payload", flat=True)}


def use(kind: str, account: MarginAccount, episode: int, *, now: datetime) -> bool:
    """Note that a sale is ordered because two persons agreed to it; returns whether they did."""
    rows = _rows(kind, account, episode, now=now)
    found = rows.filter(state=Approval.State.APPROVED).order_by("decided_at", "pk").first()
    if found is None:
        return rows.filter(state=Approval.State.EXECUTED).exists()
    approvals.execute(found, _payload(account, episode), now=now)
    return True


def _rows(kind: str, account: MarginAccount, episode: int, *, now: datetime) -> QuerySet[Approval]:
    digest = approvals.payload_hash(kind, _payload(account, episode))
    return Approval.objects.filter(kind=kind, payload_hash=digest, expires_at__gt=now)


def _payload(account: MarginAccount, episode: int) -> dict[str, object]:
    return {"margin_account": str(account.public_id), "episode": episode}
