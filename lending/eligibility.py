"""Which product may be offered to which client: rules in force on a day, and why one refuses."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from django.db import transaction
from django.db.models import Q

from lending import access, approvals, audit, reasons
from lending.models import Approval, Client, EligibilityRule, Product, Role, User

KIND, END = "eligibility_rule", "end_eligibility_rule"
MAKERS = frozenset({Role.COMPLIANCE})
_A_DECISION = timedelta(days=7)
_MOST = 240  # characters of a reason, which a client is told


class UnableToRule(Exception):
    """A rule can not be asked for or ended; the message says why."""


def in_force(*, on: date) -> list[EligibilityRule]:
    """Return the rules in force on a day."""
    rows = EligibilityRule.objects.filter(Q(end_date=None) | Q(end_date__gt=on), start_date__lte=on)
    return list(rows.order_by("pk").select_related("product"))


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
    access.require_role(maker, *MAKERS)
    if start_date < now.date():
        raise UnableToRule("a rule can not begin in the past")
    said = reasons.kept(reason, UnableToRule, missing="say what it rests on: a refusal is told with it", most=_MOST)
    payload = {
        "jurisdiction": jurisdiction,
        "classification": classification,
        "product": product.code if product else "",
        "allowed": allowed,
        "reason": said,
        "start_date": str(start_date),
    }
    same = EligibilityRule.objects.filter(
        jurisdiction=jurisdiction, classification=classification, product=product, allowed=allowed, end_date=None
    )
    if same.exists():
        raise UnableToRule("a rule says so already, without an end")
    return approvals.request(KIND, payload, maker=maker, now=now, time_to_live=_A_DECISION)


def ask_end(rule: EligibilityRule, *, on: date, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to end a rule: `on` is the first day on which it no longer holds.

    Raises
    ------
    UnableToRule
        If its end is set or asked for already, it would end before tomorrow or before it began, or no reason is said.
    lending.access.UnableToAccess
        If the maker is nobody of compliance.
    """
    access.require_role(maker, *MAKERS)
    said = reasons.kept(reason, UnableToRule, missing="say why it ends", most=_MOST)
    _check_end(rule, on, now)
    if rule.pk in {asked.payload["rule"] for asked in waiting(now=now) if asked.kind == END}:
        raise UnableToRule("its end waits for a second person already")
    payload = {"rule": rule.pk, "what": str(rule), "end_date": str(on), "reason": said}
    return approvals.request(END, payload, maker=maker, now=now, time_to_live=_A_DECISION)


def _check_end(rule: EligibilityRule, on: date, now: datetime) -> None:
    if rule.end_date is not None:
        raise UnableToRule(f"it ends on {rule.end_date:%d %b %Y} already")
    if on <= now.date() or on <= rule.start_date:
        raise UnableToRule("a rule ends after today, and after it began")


def waiting(*, now: datetime) -> list[Approval]:
    """Return the rules, and ends of rules, that wait for a second person."""
    return approvals.waiting(KIND, END, now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> EligibilityRule:
    """Put a rule in force as two persons agreed; one that was to begin meanwhile begins today."""
    asked, checker = approval.payload, approval.checker
    if checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    row = EligibilityRule.objects.create(
        jurisdiction=asked["jurisdiction"],
        classification=asked["classification"],
        product=Product.objects.get(code=asked["product"]) if asked["product"] else None,
        allowed=asked["allowed"],
        reason=asked["reason"],
        start_date=max(date.fromisoformat(asked["start_date"]), now.date()),
        maker=approval.maker,
        checker=checker,
    )
    audit.write("eligibility_ruled", actor=checker, obj=row, after=dict(asked), now=now)
    return row


@transaction.atomic
def carry_out_end(approval: Approval, *, now: datetime) -> EligibilityRule:
    """End a rule as two persons agreed."""
    asked, checker = approval.payload, approval.checker
    if checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    row = EligibilityRule.objects.select_for_update(of=("self",)).get(pk=asked["rule"])
    try:
        _check_end(row, date.fromisoformat(asked["end_date"]), now)
    except UnableToRule as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    row.end_date, row.end_maker, row.end_checker = asked["end_date"], approval.maker, checker
    row.save(update_fields=["end_date", "end_maker", "end_checker"])
    audit.write("eligibility_ended", actor=checker, obj=row, after=dict(asked), now=now)
    return row
