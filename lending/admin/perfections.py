"""How a loan's collateral is given, on its page: the terms that were signed, and what makes the interest hold."""

from datetime import datetime
from typing import Any

from django import forms
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending import documents, perfections
from lending.admin.base import SEE_CLIENTS
from lending.admin.loan_parts import LoanPart
from lending.models import Document, Loan, Perfection
from lending.staff import roles
from lending.typed import Day


class PerfectionForm(forms.Form):
    """A control agreement or a filing."""

    kind = forms.ChoiceField(choices=Perfection.Kind.choices, label="What it is")
    reference = forms.CharField(max_length=80, label="Number, or what it is called")
    held_with = forms.CharField(max_length=120, label="Registry, or custodian that agreed")
    from_date = Day(label="Holds from")
    lapse_date = Day(
        label="Lapses on", required=False, help_text="Of a filing; an agreement may hold until it is ended."
    )
    document = forms.ModelChoiceField(
        queryset=Document.objects.none(),
        required=False,
        label="Its paper",
        empty_label="none among the client's papers",
    )

    def __init__(self, data: Any = None, *, loan: Loan) -> None:
        super().__init__(data)
        papers: Any = self.fields["document"]
        papers.queryset = documents.in_use(loan.client)


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return how a loan's collateral is given; what perfects it is fetched by itself."""
    context = {"loan": subject, "given": subject.margin_account.pledge_terms}
    return render_to_string("admin/pledge_terms.html", context, request=request)


def _facts(request: HttpRequest, loan: Loan, now: datetime) -> dict[str, Any]:
    given = loan.margin_account.pledge_terms
    may = bool(roles(request) & documents.KEEPERS) and not given.by_title
    return {
        "given": given,
        "today": now.date(),
        "standing": [] if given.by_title else perfections.standing(loan.margin_account),
        "form": PerfectionForm(request.POST or None, loan=loan) if may else None,
    }


def _record(request: HttpRequest, loan: Loan, now: datetime) -> str:
    form, by = PerfectionForm(request.POST, loan=loan), request.user
    if not form.is_valid():
        raise perfections.UnableToRecord("what is wrong stands beside each field")
    made = perfections.record(loan.margin_account, **form.cleaned_data, by=by, now=now)  # type: ignore[arg-type]
    return f"Recorded: {made}."


LoanPart(
    title="How the collateral is given",
    template="admin/perfection.html",
    alone="admin/perfection_card.html",
    facts=_facts,
    act=_record,
    refusals=(perfections.UnableToRecord,),
    reads=("margin_account__pledge_terms",),
).at("perfections", "lending_perfection", SEE_CLIENTS, "lending")
