"""
Conditional credit: transfers that count for a call before they are final, as far as a policy of the desk lets them.

It is no balance and releases nothing: it can only hold a sale back (risk/confirming.py), and tells client and desk
what the call misses if the transfer becomes final. Whatever takes the transfer takes it away at once, and the call
stands as it was.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from lending import margin_accounts
from lending.engine import money
from lending.models import Deposit, DepositAddress
from risk import confirming, credit_policies, cures, letters, margin_calls, prices
from risk.engine.cures import conditional_quantity
from risk.models import OPEN_CALL_STATES, ConditionalCredit, CreditPolicy, MarginCall, Quality
from risk.prices import Marks

_End = ConditionalCredit.End
_TAKEN = (_End.DROPPED, _End.REFUSED, _End.LATE)  # of these client and desk are told


@dataclass(frozen=True, slots=True)
class Standing:
    """What counts conditionally for a call: the rows, and which part of the call they and what is paid cover."""

    rows: list[ConditionalCredit]
    covered: Decimal

    @property
    def until_at(self) -> datetime:
        """Return until when the first of it counts at the latest."""
        return min(row.until_at for row in self.rows)


def standing(call: MarginCall, *, now: datetime) -> Standing | None:
    """Return what counts conditionally for an open call now; None where nothing does."""
    rows = confirming.counted(call, now=now)
    if not rows:
        return None
    part = Fraction(call.cured_fraction) + sum((_part(call, row) for row in rows), Fraction(0))
    return Standing(rows, cures.shown(min(part, Fraction(1))))


def work_due(*, now: datetime) -> int:
    """End what counts no more, let count what may, and return how many of both; off where no policy is in force."""
    running = ConditionalCredit.objects.filter(ended_at=None).values_list("call__margin_account", flat=True)
    policies = credit_policies.in_force(now=now)
    due = set(running)
    if policies:
        due |= set(_candidates(policies).values_list("address__margin_account", flat=True))
    done = 0
    marks = prices.current(now=now) if due else None
    for account in sorted(due):
        with transaction.atomic():
            margin_accounts.lock(account)
            done += _work(account, policies, marks, now=now) if marks else 0
    return done


def _candidates(policies: dict[int, CreditPolicy]) -> QuerySet[Deposit]:
    """Return transfers of the policies' assets to accounts whose call runs, which have not counted for it yet."""
    calls = MarginCall.objects.filter(
        margin_account=OuterRef("address__margin_account"), state__in=margin_calls.RUNNING
    )
    counted = ConditionalCredit.objects.filter(deposit=OuterRef("pk"), call__state__in=margin_calls.RUNNING)
    enough = Q()
    for asset, policy in policies.items():
        enough |= Q(asset=asset, confirmations__gte=policy.min_confirmations)
    found = Deposit.objects.filter(enough, Exists(calls), ~Exists(counted), state=Deposit.State.PENDING, screened=True)
    return found.select_related("asset", "address").order_by("position")


def _work(account: int, policies: dict[int, CreditPolicy], marks: Marks, *, now: datetime) -> int:
    """Bring what counts for one account's call to where it stands; the account is locked."""
    done = 0
    rows = ConditionalCredit.objects.filter(ended_at=None, call__margin_account=account)
    for row in rows.select_related("call__client", "deposit__asset", "policy").order_by("pk"):
        if how := _ending(row, now=now):
            _end(row, how, now=now)
            done += 1
    running = MarginCall.objects.filter(margin_account=account, state__in=margin_calls.RUNNING).first()
    if running is None:
        return done
    call = margin_calls.locked(running.pk)
    for deposit in _candidates(policies).filter(address__margin_account=account) if policies else ():
        done += _begin(call, deposit, policies[deposit.asset_id], marks, now=now)
    return done


def _begin(call: MarginCall, deposit: Deposit, policy: CreditPolicy, marks: Marks, *, now: datetime) -> bool:
    """Let a transfer count for a call, as far as its policy and what is left of the cap go, on a GOOD mark."""
    asset, band = deposit.asset, marks.band(deposit.asset.code)
    if marks.quality(asset.code) != Quality.GOOD:
        return False
    so_far = [row.quantity for row in confirming.counted(call, now=now) if row.deposit.asset_id == asset.pk]
    with money.exact():
        cap = policy.cap_usd - sum(so_far, money.ZERO) * band.high
    counts = conditional_quantity(deposit.quantity, policy.share, cap, band.high, decimals=asset.decimals)
    if counts <= 0:
        return False
    until_at = now + timedelta(seconds=policy.wait_s)
    row = ConditionalCredit.objects.create(
        client_id=call.client_id, call=call, deposit=deposit, policy=policy, quantity=counts, begun_at=now,
        until_at=until_at,
    )  # fmt: skip
    whole = letters.amount(deposit.quantity, asset.code)
    part, latest = letters.amount(counts, asset.code), letters.instant(until_at, call.client)
    facts = {
        "transfer": deposit.custodian_ref,
        "quantity": money.text(deposit.quantity),
        "counts": money.text(counts),
        "confirmations": deposit.confirmations,
        "until": until_at.isoformat(),
        "reason": f"{part} of {whole} on its way counts before it is final",
    }
    public = f"{part} on its way counts conditionally, at the latest until {latest}"
    letters.record(call, "conditional_credit", now=now, facts=facts, public=public)
    letters.told(
        call,
        "conditional_credit",
        "Your transfer counts while it is being confirmed",
        f"{whole} is on its way to your margin account. Until it is final, {part} of it counts towards your margin "
        f"call, at the latest until {latest}. If that is enough, a sale that is due waits for it "
        f"{confirming.limit(call, now=now)}. It is not credited before it is final, and what the call asks for stays. "
        "If its network drops it, or it takes longer, it counts no more.",
        key=f"conditional:{row.deposit_id}",
        now=now,
    )
    return True


def _ending(row: ConditionalCredit, *, now: datetime) -> _End | None:
    """Return why a transfer counts conditionally no more; None while it does."""
    deposit = row.deposit
    if deposit.state == Deposit.State.CREDITED:
        return _End.FINAL
    if row.call.state not in OPEN_CALL_STATES:
        return _End.OVER
    fell_back = deposit.confirmations < row.policy.min_confirmations  # the block that it was in is gone
    if fell_back or deposit.state not in (Deposit.State.PENDING, Deposit.State.CONFIRMED):
        return _End.DROPPED
    if not deposit.screened:
        return _End.REFUSED
    return _End.LATE if now >= row.until_at else None


def _end(row: ConditionalCredit, how: _End, *, now: datetime) -> None:
    """Write down that a transfer counts no more, and tell who must know that the call stands as it was."""
    row.ended_at, row.ended_how = now, how
    row.save(update_fields=["ended_at", "ended_how"])
    if how not in _TAKEN:
        return
    call, part = row.call, letters.amount(row.quantity, row.deposit.asset.code)
    due = letters.instant(call.cure_due_at, call.client)
    said = f"{part} on its way counts no more: {how.label}"
    facts = {"transfer": row.deposit.custodian_ref, "counts": money.text(row.quantity), "reason": said}
    letters.record(call, "conditional_credit_ended", now=now, facts=facts, public=said)
    letters.told(
        call,
        "conditional_credit_ended",
        "Your transfer counts no more",
        f"{said}. Your margin call stands as it was, due {due}. If the transfer becomes final later, it is credited in "
        "full then.",
        key=f"conditional_ended:{row.deposit_id}",
        now=now,
    )


def _part(call: MarginCall, row: ConditionalCredit) -> Fraction:
    """Return which part of a call what counts of a transfer would cover."""
    deposit = row.deposit
    is_cash = deposit.address is not None and deposit.address.purpose == DepositAddress.Purpose.REPAYMENT
    if is_cash and deposit.asset_id != call.cure_asset_id:
        return Fraction(0)
    whole = call.cash_cure if is_cash else cures.whole(call, deposit.asset)
    return Fraction(row.quantity) / Fraction(whole) if whole else Fraction(0)
