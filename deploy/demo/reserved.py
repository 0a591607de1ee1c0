"""A cure reserved in advance on the demo desk: coins that came back from one loan stand aside for another's calls."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from deploy.demo import reference
from deploy.demo.books import VISITORS
from lending import collateral
from lending.engine import money
from lending.models import Client, ClientUser, Loan, LoanState, Pledge, Role, User
from risk import instructions, permits

_CODE, _SHARE = "BTC", Decimal("0.1")


def load(*, now: datetime) -> None:
    """Give the first client who has room for it some bitcoin back, and set it aside for the riskiest of their loans."""
    running = Loan.objects.filter(state=LoanState.ACTIVE, margin_account__pledges__asset__code=_CODE)
    running = running.exclude(client__client_users__user__name__in=VISITORS)
    found: dict[int, list[Loan]] = {}
    for loan in running.select_related("client", "asset", "margin_account").order_by("client", "pk"):
        found.setdefault(loan.client_id, []).append(loan)
    for loans in found.values():
        if len(loans) > 1 and _reserve(loans, now=now):
            return


def _reserve(loans: list[Loan], *, now: datetime) -> bool:
    """Release a tenth of the bitcoin of the safest loan of some, and set it aside for the riskiest, if it may be."""
    riskiest, safest = (pick(loans, key=_debt_per_coin) for pick in (max, min))
    pledge = _pledge(safest)
    with money.exact():
        quantity = money.quantize_down(pledge.quantity * _SHARE, 4)
    account = pledge.margin_account
    olga, hugo = reference.staff("olga"), reference.staff("hugo")
    key = f"demo-release:{safest.public_id}"
    try:
        with transaction.atomic():
            permit = permits.issue_release(account, pledge.asset, quantity, now=now)
            collateral.release(
                account, pledge.asset, quantity, permit=permit, maker=olga, checker=hugo, key=key, now=now
            )
            instructions.give(riskiest, pledge.asset, quantity, by=_signer(riskiest.client), now=now)
    except (permits.UnableToPermit, instructions.UnableToInstruct):
        return False
    return True


def _debt_per_coin(loan: Loan) -> Decimal:
    return money.div_down(loan.principal_outstanding, _pledge(loan).quantity, 8)


def _pledge(loan: Loan) -> Pledge:
    rows = Pledge.objects.select_related("asset", "margin_account__client")
    return rows.get(margin_account=loan.margin_account_id, asset__code=_CODE)


def _signer(client: Client) -> User:
    return ClientUser.objects.select_related("user").filter(client=client, role=Role.BORROWER_ADMIN)[0].user
