"""
What a client is asked for and when, and what follows if it is not paid, as a careful clerk would keep it on paper.

It shares nothing with the platform. What was told to a client stays as it was told; what was paid of it, whether that
was in time, and what that means for interest is worked out again from the whole list whenever something comes to be
known.
"""

import calendar
import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from tests.independent.naive_loan import DAY, NaiveLoan, Payment

NOTICE = 5 * DAY


@dataclass
class Ask:
    """
    What is to be paid by a day: `left` of the principal may be left then, and nothing at all of the `last` one.

    `amount` is what its notice asked for; it is in default from `default_at` on, which `broken` says it is, and it had
    `agreed_at` been so. `fee` is what was charged for that, and when.
    """

    due_at: dt.datetime
    left: Decimal
    last: bool
    agreed_at: dt.datetime
    default_at: dt.datetime
    amount: Decimal | None = None
    announced_at: dt.datetime | None = None
    broken: bool = False
    fee: tuple[dt.datetime, Decimal] | None = None
    paid: Decimal = Decimal(0)
    met_at: dt.datetime | None = None


@dataclass
class NaiveDues:
    """The asks of a loan, in order; `grace` are the days after the due day, `late` the share that being late costs."""

    paper: NaiveLoan
    grace: int
    late: Fraction
    asks: list[Ask] = field(default_factory=list)
    repaid: bool = False

    def agree(self, since: dt.date, ends_on: dt.date, now: dt.datetime, *, parts: bool) -> None:
        """Write down what is asked for every month back from the end; equal `parts` of the principal, or none of it."""
        days, months = [ends_on], 1
        while (day := months_before(ends_on, months)) >= since + 7 * DAY:
            days.append(day)
            months += 1
        days = [day for day in reversed(days) if midnight(day) > now]
        left = self.paper.principal_at(now)
        part = even_cents(Fraction(left) / len(days)) if parts else Decimal(0)
        for day in days:
            left -= left if day == ends_on else min(part, left)
            agreed_at = self.after_grace(day)
            self.asks.append(Ask(midnight(day), left, day == ends_on, agreed_at, agreed_at))

    def after_grace(self, day: dt.date) -> dt.datetime:
        """Return when what is to be paid by a day is in default."""
        return midnight(day) + self.grace * DAY + DAY

    def in_default(self) -> bool:
        return any(ask.broken for ask in self.asks)

    def overdue(self, now: dt.datetime) -> bool:
        return any(ask.due_at <= now and ask.met_at is None and not ask.last for ask in self.asks)

    def look(self, now: dt.datetime) -> None:
        """Announce what falls due within the notice, and see what was not paid by the end of its grace."""
        for ask in self.asks:
            if self.repaid or self.in_default():
                return
            if ask.amount is None and ask.due_at - NOTICE <= now:
                ask.amount, ask.announced_at = self.wanted(ask, now), now
            self.count()
            if ask.met_at is None and ask.default_at <= now:
                ask.broken = True
                if not ask.last:
                    ask.fee = (now, self.paper.cents(Fraction(ask.amount - ask.paid) * self.late))
                    self.paper.charged.append(ask.fee)
                self.paper.default_at = min(self.paper.default_at, ask.agreed_at)
                self.paper.settle()

    def wanted(self, ask: Ask, now: dt.datetime) -> Decimal:
        """Return what is to be paid by a day if nothing is paid before, less what was asked for and is due already."""
        paper = self.paper
        payments = paper.in_order()
        interest = paper.earned(ask.due_at) - sum((p.interest for p in payments), Decimal(0))
        fees = sum((fee for _, fee in paper.charged), Decimal(0)) - sum((p.fees for p in payments), Decimal(0))
        principal = paper.principal_at(now)
        if ask.last:
            return interest + fees + principal
        due = [one for one in self.asks if one.due_at < ask.due_at and one.due_at <= now and one.met_at is None]
        asked = sum((one.amount - one.paid for one in due if one.amount is not None and not one.last), Decimal(0))
        return max(interest + fees + max(principal - ask.left, Decimal(0)) - asked, Decimal(0))

    def count(self) -> None:
        """Count each payment in its turn towards what had been announced when it became known, the oldest first."""
        for ask in self.asks:
            ask.paid, ask.met_at = Decimal(0), None
            if ask.amount == 0 and not ask.last:
                ask.met_at = ask.due_at
        for payment in self.paper.in_order():
            left = payment.amount - payment.surplus
            for ask in self.asks:
                if ask.last or ask.announced_at is None or ask.announced_at > payment.known_at:
                    continue
                part = min(left, ask.amount - ask.paid)
                ask.paid, left = ask.paid + part, left - part
                if part and ask.paid == ask.amount:
                    ask.met_at = payment.at

    def paid(self, payment: Payment, now: dt.datetime) -> None:
        """See what follows from a payment: one that was there before a default undoes it."""
        was_repaid = self.repaid
        self.paper.settle()
        self.count()
        for ask in self.asks:
            if ask.fee and ask.met_at and ask.met_at < ask.default_at:  # it was not late
                self.paper.charged.remove(ask.fee)
                ask.fee = None
        broken = [ask for ask in self.asks if ask.broken]
        heals = broken and all(ask.met_at is not None and ask.met_at < ask.default_at for ask in broken)
        if heals:
            for ask in broken:
                ask.broken = False
            self.paper.default_at = self.asks[-1].agreed_at
        self.paper.settle()
        self.count()
        self.repaid = was_repaid or not self.owes(now)
        if heals and not was_repaid:
            self.reopen([ask for ask in self.asks if ask.met_at is None and ask not in broken], now)

    def taken_back(self, now: dt.datetime) -> None:
        """See what follows from a payment that is gone: what it had met is asked for again, with its grace."""
        met = [ask for ask in self.asks if self.repaid or ask.met_at is not None]
        self.paper.settle()
        self.count()
        self.repaid = not self.owes(now)
        if not self.repaid and not self.in_default():
            self.reopen([ask for ask in met if ask.met_at is None], now)

    def reopen(self, asks: list[Ask], now: dt.datetime) -> None:
        """Give what is asked for again its grace again, from now on."""
        for ask in asks:
            if ask.due_at <= now and ask.amount is None:
                ask.amount, ask.announced_at = self.wanted(ask, now), now
            if ask.due_at + DAY <= now:
                ask.default_at = max(ask.default_at, self.after_grace(now.date()))

    def owes(self, now: dt.datetime) -> bool:
        paper = self.paper
        return bool(paper.principal_at(now) or paper.interest_due_at(now) or paper.fees_due_at(now))


def months_before(day: dt.date, months: int) -> dt.date:
    """Return the day some months before a day, or the last of its month where that has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def even_cents(exact: Fraction) -> Decimal:
    """Return an amount in whole cents, the nearest ones, and the even one of two."""
    return Decimal(round(exact * 100)) / 100


def midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)
