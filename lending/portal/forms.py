"""What a borrower can fill in."""

from decimal import Decimal
from typing import Any

from django import forms

from lending import ids, offers
from lending.models import Loan
from lending.typed import Figure

_AMOUNT = {"inputmode": "decimal", "autocomplete": "off"}


class DeclineForm(forms.Form):
    """Why an offer is turned down, if its client wants to say."""

    reason = forms.CharField(
        label="Why?", help_text="You need not say.", max_length=offers.REASON_LENGTH, required=False, strip=True
    )


class TransferForm(forms.Form):
    """A question about a transfer: by the transaction, or by asset and amount; sent by GET."""

    ref = forms.CharField(label="Transaction id", max_length=120, required=False, strip=True)
    asset = forms.ChoiceField(label="Or asset", required=False)
    quantity = Figure(
        label="and amount", min_value=0, max_digits=38, decimal_places=18, required=False,
        widget=forms.TextInput(attrs=_AMOUNT),
        error_messages={"invalid": "That is not a number, like 1.25.", "min_value": "That can not be less than zero."},
    )  # fmt: skip

    def __init__(self, *args: Any, assets: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "transfer_%s", **kwargs})
        self.fields["asset"].choices = [("", ""), *((code, code) for code in assets)]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Check that something is asked."""
        data = super().clean() or self.cleaned_data
        if not self.errors and not data.get("ref") and not (data.get("asset") and data.get("quantity")):
            raise forms.ValidationError("Fill in the transaction id, or the asset and the amount.")
        return data


class RepaymentForm(forms.Form):
    """A repayment out of the free balance; its token makes a form that is sent twice one payment."""

    amount = Figure(
        max_digits=38,
        decimal_places=18,
        widget=forms.TextInput(attrs=_AMOUNT),
        error_messages={"required": "Say how much to repay.", "invalid": "That is not a number, like 1250.50."},
    )
    token = forms.UUIDField(widget=forms.HiddenInput, error_messages={"required": "Load the page again and repeat."})

    def __init__(self, *args: Any, loan: Loan, free: Decimal, owed: Decimal, **kwargs: Any) -> None:
        kwargs.setdefault("initial", {"token": ids.new()})
        super().__init__(*args, **kwargs)
        self._loan, self._free, self._owed = loan, free, owed
        self.fields["amount"].label = f"Amount in {loan.asset.code}"

    def clean_amount(self) -> Decimal:
        """Refuse what can not be paid, and say what can."""
        amount: Decimal = self.cleaned_data["amount"]
        code, places = self._loan.asset.code, self._loan.asset.decimals
        if amount <= 0:
            raise forms.ValidationError("The amount must be more than zero.")
        if amount != round(amount, places):
            raise forms.ValidationError(f"{code} has at most {places} decimal places.")
        if amount > self._free:
            raise forms.ValidationError(f"Your free balance is {self._free.normalize():,f} {code}: pay in first.")
        if amount > self._owed:
            raise forms.ValidationError(f"That is more than the payoff of {self._owed.normalize():,f} {code}.")
        return amount
