"""What is asked on a client's way from prospect to its first offer."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import available_timezones

from django import forms

from lending import reasons
from lending.models import AgreementVersion, Asset, Client, KycCase, RelatedParty, SigningRule
from lending.typed import Country, Day, Figure, PersonalName

_NUMBER = {"inputmode": "decimal", "autocomplete": "off"}
_HUNDRED = Decimal(100)


class DescriptionForm(forms.Form):
    """Where a client is at home, and what it is expected to be."""

    jurisdiction = Country()
    source = forms.ChoiceField(
        label="How they came to us", required=False, choices=[("", "not known yet"), *Client.Source.choices]
    )
    geography = forms.ChoiceField(
        label="Where their business is", required=False, choices=[("", "not known yet"), *Client.Geography.choices]
    )
    expected_size_usd = Figure(
        label="Expected to borrow, USD", required=False, min_value=Decimal("0.01"), max_digits=20, decimal_places=2,
        widget=forms.TextInput(attrs=_NUMBER),
    )  # fmt: skip
    classification = forms.ChoiceField(
        required=False, choices=[("", "not known yet"), *Client.Classification.choices],
        help_text="Decides, with the country, which products may be offered.",
    )  # fmt: skip


class ClientForm(DescriptionForm):
    """What is asked of a new prospect: its name and country, the rest as far as it is known."""

    name = PersonalName(max_length=160)
    kind = forms.ChoiceField(choices=Client.Kind.choices)
    time_zone = forms.CharField(max_length=40, initial="UTC", help_text="IANA name; notices show deadlines in it")

    field_order = ("name", "kind", "jurisdiction", "time_zone")

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        if data and "another" in data:
            self._offer_another()

    def _offer_another(self) -> None:
        # It stands at the end of a long form: on a phone nobody would see why they are where they were.
        seen = forms.CheckboxInput(attrs={"autofocus": True})
        self.fields["another"] = forms.BooleanField(
            label="It is another: register it all the same", required=False, widget=seen
        )

    def ask_if_another(self, like: Sequence[str]) -> None:
        """Say whom this may be, and let whoever knows better say that it is another."""
        self._offer_another()
        self.add_error("another", f"{'; '.join(like)}. If it is another, say so here.")

    @property
    def said_to_be_another(self) -> bool:
        """Return whether a valid form says that it is nobody whom it is like."""
        return bool(self.cleaned_data.get("another"))

    @property
    def facts(self) -> dict[str, Any]:
        """Return what a valid form says of the client."""
        return {name: value for name, value in self.cleaned_data.items() if name != "another"}

    def clean_time_zone(self) -> str:
        """Return a zone that letters can be dated in."""
        name = str(self.cleaned_data["time_zone"])
        if name not in available_timezones():
            raise forms.ValidationError("That is no time zone: Europe/Zurich, America/New_York, UTC.")
        return name


class PaperForm(forms.Form):
    """A paper with the day until which it is good, where it has one."""

    paper = forms.FileField(label="File", help_text="PDF, PNG or JPEG, at most 10 MB.")
    expires_date = Day(label="Good until", required=False)

    def __init__(self, *args: Any, expires: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if expires:
            self.fields["expires_date"].required = True
        else:
            del self.fields["expires_date"]


class PartyForm(forms.Form):
    """A person behind a client, and what they are to it."""

    name = PersonalName(max_length=160, error_messages={"required": "Who is it?"})
    country = Country(help_text="Where they live: its name, or its ISO 3166 code.")
    birth_date = Day(label="Born", required=False)
    email = forms.EmailField(
        label="E-mail", required=False, help_text="Of somebody who signs: their name in the portal."
    )
    share = Figure(
        label="Owns, %", required=False, min_value=Decimal("0.01"), max_value=_HUNDRED, max_digits=5, decimal_places=2,
        widget=forms.TextInput(attrs=_NUMBER),
    )  # fmt: skip
    is_director = forms.BooleanField(label="Director", required=False)
    is_signer = forms.BooleanField(label="Signs for the client", required=False)

    @property
    def owner_share(self) -> Decimal | None:
        """Return the share as a ratio."""
        share = self.cleaned_data["share"]
        return None if share is None else share / _HUNDRED


class RuleForm(forms.Form):
    """A line of the authority matrix."""

    action = forms.ChoiceField(label="May", choices=SigningRule.Action.choices)
    person = forms.ChoiceField(label="Who", required=False)
    signatures = forms.TypedChoiceField(label="How", choices=[(1, "alone"), (2, "two jointly")], coerce=int)
    up_to = Figure(
        label="Up to", required=False, max_digits=38, decimal_places=18, help_text="Empty: any amount.",
        widget=forms.TextInput(attrs=_NUMBER),
    )  # fmt: skip
    asset = forms.ModelChoiceField(
        label="Of",
        required=False,
        queryset=Asset.objects.order_by("code"),
        to_field_name="code",
        empty_label="any asset",
    )

    def __init__(self, *args: Any, parties: list[RelatedParty], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        who: Any = self.fields["person"]
        signers = [(str(party.person), party.name) for party in parties if party.is_signer]
        who.choices = [("", "everybody who signs"), *signers]


class RatingForm(forms.Form):
    """How risky a client is, why, and when that is looked at again."""

    risk_rating = forms.ChoiceField(choices=KycCase.Rating.choices)
    rating_reason = forms.CharField(label="Why", max_length=400, widget=forms.Textarea(attrs={"rows": 3}))
    review_date = Day(label="Looked at again by", help_text="Within three years; two for medium risk, one for high.")


class AgreementForm(forms.Form):
    """A signed agreement: which version, who signed, when, and the paper."""

    version = forms.ModelChoiceField(queryset=AgreementVersion.objects.none(), empty_label=None)
    signers = forms.MultipleChoiceField(label="Signed by", required=False, widget=forms.CheckboxSelectMultiple)
    signed_date = Day(label="Signed on")
    paper = forms.FileField(label="The signed paper", help_text="PDF, PNG or JPEG, at most 10 MB.")

    def __init__(self, *args: Any, versions: Any, parties: list[RelatedParty], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice: Any = self.fields["version"]
        choice.queryset = versions
        who: Any = self.fields["signers"]
        who.choices = [(str(party.person), party.name) for party in parties if party.is_signer]
        if not who.choices:
            del self.fields["signers"]


class EndVersionForm(forms.Form):
    """Which version of the master agreement ends, from when on, and why."""

    version = forms.ModelChoiceField(
        queryset=AgreementVersion.objects.filter(end_date=None).order_by("-start_date", "-pk"), empty_label="choose one"
    )
    end_date = Day(label="From this day on no loan is offered under it")
    reason = forms.CharField(label="Why", max_length=reasons.LENGTH, help_text="It stands in the audit trail.")


class VersionForm(forms.Form):
    """A new version of the master agreement."""

    code = forms.SlugField(
        label="Version", max_length=20, help_text="As 2026-11.",
        error_messages={"invalid": "One word of letters, digits, - and _, such as 2026-11."},
    )  # fmt: skip
    title = forms.CharField(max_length=120, initial="Master loan agreement")
    start_date = Day(label="Good from")
    paper = forms.FileField(label="File", help_text="PDF, at most 10 MB.")

    def __init__(self, *args: Any, today: date, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["start_date"].initial = today
