"""What a visitor who plays a borrower does in the world outside: send money or coins towards a margin call."""

from datetime import datetime
from decimal import Decimal

from deploy.demo import outside
from lending import access
from lending.engine import money
from lending.models import Asset, Deposit, DepositAddress, User
from lending.ports import CustodianRefused, CustodianUnavailable
from risk.models import OPEN_CALL_STATES, MarginCall

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
    seen = Deposit.objects.filter(address=address).count()
    ref = f"visitor:{call.public_id}:{purpose}:{asset.code}:{seen}:{quantity:f}"
    try:
        outside.bank().simulate_deposit(ref, address=address.address, asset=asset.code, quantity=quantity, at=now)
    except CustodianRefused as refused:
        raise UnableToSend(f"the paper bank refuses: {refused}") from refused
    except CustodianUnavailable as silent:
        raise UnableToSend("the paper bank does not answer just now") from silent
    return quantity, asset


def _cash(call: MarginCall, code: str) -> tuple[Asset, Decimal]:
    if code != call.cure_asset.code:
        raise UnableToSend(f"this call is paid in {call.cure_asset.code}, not in {code!r}")
    return call.cure_asset, call.cash_cure


def _collateral(call: MarginCall, code: str) -> tuple[Asset, Decimal]:
    cure = call.collateral_cures.select_related("asset").filter(asset__code=code).first()
    if cure is None:
        raise UnableToSend(f"this call is not cured in {code!r}")
    return cure.asset, cure.quantity
