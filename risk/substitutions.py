"""
Substitutions: a borrower gives other collateral for what they want back, and nothing leaves before it is there.

The client's signer asks, a second person of risk agrees, the new collateral arrives, and what was asked for goes out
in the same step in which the exchange is found to leave the LTV no higher: at the marks of that moment, what comes in
at its low end, what goes out at its high end. So it also works above the level at which collateral is released.
"""

import logging
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import QuerySet

from lending import (
    access,
    allow_list,
    approvals,
    authority,
    collateral,
    deposits,
    margin_accounts,
    notices,
    obligations,
    term_sheets,
)
from lending.engine import money
from lending.models import (
    Approval,
    Asset,
    DepositAddress,
    JointSignature,
    MarginAccount,
    Pledge,
    SigningRule,
    User,
)
from lending.notices import Letter
from lending.permits import Permit, UnableToVerify
from lending.screening import UnableToDeal
from lending.withdrawals import UnableToWithdraw
from risk import permits, prices
from risk.engine.cures import substitute_quantity
from risk.exchanges import KIND, Substitution, of_account, read
from risk.models import OPEN_CALL_STATES, MarginCall
from risk.prices import Marks

log = logging.getLogger(__name__)

TIME_TO_LIVE = timedelta(days=3)
# Coins are under way for an hour or so: a little more than what is worth as much, so that prices may move meanwhile.
CUSHION = Decimal("1.02")
TOLD_FOR = timedelta(days=1)
_REFUSALS = (
    permits.UnableToPermit,
    UnableToVerify,
    collateral.UnableToRelease,
    UnableToWithdraw,
    UnableToDeal,
    allow_list.UnableToSend,
)


class UnableToSubstitute(Exception):
    """Collateral can not be exchanged; the message says why."""


def assets_in(account: MarginAccount) -> list[Asset]:
    """Return what may come in: what the account's sheets name and what is pledged, where it has an address for it."""
    known = {*term_sheets.haircuts(account.pk), *_pledged(account).values_list("asset__code", flat=True)}
    purpose = DepositAddress.Purpose.COLLATERAL
    watched = DepositAddress.objects.filter(deposits.SHOWN, margin_account=account, purpose=purpose)
    return list(Asset.objects.filter(code__in=known, pk__in=watched.values("asset")).order_by("code"))


def pledged(account: MarginAccount) -> list[Pledge]:
    """Return what may go out: what is pledged and not held for a sale."""
    return list(_pledged(account).filter(quantity__gt=0).select_related("asset").order_by("asset__code"))


def worth(account: MarginAccount, out: Asset, quantity: Decimal, other: Asset, *, marks: Marks) -> Decimal:
    """
    Return how much of another asset leaves the LTV as it is, in its units, rounded up, with a cushion.

    Raises
    ------
    UnableToSubstitute
        If both are one asset, or the mark of one is not good enough to release on.
    """
    if out.pk == other.pk:
        raise UnableToSubstitute(f"{out.code} for {out.code} exchanges nothing: choose another asset to send")
    for asset in (out, other):
        if not marks.quality(asset.code).may_release:
            raise UnableToSubstitute(f"the price of {asset.code} is {marks.quality(asset.code).value} just now")
    off = _haircuts(account)
    exact = substitute_quantity(
        quantity,
        out_weight=1 - off.get(out.code, term_sheets.HAIRCUT),
        out_price=marks.band(out.code).high,
        in_weight=1 - off.get(other.code, term_sheets.HAIRCUT),
        in_price=marks.band(other.code).low,
        decimals=other.decimals,
    )
    with money.exact():
        return money.quantize_up(exact * CUSHION, other.decimals)


@transaction.atomic
def ask(
    account: MarginAccount,
    out: Asset,
    quantity: Decimal,
    other: Asset,
    in_quantity: Decimal,
    *,
    destination: str,
    by: User,
    now: datetime,
) -> Approval | None:
    """
    Ask the desk, as the client's signer, to exchange collateral; None until a second has signed where two do.

    `in_quantity` is what the signer had in sight.

    Raises
    ------
    UnableToSubstitute
        If both are one asset, a quantity is not positive, too fine or more than what is pledged, the other asset can
        not come in, the address is not allowed, what comes in is worth less at the marks of now, a call is open, or
        another exchange of this account is.
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not this by its authority matrix.
    """
    authority.require(by, account.client, SigningRule.Action.RELEASE, asset=out, amount=quantity)
    account = margin_accounts.lock(account.pk)
    if not money.is_positive(quantity) or quantity != money.quantize_down(quantity, out.decimals):
        raise UnableToSubstitute(f"{quantity} is not a quantity that {out.code} can move ({out.decimals} decimals)")
    row = next((pledge for pledge in pledged(account) if pledge.asset_id == out.pk), None)
    if row is None or quantity > row.quantity:
        held = money.text(row.quantity) if row else "0"
        raise UnableToSubstitute(f"{held} {out.code} are pledged and not held for a sale, not {money.text(quantity)}")
    if other not in assets_in(account):
        raise UnableToSubstitute(f"{other.code} can not secure this loan, or has no address of it yet")
    try:
        allow_list.require(account.client, out, destination, now=now)
    except allow_list.UnableToSend as refusal:
        raise UnableToSubstitute(str(refusal)) from refusal
    if MarginCall.objects.filter(margin_account=account, state__in=OPEN_CALL_STATES).exists():
        raise UnableToSubstitute("a margin call is open: cure it first")
    if of_account(account, open_only=True):
        raise UnableToSubstitute("an exchange of this loan's collateral is under way already; call that one off first")
    least = worth(account, out, quantity, other, marks=prices.current(now=now))
    if in_quantity < least:
        raise UnableToSubstitute(f"prices have moved: it takes {money.text(least)} {other.code} now")
    payload = {
        "margin_account": str(account.public_id),
        "out_asset": out.code,
        "out_quantity": money.text(quantity),
        "in_asset": other.code,
        "in_quantity": money.text(in_quantity),
        "destination": destination,
    }
    whole = authority.sign(
        account.client, SigningRule.Action.RELEASE, act="exchange", content=payload, asset=out, amount=quantity,
        words=f"{payload['in_quantity']} {other.code} for {payload['out_quantity']} {out.code} to {destination}",
        loan=account.loans.order_by("pk").first(), by=by, now=now,
    )  # fmt: skip
    if not whole:
        return None
    return approvals.request(KIND, payload, maker=by, now=now, client=account.client, time_to_live=TIME_TO_LIVE)


def ask_signed(row: JointSignature, *, by: User, now: datetime) -> None:
    """Ask for an exchange as its second signer; lending.authority.UnableToSign if it can not be asked for any more."""
    asked = row.content
    account = MarginAccount.objects.select_related("client").get(public_id=asked["margin_account"])
    out, other = (Asset.objects.get(code=asked[name]) for name in ("out_asset", "in_asset"))
    quantities = Decimal(asked["out_quantity"]), Decimal(asked["in_quantity"])
    try:
        ask(account, out, quantities[0], other, quantities[1], destination=asked["destination"], by=by, now=now)
    except UnableToSubstitute as refusal:
        raise authority.UnableToSign(str(refusal)) from refusal


def call_off(account: MarginAccount, *, by: User, now: datetime) -> Approval:
    """
    Call the exchange that is under way off, as one of the client's signers; what has come in stays pledged.

    Raises
    ------
    UnableToSubstitute
        If none is under way.
    lending.approvals.UnableToApprove
        If it was carried out meanwhile.
    lending.access.UnableToAccess
        If `by` may not sign for the client.
    """
    access.require_signer(by, account.client)
    found = of_account(account, open_only=True)
    if found is None:
        raise UnableToSubstitute("no exchange is under way")
    # What only keeps collateral where it is takes one signature, whoever asked.
    authority.require(by, account.client, SigningRule.Action.RELEASE, asset=found.out_asset, amount=found.out_quantity)
    return approvals.withdraw(found.approval, by=by, now=now)


def held_up(found: Substitution, *, now: datetime) -> str:
    """Return why an exchange that two persons agreed to is not carried out now; "" where nothing is in its way."""
    if found.missing:
        return f"{money.text(found.missing)} {found.in_asset.code} have still to arrive"
    since = MarginCall.objects.filter(margin_account=found.account, issued_at__gte=found.approval.requested_at)
    if since.exists():
        # What has come in may have been its cure: it can not be given for something else as well.
        return "a margin call came after it was asked for: call it off and ask anew"
    if why := obligations.holds_back(found.account.client, pledged_to=found.account):
        return why
    try:
        _permit(found, now=now)
    except permits.UnableToPermit as refusal:
        return str(refusal)
    return ""


def carry_out_due(*, now: datetime) -> int:
    """Tell clients what became of their exchanges, and carry out those whose other side has come; return how many."""
    recent = Approval.objects.filter(kind=KIND, expires_at__gt=now - TOLD_FOR)
    found = read(list(recent.exclude(state=Approval.State.REQUESTED).select_related("maker", "checker", "client")))
    done = 0
    for each in found:
        if each.approval.state == Approval.State.APPROVED and now < each.approval.expires_at and not each.missing:
            done += _carry_out(each.approval, now=now)
            each.approval.refresh_from_db()
    notices.enqueue([letter for each in found if (letter := _letter(each))], now=now)
    return done


@transaction.atomic
def _carry_out(asked: Approval, *, now: datetime) -> int:
    """Release what was asked for, if nothing is in its way under the account's lock; return 1 if it was."""
    account = margin_accounts.lock(MarginAccount.objects.get(public_id=asked.payload["margin_account"]).pk)
    found = read([asked])[0]
    if asked.checker is None or held_up(found, now=now):
        return 0
    try:
        with transaction.atomic():
            approvals.execute(asked, asked.payload, now=now)
            collateral.release(
                account,
                found.out_asset,
                found.out_quantity,
                permit=_permit(found, now=now),
                maker=asked.maker,
                checker=asked.checker,
                key=f"substitution:{asked.public_id}",
                now=now,
                destination=found.destination,
            )
    except (*_REFUSALS, approvals.UnableToApprove, access.UnableToAccess) as refusal:
        log.info("exchange %s waits: %s", asked.public_id, refusal)
        return 0
    return 1


def _permit(found: Substitution, *, now: datetime) -> Permit:
    return permits.issue_substitution(
        found.account, found.out_asset, found.out_quantity, found.in_asset, found.arrived, now=now
    )


def _letter(found: Substitution) -> Letter | None:
    """Return what its client is told of the state that an exchange is in."""
    asked, state = found.approval, Approval.State
    swap = f"{_text(found.in_quantity, found.in_asset)} for {_text(found.out_quantity, found.out_asset)}"
    stays = "What you have sent for it stays pledged."
    leaves = "What you get back leaves as soon as that has arrived, if it counts for as much then."
    end = f"{asked.expires_at:%d %b %Y %H:%M} UTC"
    words = {
        state.APPROVED: (
            "Your exchange of collateral is agreed",
            f"Send {swap} to the loan's {found.in_asset.code} address in the portal. {leaves} Open until {end}.",
        ),
        state.EXECUTED: (
            "Your collateral was exchanged",
            f"{swap}: yours is on its way to {found.destination}.",
        ),
        state.REJECTED: ("Your exchange of collateral was not agreed to", f"{swap}. {stays}"),
        state.EXPIRED: ("Your exchange of collateral has ended", f"{swap} was not carried out in time. {stays}"),
    }
    if asked.state not in words or asked.client is None:
        return None
    subject, body = words[Approval.State(asked.state)]
    key = f"substitution:{asked.public_id}:{asked.state}"
    return Letter(
        client=asked.client, kind="substitution", subject=subject, body=body, key=key, margin_account=found.account
    )


def _text(quantity: Decimal, asset: Asset) -> str:
    return f"{quantity.normalize():,f} {asset.code}"


def _pledged(account: MarginAccount) -> QuerySet[Pledge]:
    return Pledge.objects.filter(margin_account=account)


def _haircuts(account: MarginAccount) -> dict[str, Decimal]:
    """Return the haircut of each asset that is pledged, or would be by the account's sheets, by code."""
    held = dict(_pledged(account).values_list("asset__code", "haircut"))
    return term_sheets.haircuts(account.pk) | held
