"""What a borrower can ask about prices: nothing here changes anything."""

from decimal import Decimal
from typing import Any

from django import forms

from lending.engine import money
from lending.typed import Figure
from risk.what_if import Change

_DECIMAL = {"inputmode": "decimal", "autocomplete": "off", "placeholder": "0"}
_NO_NUMBER = {"invalid": "That is not a number, like 1250.50.", "min_value": "That can not be less than zero."}


def _move(label: str) -> forms.IntegerField:
    """Return a field for a change of prices in whole percent: a slider, which sends its value without a script too."""
    return forms.IntegerField(
        label=label,
        min_value=-90,
        max_value=100,
        required=False,
        initial=0,
        widget=forms.NumberInput(attrs={"type": "range", "min": -90, "max": 100, "step": 1, "data-unit": "%"}),
        error_messages={"invalid": "That is not a whole number of percent, like -20."},
    )


class WhatIfForm(forms.Form):
    """
    Prices, a top-up and a repayment to imagine; sent by GET, so that a question can be kept as an address.

    Where several assets are pledged whose prices can move, each has a field of its own beside the one for all.
    """

    move = _move("All collateral prices move by")
    added = Figure(
        label="I add", min_value=0, max_digits=38, decimal_places=18, required=False,
        widget=forms.TextInput(attrs=_DECIMAL), error_messages=_NO_NUMBER,
    )  # fmt: skip
    asset = forms.ChoiceField(label="of", required=False)
    repaid = Figure(
        min_value=0, max_digits=38, decimal_places=18, required=False,
        widget=forms.TextInput(attrs=_DECIMAL), error_messages=_NO_NUMBER,
    )  # fmt: skip

    def __init__(self, *args: Any, assets: list[str], loan_asset: str, **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "what_if_%s", **kwargs})
        self.fields["asset"].choices = [(code, code) for code in assets]  # type: ignore[attr-defined]
        self.fields["repaid"].label = f"I repay, in {loan_asset}"
        moving = [code for code in assets if code != loan_asset]
        self._alone = {code: f"move_{code}" for code in moving} if len(moving) > 1 else {}
        for code, name in self._alone.items():
            self.fields[name] = _move(f"{code} by itself, on top of that")

    @property
    def alone(self) -> list[forms.BoundField]:
        """Return the fields that move one asset each."""
        return [self[name] for name in self._alone.values()]

    def change(self) -> Change:
        """Return what is imagined, of a form that is valid; what was left empty does not change."""
        data = self.cleaned_data
        with money.exact():
            move = Decimal(data["move"] or 0) / 100
            alone = tuple((code, Decimal(data[name] or 0) / 100) for code, name in self._alone.items())
        return Change(move, alone, data["asset"], data["added"] or money.ZERO, data["repaid"] or money.ZERO)
