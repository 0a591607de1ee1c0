"""What a visitor who plays a borrower does in the world outside: send money or coins towards a call or a loan."""

from datetime import datetime
from decimal import Decimal

from deploy.demo import outside
from lending import access
from lending.engine import money
from lending.models import Asset, Deposit, DepositAddress, Loan, LoanState, User
from lending.ports import CustodianRefused, CustodianUnavailable
from risk import previews
from risk.models import OPEN_CALL_STATES, MarginCall

A_LITTLE_MORE = Decimal("1.05")  # prices move while a transfer is on its way
SHARES = {"all": Decimal(1), "half": Decimal("0.5")}


class UnableToSend(Exception):
    """Nothing was sent; the message says why."""


def send(call: MarginCall, code: str, *, cash: bool, share: str, by: User, now: datetime) -> tuple[Decimal, Asset]:
    """
    Send what cures what is left of a call, or half of it, to the call's address, and return what was sent.

    The same amount again, before the first transfer was seen, is the same transfer: a button pressed twice.

    Raises
    ------
    UnableToSend
        If the call is closed, is not cured that way, has nothing left to cure, or the paper bank does not answer.
    lending.access.UnableToAccess
        If the user may not sign for the client.
    """
    access.require_signer(by, call.client)
    if call.state not in OPEN_CALL_STATES:
        raise UnableToSend("the call is closed")
    if share not in SHARES:
        raise UnableToSend("all of it can be sent, or half")
    asset, demanded = _cash(call, code) if cash else _collateral(call, code)
    with money.exact():
        left = demanded * max(1 - call.cured_fraction, money.ZERO) * SHARES[share]
    quantity = money.quantize_up(left, asset.decimals)
    if not quantity:
        raise UnableToSend("nothing is left to cure")
    purpose = DepositAddress.Purpose.REPAYMENT if cash else DepositAddress.Purpose.COLLATERAL
    address = DepositAddress.objects.get(margin_account=call.margin_account_id, asset=asset, purpose=purpose)
    _transfer(f"visitor:{call.public_id}:{purpose}", address, quantity, now=now)
    return quantity, asset


def pledge(loan: Loan, code: str, *, by: User, now: datetime) -> tuple[Decimal, Asset]:
    """
    Send the collateral that a loan still waits for, and a twentieth more, and return what was sent.

    Raises
    ------
    UnableToSend
        If the loan waits for none, or for none of that asset, or the paper bank does not answer.
    lending.access.UnableToAccess
        If the user may not sign for the client.
    """
    access.require_signer(by, loan.client)
    if loan.state != LoanState.COLLATERAL_PENDING:
        raise UnableToSend("the loan waits for no collateral")
    sent = previews.awaited(loan, now=now)
    rows = zip(sent.expected.planned, sent.where, strict=True)
    found = [(planned, asset) for planned, asset in rows if planned.asset == code]
    planned, asset = found[0] if found else (None, None)
    if planned is None or asset is None or not planned.missing:
        raise UnableToSend("what it needs is on its way" if sent.is_coming else f"no {code!r} is needed for it")
    with money.exact():
        wanted = planned.missing * A_LITTLE_MORE
    quantity = money.quantize_up(wanted, min(asset.decimals, 4))
    _transfer(f"visitor:{loan.public_id}", sent.where[asset], quantity, now=now)
    return quantity, asset


def _transfer(why: str, address: DepositAddress, quantity: Decimal, *, now: datetime) -> None:
    """Have the paper bank send something to an address, once for what was seen there so far."""
    code = address.asset.code
    seen = Deposit.objects.filter(address=address).count()
    try:
        outside.bank().simulate_deposit(
            f"{why}:{code}:{seen}:{quantity:f}", address=address.address, asset=code, quantity=quantity, at=now
        )
    except CustodianRefused as refused:
        raise UnableToSend(f"the paper bank refuses: {refused}") from refused
    except CustodianUnavailable as silent:
        raise UnableToSend("the paper bank does not answer just now") from silent


def _cash(call: MarginCall, code: str) -> tuple[Asset, Decimal]:
    if code != call.cure_asset.code:
        raise UnableToSend(f"this call is paid in {call.cure_asset.code}, not in {code!r}")
    return call.cure_asset, call.cash_cure


def _collateral(call: MarginCall, code: str) -> tuple[Asset, Decimal]:
    cure = call.collateral_cures.select_related("asset").filter(asset__code=code).first()
    if cure is None:
        raise UnableToSend(f"this call is not cured in {code!r}")
    return cure.asset, cure.quantity
