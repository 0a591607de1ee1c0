"""One transfer that pays several loans of a margin account: how its payments are named, and found again together."""

from lending.models import Correction, Loan, Repayment


def key_of_rest(key: str, loan: Loan) -> str:
    """Return the key of the payment that what another one left over makes to a loan."""
    return f"{key}:{loan.public_id}"


def together(payment: Repayment) -> list[Repayment]:
    """
    Return the payments that one transfer made and that were not taken back, in the order in which they were made.

    As a rule that is the payment alone; none if it was taken back.
    """
    first = payment.key.removesuffix(f":{payment.loan.public_id}")
    beside = Loan.objects.filter(margin_account=payment.loan.margin_account_id)
    keys = [first, *(key_of_rest(first, loan) for loan in beside)]
    rows = Repayment.objects.filter(key__in=keys).exclude(corrections__kind=Correction.Kind.REVERSAL)
    found = list(rows.select_related("loan__asset", "loan__client", "entry").order_by("pk"))
    return found if any(row.key == first for row in found) else [row for row in found if row == payment]
