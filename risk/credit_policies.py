"""Policies of conditional credit: how far transfers of an asset count before they are final; off where none says so."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Q

from lending import access, approvals, audit, reasons
from lending.engine import money
from lending.models import Approval, Asset, User
from risk.models import LEAST_WAIT_S, LONGEST_WAIT_S, CreditPolicy

KIND, END = "credit_policy", "end_credit_policy"
MAKERS = access.RISK_ROLES
_A_DECISION = timedelta(days=7)
_LETTERS = 240


class UnableToSetPolicy(Exception):
    """A policy can not be asked for, put in force or ended; the message says why."""


def in_force(*, now: datetime) -> dict[int, CreditPolicy]:
    """Return the policies in force at an instant, by the key of their asset."""
    rows = CreditPolicy.objects.filter(Q(end_at=None) | Q(end_at__gt=now), start_at__lte=now)
    return {row.asset_id: row for row in rows.select_related("asset").order_by("start_at", "pk")}


def ask(
    *, asset: Asset, share: Decimal, min_confirmations: int, cap_usd: Decimal, wait_s: int, reason: str,
    start_at: datetime, maker: User, now: datetime,
) -> Approval:  # fmt: skip
    """
    Ask a second person for a policy that holds from an instant on, or from the decision on where that is later.

    Parameters
    ----------
    share : Decimal
        Of a transfer that counts, in (0, 1].
    min_confirmations : int
        From which on it counts, 1 at least and fewer than the asset needs: what is in no block can be replaced.
    cap_usd : Decimal
        Most that counts of the asset for one call, > 0.
    wait_s : int
        How long a transfer counts at most, between a minute and six hours.

    Raises
    ------
    UnableToSetPolicy
        If one of these is out of its bounds, it would begin in the past, no reason is said, or another policy of the
        asset has no end yet.
    lending.access.UnableToAccess
        If the maker is nobody of risk.
    """
    access.require_role(maker, *MAKERS)
    needed = asset.networks.order_by("confirmations").values_list("confirmations", flat=True).last() or 1
    if not 0 < share <= 1:
        raise UnableToSetPolicy("the share that counts is more than nothing and at most all of a transfer")
    if not 1 <= min_confirmations < needed:
        few = "which leaves none before the final one" if needed < 2 else f"so from 1 to {needed - 1} can be asked for"
        raise UnableToSetPolicy(f"{asset.code} is final with {needed}, {few}")
    if not money.is_positive(cap_usd):
        raise UnableToSetPolicy("say up to how many USD: without a cap nothing counts")
    if not LEAST_WAIT_S <= wait_s <= LONGEST_WAIT_S:
        raise UnableToSetPolicy("a transfer counts for a minute at least and six hours at most")
    if start_at < now:
        raise UnableToSetPolicy("a policy can not begin in the past")
    said = reasons.kept(reason, UnableToSetPolicy, missing="say what it rests on", most=_LETTERS)
    _check_alone(asset)
    payload = {
        "asset": asset.code,
        "share": money.text(share),
        "min_confirmations": min_confirmations,
        "cap_usd": money.text(cap_usd),
        "wait_s": wait_s,
        "reason": said,
        "start_at": start_at.isoformat(),
    }
    return approvals.request(KIND, payload, maker=maker, now=now, time_to_live=_A_DECISION)


def ask_end(policy: CreditPolicy, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to end a policy as soon as they agree; what counts by it already goes on for its time.

    Raises
    ------
    UnableToSetPolicy
        If it has an end, its end was asked for already, or no reason is said.
    lending.access.UnableToAccess
        If the maker is nobody of risk.
    """
    access.require_role(maker, *MAKERS)
    if policy.end_at is not None:
        raise UnableToSetPolicy(f"it ended {policy.end_at:%d %b %Y %H:%M} UTC already")
    said = reasons.kept(reason, UnableToSetPolicy, missing="say why it ends", most=_LETTERS)
    if policy.pk in {asked.payload["policy"] for asked in waiting(now=now) if asked.kind == END}:
        raise UnableToSetPolicy("its end waits for a second person already")
    payload = {"policy": policy.pk, "what": str(policy), "reason": said}
    return approvals.request(END, payload, maker=maker, now=now, time_to_live=_A_DECISION)


def waiting(*, now: datetime) -> list[Approval]:
    """Return the policies, and ends of policies, that wait for a second person."""
    return approvals.waiting(KIND, END, now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> CreditPolicy:
    """Put a policy in force as two persons agreed; one that was to begin meanwhile begins now."""
    asked, checker = approval.payload, approval.checker
    if checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    asset = Asset.objects.select_for_update(no_key=True).get(code=asked["asset"])
    try:
        _check_alone(asset)
    except UnableToSetPolicy as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    row = CreditPolicy.objects.create(
        asset=asset,
        share=Decimal(asked["share"]),
        min_confirmations=asked["min_confirmations"],
        cap_usd=Decimal(asked["cap_usd"]),
        wait_s=asked["wait_s"],
        reason=asked["reason"],
        start_at=max(datetime.fromisoformat(asked["start_at"]), now),
        maker=approval.maker,
        checker=checker,
    )
    audit.write("credit_policy_set", actor=checker, obj=row, after=dict(asked), now=now)
    return row


@transaction.atomic
def carry_out_end(approval: Approval, *, now: datetime) -> CreditPolicy:
    """End a policy as two persons agreed; one that has not begun never does."""
    asked, checker = approval.payload, approval.checker
    if checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    row = CreditPolicy.objects.select_for_update(of=("self",)).get(pk=asked["policy"])
    if row.end_at is not None:
        raise approvals.UnableToApprove("it has ended already")
    row.end_at, row.end_maker, row.end_checker = max(now, row.start_at), approval.maker, checker
    row.save(update_fields=["end_at", "end_maker", "end_checker"])
    audit.write("credit_policy_ended", actor=checker, obj=row, after=dict(asked), now=now)
    return row


def _check_alone(asset: Asset) -> None:
    if CreditPolicy.objects.filter(asset=asset, end_at=None).exists():
        raise UnableToSetPolicy(f"a policy of {asset.code} has no end yet: end that first")
