"""What is asked on the way from a new client to an offer."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms

from lending import allow_list, margin_accounts, offers
from lending.engine import money
from lending.engine.periods import MOST_YEARS, due_date, is_far_off
from lending.models import Asset, Client, LadderTerms, MarginAccount, Product, Role
from lending.typed import Day, Figure, PersonalName
from risk.models import AssetPolicy

_ALONE, _NEW_POOL = "alone", "pool"
USUAL_MONTHS = 12  # until a loan matures, where nobody has typed a day


class PersonForm(forms.Form):
    """Somebody who is to sign or look for a client."""

    name = PersonalName(max_length=120, error_messages={"required": "Who is it?"})
    email = forms.EmailField(
        label="E-mail", help_text="A link to choose a password goes there.",
        error_messages={"invalid": "That is not an e-mail address, like ann@example.com."},
    )  # fmt: skip
    role = forms.ChoiceField(
        choices=[(Role.BORROWER_ADMIN, "May sign, as its matrix says"), (Role.BORROWER_VIEWER, "May look only")]
    )


class TermsForm(forms.Form):
    """An offer to one client, with the collateral that is planned for it: that part is for the preview alone."""

    _UNITS = "collateral_"
    _NUMBER = {"inputmode": "decimal", "autocomplete": "off"}

    product = forms.ModelChoiceField(
        queryset=Product.objects.select_related("asset", "terms", "pledge_terms").order_by("code")
    )
    principal = Figure(
        max_digits=38, decimal_places=18, help_text="In the product's asset.", widget=forms.TextInput(attrs=_NUMBER)
    )
    rate = Figure(
        label="Rate a year, %", min_value=Decimal(0), max_value=Decimal("99.99"), max_digits=8, decimal_places=4,
        widget=forms.TextInput(attrs=_NUMBER), required=False, help_text="Of a fixed rate; one that floats is fixed.",
    )  # fmt: skip
    default_rate = Figure(
        label="Rate a year in default, %", min_value=Decimal(0), max_value=Decimal("99.99"), max_digits=8,
        decimal_places=4, widget=forms.TextInput(attrs=_NUMBER), required=False,
        help_text="Empty: the rate a year plus five points. Where the rate floats it moves with it from the first "
        "reset on.",
    )  # fmt: skip
    spread = Figure(
        label="Spread, %", min_value=Decimal(0), max_value=Decimal("99.99"), max_digits=8, decimal_places=4,
        widget=forms.TextInput(attrs=_NUMBER), required=False,
        help_text="Over the benchmark of a product that follows one. Empty: the product's.",
    )  # fmt: skip
    step_up = Figure(
        label="Step-up, %", min_value=Decimal(0), max_value=Decimal("99.99"), max_digits=8, decimal_places=4,
        widget=forms.TextInput(attrs=_NUMBER), required=False, help_text="Added to every rate from a day on; or empty.",
    )  # fmt: skip
    step_up_date = Day(label="Stepped up from", required=False)
    maturity_date = Day(
        required=False, help_text="Of a fixed term; without a meaning where the product has no fixed end."
    )
    hours = forms.IntegerField(
        label="Offer stands for, hours", min_value=1, max_value=24 * 30, initial=24,
        help_text="The client accepts it in the portal within that time.",
    )  # fmt: skip
    payout_address = forms.CharField(
        required=False, max_length=120, help_text="Empty: the money stays in the client's free balance."
    )

    minimum_transfer = Figure(
        label="Smallest call, USD", required=False, min_value=0, max_digits=20, decimal_places=2,
        help_text="A first call for less waits until it is more, so that nobody is called for small change. The levels "
        "above it wait for nothing. Empty: as the product's ladder has it.", widget=forms.TextInput(attrs=_NUMBER),
    )  # fmt: skip
    call_rounding = Figure(
        label="Calls are rounded up to, USD", required=False, min_value=0, max_digits=20, decimal_places=2,
        help_text="What a call asks for is a multiple of it. Empty: as the product's ladder has it.",
        widget=forms.TextInput(attrs=_NUMBER),
    )  # fmt: skip

    def __init__(self, data: Any = None, *, client: Client, now: datetime) -> None:
        super().__init__(data)
        self.now = now
        self.first_rate: Decimal | None = None  # a year until the first reset, as a ratio, once it is known
        self.in_default: Decimal | None = None  # the same in default
        self.no_rate = ""  # why not, where that is another's to mend
        self.pools = {str(pool.public_id): pool for pool in margin_accounts.pools_of(client)}
        ways = [
            (_ALONE, "A margin account of its own, this loan alone"),
            (_NEW_POOL, "A new pool, for later loans too"),
        ]
        ways += [(key, f"Its pool {key[:8]}, with all that it secures") for key in self.pools]
        self.fields["secured_by"] = forms.ChoiceField(
            label="Secured by", choices=ways, initial=_ALONE, required=False,
            help_text="In a pool every loan is secured by all of its collateral, on the pool's ladder.",
        )  # fmt: skip
        maturity = self.fields["maturity_date"]
        maturity.initial = due_date(now.date(), USUAL_MONTHS)
        maturity.widget.attrs["min"] = (now.date() + timedelta(days=1)).isoformat()
        policies = AssetPolicy.objects.filter(asset__kind=Asset.Kind.CRYPTO).select_related("asset")
        self.assets = [policy.asset for policy in policies.order_by("asset__code")]
        for asset in self.assets:
            self.fields[f"{self._UNITS}{asset.code}"] = Figure(
                label=asset.code, required=False, min_value=0, max_digits=38, decimal_places=asset.decimals,
                widget=forms.TextInput(attrs={**self._NUMBER, "placeholder": "0"}),
                error_messages={"invalid": "That is not a number, like 12.5.", "min_value": "Not less than zero."},
            )  # fmt: skip

    def clean_maturity_date(self) -> date | None:
        """Return the day after today on which the loan ends, if its product ends on a day."""
        product, day = self.cleaned_data.get("product"), self.cleaned_data["maturity_date"]
        if product is not None and not product.has_fixed_end:
            return None
        if day is None:
            raise forms.ValidationError("Say on which day it matures.")
        if day <= self.now.date():
            raise forms.ValidationError(f"A loan can not mature on {day:%d %b %Y}, that is not after today.")
        if is_far_off(day, self.now.date()):
            raise forms.ValidationError(f"{day:%d %b %Y} is more than {MOST_YEARS} years off.")
        ends_on: date = day
        return ends_on

    def clean_payout_address(self) -> str:
        """Say beside its field what the verb would refuse about where the money goes."""
        product, address = self.cleaned_data.get("product"), str(self.cleaned_data["payout_address"])
        if product is not None and address and (wrong := allow_list.problem(product.asset, address)):
            raise forms.ValidationError(f"{wrong[:1].upper()}{wrong[1:]}.")
        return address

    def clean(self) -> dict[str, Any]:
        """Say beside its field what the verb would refuse about the amount."""
        asked: dict[str, Any] = super().clean() or {}
        product, principal = asked.get("product"), asked.get("principal")
        if product is not None and "rate" in asked:
            if product.floats:
                asked["rate"] = None
            elif asked["rate"] is None:
                self.add_error("rate", "Say at which rate.")
        if product is not None and not product.floats:
            asked["spread"] = None
        if product is not None and "rate" in asked and "spread" in asked:
            self._check_rates(product)
        if product is not None and principal is not None:
            asset = product.asset
            if principal <= 0 or principal != money.quantize_down(principal, asset.decimals):
                words = f"Not offered: an amount of {asset.code} is above 0 and has at most {asset.decimals} decimals."
                self.add_error("principal", words)
            for name in ("minimum_transfer", "call_rounding") if asset.kind != Asset.Kind.CRYPTO else ():
                if (asked.get(name) or 0) >= principal:
                    self.add_error(name, "That is as much as the loan itself: choose less than the principal.")
        return asked

    def _check_rates(self, product: Product) -> None:
        """Find what it costs until its first reset, and say beside its field what is wrong with its default rate."""
        typed = self.rates
        spread = product.spread if typed["spread"] is None else typed["spread"]
        if typed["annual_rate"] is None and not product.floats:
            return
        try:
            self.first_rate = offers.first_rate(product, typed["annual_rate"], spread, now=self.now)
        except offers.UnableToQuote as refusal:
            self.no_rate = str(refusal)
            return
        if "default_rate" not in self.cleaned_data:
            return
        try:
            self.in_default = offers.rate_in_default(self.first_rate, typed["default_rate"])
        except offers.UnableToQuote as refusal:
            self.add_error("default_rate", f"Not offered: {refusal}.")

    @property
    def pool(self) -> MarginAccount | None:
        """Return the pool that is to secure it, None for an account of its own."""
        return self.pools.get(self.cleaned_data.get("secured_by", ""))

    @property
    def opens_pool(self) -> bool:
        """Return whether later loans may share the account that is made for it."""
        return self.cleaned_data.get("secured_by") == _NEW_POOL

    @property
    def ladder(self) -> LadderTerms:
        """Return the product's ladder, or the pool's, with what was typed of its calls' amounts, of a valid form."""
        asked, pool = self.cleaned_data, self.pool
        terms = pool.terms if pool is not None else self.cleaned_data["product"].terms
        least, step = asked["minimum_transfer"], asked["call_rounding"]
        return margin_accounts.with_transfers(
            terms,
            minimum_transfer=terms.minimum_transfer if least is None else least,
            call_rounding=terms.call_rounding if step is None else step,
        )

    @property
    def terms(self) -> list[forms.BoundField]:
        """Return the fields of the offer."""
        first = ("product", "principal", "rate", "spread", "default_rate", "maturity_date", "hours", "payout_address")
        return [self[name] for name in (*first, "secured_by", "step_up", "step_up_date")]

    @property
    def rates(self) -> dict[str, Any]:
        """Return what was typed of the rate, as fractions of a year, by the names that an offer takes."""
        asked = self.cleaned_data
        with money.exact():
            typed = [name for name in ("rate", "default_rate", "spread", "step_up") if asked.get(name) is not None]
            shares = {name: asked[name] / 100 for name in typed}
        return {
            "annual_rate": shares.get("rate"),
            "default_rate": shares.get("default_rate"),
            "spread": shares.get("spread"),
            "step_up": shares.get("step_up", money.ZERO),
            "step_up_date": asked.get("step_up_date"),
        }

    @property
    def calls(self) -> list[forms.BoundField]:
        """Return the fields about the amounts of margin calls."""
        return [self["minimum_transfer"], self["call_rounding"]]

    @property
    def collateral(self) -> list[forms.BoundField]:
        """Return the fields of the planned collateral."""
        return [self[f"{self._UNITS}{asset.code}"] for asset in self.assets]

    def planned(self) -> dict[Asset, Decimal]:
        """Return the units planned of each asset, as far as they could be read."""
        return {asset: self.cleaned_data.get(f"{self._UNITS}{asset.code}") or money.ZERO for asset in self.assets}
