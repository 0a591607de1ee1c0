"""All that happened to a loan, in one list: its states, payments, collateral, calls, sales and what was told."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.urls import reverse

from lending import replays
from lending.engine import money
from lending.models import Loan, Notice
from risk.models import CallEvent, LiquidationOrder, OrderState

MOST_OF_EACH = 100
KINDS = {
    "loan": "Loan",
    "payments": "Payments",
    "collateral": "Collateral",
    "calls": "Margin calls",
    "sales": "Sales",
    "notices": "Notices",
}
_TONES = {
    "cured": "good", "cured_by_market": "good", "repaid": "good", "closed": "good", "active": "good",
    "issued": "warn", "reopened": "warn", "notified": "warn", "margin_warning": "warn", "margin_call": "warn",
    "expired": "bad", "accelerated": "bad", "liquidating": "bad", "defaulted": "bad", "workout": "bad",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened: when, of which kind, in words, with its amounts and where to read on."""

    at: datetime
    kind: str
    title: str
    words: str = ""
    tone: str = ""
    amount: Decimal | None = None
    asset: str = ""
    href: str = ""


def of_loan(loan: Loan, kinds: Iterable[str]) -> list[Happening]:
    """Return what happened to a loan and its margin account, the newest first, of some kinds; each kind bounded."""
    sources = {
        "loan": _states,
        "payments": _payments,
        "collateral": _movements,
        "calls": _calls,
        "sales": _sales,
        "notices": _notices,
    }
    found = [happening for kind in kinds for happening in sources[kind](loan)]
    return sorted(found, key=lambda happening: happening.at, reverse=True)


def _states(loan: Loan) -> Iterable[Happening]:
    for row in loan.events.order_by("-happened_at", "-pk")[:MOST_OF_EACH]:
        state = row.to_state.replace("_", " ")
        why = row.cause.replace("_", " ")
        yield Happening(row.happened_at, "loan", f"Loan {state}", why, _TONES.get(row.to_state, ""))


def _payments(loan: Loan) -> Iterable[Happening]:
    code = loan.asset.code
    for row, part, gone in replays.as_they_stand(loan)[:MOST_OF_EACH]:
        title = "Repaid out of a sale" if row.kind == row.Kind.LIQUIDATION else "Repaid"
        with money.exact():
            cost = part.fees + part.interest + part.make_whole
        parts = f"{part.principal.normalize():,f} of principal, {cost.normalize():,f} of interest and fees"
        said, tone = ("taken back since", "warn") if gone else (parts, "good")
        yield Happening(row.received_at, "payments", title, said, tone, row.amount, code)
    for made in loan.corrections.select_related("repayment").order_by("-pk")[:MOST_OF_EACH]:
        when = f"as of {made.effective_at:%d %b %Y %H:%M} UTC: {made.get_cause_display()}"
        if made.repayment is None:
            title = made.get_kind_display().capitalize()
            yield Happening(made.recorded_at, "loan", title, made.reason, "warn", made.interest, code)
            continue
        title, tone = {
            made.Kind.REVERSAL: ("Payment taken back", "bad"), made.Kind.WAIVER: ("Make-whole waived", "good"),
        }.get(made.Kind(made.kind), ("Earlier payment recorded", "good"))  # fmt: skip
        yield Happening(made.recorded_at, "payments", title, when, tone, made.repayment.amount, code)


def _movements(loan: Loan) -> Iterable[Happening]:
    rows = loan.margin_account.movements.select_related("asset").order_by("-effective_at", "-pk")[:MOST_OF_EACH]
    titles = {
        "pledge": "Collateral pledged", "top_up": "Collateral added", "release": "Collateral sent back",
        "hold": "Collateral ordered for sale", "unhold": "Collateral no longer for sale", "sale": "Collateral sold",
        "close_out": "Collateral given back at the end",
    }  # fmt: skip
    for row in rows:
        tone = {"top_up": "good", "pledge": "good", "sale": "bad", "hold": "warn"}.get(row.kind, "")
        yield Happening(row.effective_at, "collateral", titles[row.kind], "", tone, row.quantity, row.asset.code)


def _calls(loan: Loan) -> Iterable[Happening]:
    rows = CallEvent.objects.filter(call__margin_account=loan.margin_account).select_related("actor", "call")
    for row in rows.order_by("-happened_at", "-pk")[:MOST_OF_EACH]:
        href = reverse("portal_call", args=[row.call.public_id])
        title = f"Margin call {row.kind.replace('_', ' ')}"
        yield Happening(
            row.happened_at, "calls", title, f"by {row.actor}" if row.actor else "", _TONES.get(row.kind, ""), href=href
        )


def _sales(loan: Loan) -> Iterable[Happening]:
    rows = LiquidationOrder.objects.filter(margin_account=loan.margin_account).select_related("asset")
    for row in rows.order_by("-ordered_at", "-pk")[:MOST_OF_EACH]:
        sold = f"{row.filled_quantity.normalize():,f} {row.asset.code} sold for {row.proceeds:,.2f} USD so far"
        tone = "bad" if row.state not in (OrderState.CANCELLED, OrderState.FAILED) else ""
        yield Happening(row.ordered_at, "sales", f"Sale ordered, {row.state}", sold, tone, row.quantity, row.asset.code)


def _notices(loan: Loan) -> Iterable[Happening]:
    rows = Notice.objects.filter(client=loan.client_id, margin_account=loan.margin_account)
    for row in rows.order_by("-created_at", "-pk")[:MOST_OF_EACH]:
        received = (
            f"received {row.deemed_received_at:%d %b %Y %H:%M:%S} UTC" if row.deemed_received_at else "on its way"
        )
        href = f"{reverse('portal_notices')}#{row.public_id}"
        yield Happening(row.created_at, "notices", row.subject, received, _TONES.get(row.kind, ""), href=href)
