"""Payouts: what a client has free goes to an address of theirs, when their signer has asked and the desk agrees."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from lending import access, allow_list, approvals, authority, margin_accounts, notices, obligations, withdrawals
from lending.engine import money
from lending.engine.chart import AccountKind
from lending.models import (
    Approval,
    Asset,
    Client,
    JointSignature,
    LedgerBalance,
    SigningRule,
    User,
    Withdrawal,
)
from lending.notices import Letter
from lending.screening import UnableToDeal
from risk.models import OPEN_CALL_STATES, MarginCall

KIND = "client_payout"
TIME_TO_LIVE = timedelta(days=3)
_REFUSALS = (withdrawals.UnableToWithdraw, allow_list.UnableToSend, UnableToDeal)


class UnableToPay(Exception):
    """Nothing can be paid out; the message says why."""


@dataclass(frozen=True, slots=True)
class Free:
    """What a client has of an asset that is owed to nobody, and what of it is asked for already, in its units."""

    client: Client
    asset: Asset
    quantity: Decimal
    asked: Decimal

    @property
    def left(self) -> Decimal:
        """Return what can still be asked for."""
        with money.exact():
            return max(self.quantity - self.asked, money.ZERO)


def free(clients: Iterable[Client]) -> list[Free]:
    """Return what some clients have free, by client and asset, nothing left out that is not zero; in two queries."""
    by_key = {client.pk: client for client in clients}
    rows = LedgerBalance.objects.filter(account__client__in=by_key, account__kind=AccountKind.CLIENT_FREE)
    asked: dict[tuple[int, str], Decimal] = {}
    for row in waiting(by_key.values()):
        place = (row.client_id or 0, row.payload["asset"])
        with money.exact():
            asked[place] = asked.get(place, money.ZERO) + Decimal(row.payload["quantity"])
    found = rows.exclude(amount=0).select_related("account__asset").order_by("account__client", "account__asset__code")
    every = []
    for balance in found:
        asset, client = balance.account.asset, by_key[balance.account.client_id or 0]
        waits = asked.get((client.pk, asset.code), money.ZERO)
        every.append(Free(client, asset, balance.amount.copy_negate(), waits))
    return every


def waiting(clients: Iterable[Client]) -> list[Approval]:
    """Return the requests of some clients that nobody has decided yet, the oldest first."""
    found = Approval.objects.filter(
        kind=KIND, client__in=[client.pk for client in clients], state=Approval.State.REQUESTED
    )
    return list(found.select_related("maker", "client").order_by("requested_at", "pk"))


def on_their_way(clients: Iterable[Client], *, limit: int) -> list[Withdrawal]:
    """Return the newest transfers out to some clients."""
    rows = Withdrawal.objects.filter(client__in=[client.pk for client in clients]).select_related("asset", "client")
    return list(rows.order_by("-requested_at", "-pk")[:limit])


def why_not(client: Client) -> str:
    """Return why nothing is paid out to a client now; "" where nothing is in its way."""
    if MarginCall.objects.filter(client=client, state__in=OPEN_CALL_STATES).exists():
        return "a margin call is open: what is free can cure it"
    if client.margin_accounts.filter(frozen=True).exists():
        return "an account is frozen"
    return obligations.holds_back(client)


@transaction.atomic
def ask(
    client: Client, asset: Asset, quantity: Decimal, *, destination: str, by: User, now: datetime
) -> Approval | None:
    """
    Ask the desk, as the client's signer, to send what is free to an allowed address.

    None comes back until a second has signed where two do.

    Raises
    ------
    UnableToPay
        If the quantity is not positive, too fine or more than what is free and not asked for yet, the address is not
        allowed or in its cooling-off, a margin call is open, an account is frozen, or something is due and not paid.
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not this by its authority matrix.
    """
    authority.require(by, client, SigningRule.Action.RELEASE, asset=asset, amount=quantity)
    Client.objects.select_for_update().get(pk=client.pk)  # two requests at once do not ask for the same money
    if not money.is_positive(quantity) or quantity != money.quantize_down(quantity, asset.decimals):
        raise UnableToPay(f"{quantity} is not an amount that {asset.code} can move ({asset.decimals} decimals)")
    left = next((row.left for row in free([client]) if row.asset.pk == asset.pk), money.ZERO)
    if quantity > left:
        raise UnableToPay(f"{money.text(left)} {asset.code} are free and not asked for yet, not {money.text(quantity)}")
    try:
        allow_list.require(client, asset, destination, now=now)
    except allow_list.UnableToSend as refusal:
        raise UnableToPay(str(refusal)) from refusal
    if why := why_not(client):
        raise UnableToPay(why)
    payload = {
        "client": str(client.public_id),
        "asset": asset.code,
        "quantity": money.text(quantity),
        "destination": destination,
    }
    whole = authority.sign(
        client, SigningRule.Action.RELEASE, act="payout", words=f"{payload['quantity']} {asset.code} to {destination}",
        content=payload, asset=asset, amount=quantity, by=by, now=now,
    )  # fmt: skip
    if not whole:
        return None
    row = approvals.request(KIND, payload, maker=by, now=now, client=client, time_to_live=TIME_TO_LIVE)
    body = (
        f"{by} asks that {_words(payload)}. It is sent once a second person at the desk has agreed. If nobody of yours "
        "wants it, take it back in the portal, under Money."
    )
    _tell(row, client, "payout_asked", "Money of yours is asked for", body, now)
    return row


def _words(asked: Mapping[str, str]) -> str:
    return f"{asked['quantity']} {asked['asset']} of what you have free go to {asked['destination']}"


def _tell(row: Approval, client: Client, kind: str, subject: str, body: str, now: datetime) -> None:
    letter = Letter(client=client, kind=kind, subject=subject, body=body, key=f"{kind}:{row.public_id}")
    notices.enqueue([letter], now=now)


def ask_signed(row: JointSignature, *, by: User, now: datetime) -> None:
    """Ask for a payout as its second signer; lending.authority.UnableToSign if it can not be asked for any more."""
    asked = row.content
    asset, quantity = Asset.objects.get(code=asked["asset"]), Decimal(asked["quantity"])
    try:
        ask(row.client, asset, quantity, destination=asked["destination"], by=by, now=now)
    except UnableToPay as refusal:
        raise authority.UnableToSign(str(refusal)) from refusal


def take_back(public_id: str, clients: Iterable[Client], *, by: User, now: datetime) -> Approval:
    """
    Take a request back that nobody has decided yet.

    Raises
    ------
    UnableToPay
        If none of these clients has such a request.
    lending.access.UnableToAccess
        If `by` may not sign for its client.
    """
    row = next((row for row in waiting(clients) if str(row.public_id) == public_id), None)
    if row is None or row.client is None:
        raise UnableToPay("it waits no more")
    access.require_signer(by, row.client)
    return approvals.withdraw(row, by=by, now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Withdrawal:
    """
    Ask for the transfer that the client and the desk have agreed to.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it may not leave now; the message says why.
    """
    asked, client, checker = approval.payload, approval.client, approval.checker
    if client is None or checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    asset, quantity = Asset.objects.get(code=asked["asset"]), Decimal(asked["quantity"])
    account = client.margin_accounts.order_by("-pk").first()
    if why := why_not(client):
        raise approvals.UnableToApprove(f"nothing is sent: {why}")
    try:
        allow_list.require(client, asset, asked["destination"], now=now)
        sent = withdrawals.request(
            client,
            asset,
            quantity,
            destination=asked["destination"],
            purpose="payout",
            maker=approval.maker,
            checker=checker,
            book=margin_accounts.book_of(account) if account else margin_accounts.house_book(),
            key=f"payout:{approval.public_id}",
            now=now,
        )
    except _REFUSALS as refusal:
        raise approvals.UnableToApprove(f"nothing is sent: {refusal}") from refusal
    body = f"{_words(asked)}, as {approval.maker} asked and {checker} agreed. If it is not yours, call us at once."
    _tell(approval, client, "payout_sent", "Money of yours is on its way out", body, now)
    return sent
