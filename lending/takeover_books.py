"""
What is taken over, on the books: collateral, what each loan owes and what clients have free, as of the cut-over.

Every entry balances on its own, against what is to be at the custodian or against what the desk has put in; none of
them earns anything.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from lending import collateral, ledger, margin_accounts, ports
from lending.engine import entries, money
from lending.models import Asset, Draw, Event, Loan, MarginAccount, Pledge, PledgeMovement, Takeover
from lending.takeover_files import LoanRow, Trial


def secure(takeover: Takeover, loans: Sequence[tuple[Loan, LoanRow]], *, now: datetime) -> list[MarginAccount]:
    """Book what is pledged, account by account, and return the accounts."""
    held: defaultdict[MarginAccount, dict[Asset, tuple[Decimal, Decimal, Loan]]] = defaultdict(dict)
    for loan, row in loans:
        for asset, quantity in row.pledges.items():
            before = held[loan.margin_account].get(asset, (money.ZERO, money.ZERO, loan))[0]
            with money.exact():
                held[loan.margin_account][asset] = (before + quantity, row.haircuts.get(asset.code, money.ZERO), loan)
    each = [(account, asset, *rest) for account, found in held.items() for asset, rest in found.items()]
    posted = ledger.post_many(
        (
            entries.opening_balance(
                _heading(takeover, f"pledge:{account.public_id}:{asset.code}", loan.book_id, account.client_id),
                asset=asset.code,
                quantity=quantity,
                custodian=ports.custodian().name,
                margin_account_id=account.pk,
                title=account.pledge_terms.by_title,
            )
            for account, asset, quantity, _, loan in each
        ),
        now=now,
        actor=takeover.checker,
    )
    Pledge.objects.bulk_create(
        Pledge(client_id=account.client_id, margin_account=account, asset=asset, quantity=quantity, haircut=haircut)
        for account, asset, quantity, haircut, _ in each
    )
    moved = PledgeMovement.objects.bulk_create(
        collateral.movement(
            account,
            asset,
            quantity,
            now=now,
            kind=PledgeMovement.Kind.PLEDGE,
            key=entry.idempotency_key,
            effective_at=takeover.cut_over_at,
            entry=entry,
        )
        for (account, asset, quantity, _, _), entry in zip(each, posted, strict=True)
    )
    Event.objects.bulk_create(map(collateral.news, moved))
    return list(held)


def open_loans(takeover: Takeover, loans: Sequence[tuple[Loan, LoanRow]], *, now: datetime) -> None:
    """Book what each loan owes; what is drawn of a line is its first draw, by the two persons who took it over."""
    owing = [(loan, row) for loan, row in loans if loan.principal_outstanding or loan.interest_due or loan.fees_due]
    posted = ledger.post_many(
        (
            entries.opening_loan(
                _heading(takeover, f"loan:{row.reference}", loan.book_id, loan.client_id, loan.pk),
                asset=loan.asset.code,
                owed=entries.Dues(fees=loan.fees_due, interest=loan.interest_due, principal=loan.principal_outstanding),
            )
            for loan, row in owing
        ),
        now=now,
        actor=takeover.checker,
    )
    at = takeover.cut_over_at
    Draw.objects.bulk_create(
        Draw(
            client_id=loan.client_id,
            loan=loan,
            amount=row.outstanding,
            state=Draw.State.PAID_OUT,
            asked_by=takeover.maker,
            asked_at=at,
            signed_by=takeover.maker,  # who answers for it that the client had signed where it was drawn
            signed_at=at,
            decided_by=takeover.checker,
            decided_at=at,
            entry=entry,
        )
        for (loan, row), entry in zip(owing, posted, strict=True)
        if loan.is_line and row.outstanding
    )


def open_balances(takeover: Takeover, trial: Trial, *, now: datetime) -> None:
    """Book what clients have free."""
    house = margin_accounts.house_book().pk
    ledger.post_many(
        (
            entries.opening_balance(
                _heading(takeover, f"free:{client.public_id}:{asset.code}", house, client.pk),
                asset=asset.code,
                quantity=amount,
                custodian=ports.custodian().name,
            )
            for (client, asset), amount in trial.free.items()
        ),
        now=now,
        actor=takeover.checker,
    )


def _heading(
    takeover: Takeover, what: str, book_id: int, client_id: int, loan_id: int | None = None
) -> entries.Heading:
    return entries.Heading(
        key=f"opening:{takeover.public_id}:{what}",
        effective_at=takeover.cut_over_at,
        book_id=book_id,
        cause=f"taken over from {takeover.source}",
        client_id=client_id,
        loan_id=loan_id,
    )
