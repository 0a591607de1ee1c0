"""Which product may be offered to which client: rules in force on a day, and why one refuses."""

from collections.abc import Sequence
from datetime import date, datetime

from django.db import transaction

from lending import approvals, reasons
from lending.dated_rules import MOST, Rulebook, UnableToRule
from lending.models import Approval, Client, EligibilityRule, Product, Role, User

RULES = Rulebook(
    table=EligibilityRule, begins="eligibility_rule", ends="end_eligibility_rule", began="eligibility_ruled",
    ended="eligibility_ended", makers=frozenset({Role.COMPLIANCE}),
)  # fmt: skip


def in_force(*, on: date) -> list[EligibilityRule]:
    """Return the rules in force on a day."""
    return list(RULES.in_force(on=on).select_related("product"))


def refusal(rules: Sequence[EligibilityRule], client: Client, product: Product) -> str:
    """
    Return why a product may not be offered to a client under some rules; nothing where it may.

    Every rule that refuses is named. Where none does, one has to allow: what nobody has ruled on is not offered.
    """
    about = [rule for rule in rules if _is_about(rule, client, product)]
    against = [rule.reason for rule in about if not rule.allowed]
    if against:
        return "; ".join(against)
    if any(rule.allowed for rule in about):
        return ""
    kind = (client.get_classification_display() or "unclassified").lower()
    return f"no rule in force allows {product} for {kind} clients in {client.jurisdiction}: compliance adds one"


def _is_about(rule: EligibilityRule, client: Client, product: Product) -> bool:
    return (
        rule.jurisdiction in {"", client.jurisdiction}
        and rule.classification in {"", client.classification}
        and rule.product_id in {None, product.pk}
    )


def ask(
    *,
    jurisdiction: str,
    classification: str,
    product: Product | None,
    allowed: bool,
    reason: str,
    start_date: date,
    maker: User,
    now: datetime,
) -> Approval:
    """
    Ask a second person for a rule that holds from a day on.

    Raises
    ------
    UnableToRule
        If it would begin in the past, says no reason, or says what a rule says already.
    lending.access.UnableToAccess
        If the maker is nobody of compliance.
    """
    said = reasons.kept(reason, UnableToRule, missing="say what it rests on: a refusal is told with it", most=MOST)
    _check(jurisdiction, classification, product, allowed=allowed)
    payload = {
        "jurisdiction": jurisdiction,
        "classification": classification,
        "product": product.code if product else "",
        "allowed": allowed,
        "reason": said,
    }
    return RULES.ask(payload, start_date=start_date, maker=maker, now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> EligibilityRule:
    """
    Put a rule in force as two persons agreed; one that was to begin meanwhile begins today.

    Raises
    ------
    lending.approvals.UnableToApprove
        If a rule says so by now.
    """
    asked = approval.payload
    product = Product.objects.get(code=asked["product"]) if asked["product"] else None
    try:
        _check(asked["jurisdiction"], asked["classification"], product, allowed=asked["allowed"])
    except UnableToRule as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    row: EligibilityRule = RULES.begin(
        approval,
        jurisdiction=asked["jurisdiction"],
        classification=asked["classification"],
        product=product,
        allowed=asked["allowed"],
        reason=asked["reason"],
        now=now,
    )
    return row


def _check(jurisdiction: str, classification: str, product: Product | None, *, allowed: bool) -> None:
    """Check that no rule which holds without an end says the same."""
    same = EligibilityRule.objects.filter(
        jurisdiction=jurisdiction, classification=classification, product=product, allowed=allowed, end_date=None
    )
    if same.exists():
        raise UnableToRule("a rule says so already, without an end")


def carry_out_end(approval: Approval, *, now: datetime) -> EligibilityRule:
    """End a rule as two persons agreed."""
    row: EligibilityRule = RULES.end(approval, now=now)
    return row
