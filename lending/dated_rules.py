"""Rules of the desk that hold from one day until another: asked for by one person, begun and ended by two."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from lending import access, approvals, audit, reasons
from lending.models import Approval, Role, User

MOST = 240  # characters of a reason
_A_DECISION = timedelta(days=7)


class UnableToRule(Exception):
    """A rule can not be asked for or ended; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Rulebook:
    """
    Rules of one kind: their table, what beginning and ending one is called among requests and on the audit trail.

    `table` is a model of `lending.models.dated.DatedRule`.
    """

    table: Any
    begins: str
    ends: str
    began: str
    ended: str
    makers: frozenset[Role]

    def in_force(self, *, on: date) -> QuerySet[Any]:
        """Return the rules in force on a day."""
        rows: QuerySet[Any] = self.table.objects.filter(Q(end_date=None) | Q(end_date__gt=on), start_date__lte=on)
        return rows.order_by("pk")

    def waiting(self, *, now: datetime) -> list[Approval]:
        """Return the rules, and ends of rules, that wait for a second person."""
        return approvals.waiting(self.begins, self.ends, now=now)

    def ask(self, payload: Mapping[str, Any], *, start_date: date, maker: User, now: datetime) -> Approval:
        """Ask a second person for a rule that holds from a day on; `payload` says the rest of it."""
        access.require_role(maker, *self.makers)
        if start_date < now.date():
            raise UnableToRule("a rule can not begin in the past")
        said = {**payload, "start_date": str(start_date)}
        return approvals.request(self.begins, said, maker=maker, now=now, time_to_live=_A_DECISION)

    def ask_end(self, rule: Any, *, on: date, reason: str, maker: User, now: datetime) -> Approval:
        """
        Ask a second person to end a rule: `on` is the first day on which it no longer holds.

        Raises
        ------
        UnableToRule
            If its end is set or asked for already, it would end before tomorrow or before it began, or no reason is
            said.
        lending.access.UnableToAccess
            If the maker is none who may ask.
        """
        access.require_role(maker, *self.makers)
        said = reasons.kept(reason, UnableToRule, missing="say why it ends", most=MOST)
        self.check_end(rule, on, now)
        if rule.pk in {asked.payload["rule"] for asked in self.waiting(now=now) if asked.kind == self.ends}:
            raise UnableToRule("its end waits for a second person already")
        payload = {"rule": rule.pk, "what": str(rule), "end_date": str(on), "reason": said}
        return approvals.request(self.ends, payload, maker=maker, now=now, time_to_live=_A_DECISION)

    def check_end(self, rule: Any, on: date, now: datetime) -> None:
        """Check that a rule may end on a day."""
        if rule.end_date is not None:
            raise UnableToRule(f"it ends on {rule.end_date:%d %b %Y} already")
        if on <= now.date() or on <= rule.start_date:
            raise UnableToRule("a rule ends after today, and after it began")

    def begin(self, approval: Approval, *, now: datetime, **columns: Any) -> Any:
        """Put a rule in force as two persons agreed; one that was to begin meanwhile begins today."""
        checker = _second(approval)
        start_date = max(date.fromisoformat(approval.payload["start_date"]), now.date())
        row = self.table.objects.create(start_date=start_date, maker=approval.maker, checker=checker, **columns)
        audit.write(self.began, actor=checker, obj=row, after=dict(approval.payload), now=now)
        return row

    @transaction.atomic
    def end(self, approval: Approval, *, now: datetime) -> Any:
        """End a rule as two persons agreed; `rule` and `end_date` of what was asked say which, and when."""
        asked, checker = approval.payload, _second(approval)
        row = self.table.objects.select_for_update(of=("self",)).get(pk=asked["rule"])
        try:
            self.check_end(row, date.fromisoformat(asked["end_date"]), now)
        except UnableToRule as refusal:
            raise approvals.UnableToApprove(str(refusal)) from refusal
        row.end_date, row.end_maker, row.end_checker = asked["end_date"], approval.maker, checker
        row.save(update_fields=["end_date", "end_maker", "end_checker"])
        audit.write(self.ended, actor=checker, obj=row, after=dict(asked), now=now)
        return row


def _second(approval: Approval) -> User:
    if approval.checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    return approval.checker
