"""
A loan as a careful clerk would keep it on paper: every question is answered by going through all days from the start.

It shares nothing with the platform: fractions of a cent are kept until an amount is asked for, and whatever comes to
be known late, every answer is worked out again from the whole list of what happened.
"""

import calendar
import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

DAY = dt.timedelta(days=1)


@dataclass
class Payment:
    """Money that came, and what it was for as the list of what happened stands now."""

    at: dt.datetime
    amount: Decimal
    gone: bool = False
    freed: bool = False
    cost: Decimal = Decimal(0)
    interest: Decimal = Decimal(0)
    principal: Decimal = Decimal(0)
    surplus: Decimal = Decimal(0)


@dataclass
class NaiveLoan:
    """
    A bullet loan: a principal, rates and default rates that hold from instants on, its default, payments.

    At `grows_at` all interest that is due becomes principal.
    `ends` says when it was to end, as agreed at instants; `early` what principal costs that is paid more than five days
    before: a share of it, or the interest until then at what it bears less `early_rate`.
    """

    start: dt.datetime
    lent: Decimal
    day_count: str
    rates: list[tuple[dt.datetime, Fraction]]
    default_rates: list[tuple[dt.datetime, Fraction]]
    default_at: dt.datetime
    ends: list[tuple[dt.datetime, dt.datetime]] = field(default_factory=list)
    early: str = ""
    early_rate: Fraction = Fraction(0)
    cent: Decimal = Decimal("0.01")
    payments: list[Payment] = field(default_factory=list)
    grows_at: list[dt.datetime] = field(default_factory=list)
    grown: list[Payment] = field(default_factory=list)

    def settle(self) -> None:
        """Work out anew what every payment was for, first to last."""
        done: list[Payment] = []
        self.grown = [Payment(at, Decimal(0)) for at in self.grows_at]
        for payment in self.in_order():
            if any(
                payment is one for one in self.grown
            ):  # all interest that is due becomes principal, and bears interest
                payment.interest = self.earned(payment.at, done) - sum((p.interest for p in done), Decimal(0))
                payment.principal = -payment.interest
                done.append(payment)
                continue
            owed = self.lent - sum((p.principal for p in done), Decimal(0))
            interest = self.earned(payment.at, done) - sum((p.interest for p in done), Decimal(0))
            payment.interest = min(payment.amount, interest)
            left = payment.amount - payment.interest
            each = Fraction(0) if payment.freed else self.price(payment.at)
            payment.principal = min(self.cents(Fraction(left) / (1 + each), up=False), owed)
            while payment.principal + self.cents(Fraction(payment.principal) * each) > left:
                payment.principal -= self.cent
            payment.cost = self.cents(Fraction(payment.principal) * each)
            payment.surplus = left - payment.principal - payment.cost
            done.append(payment)

    def price(self, at: dt.datetime) -> Fraction:
        """Return what each unit of principal costs that is paid at an instant."""
        end = [end for since, end in self.ends if since <= at][-1] if self.ends else at
        if not self.early or at >= self.default_at or end - at <= 5 * DAY:
            return Fraction(0)
        if self.early == "share":
            return self.early_rate
        years, lost = Fraction(0), max(self._held(self.rates, at) - self.early_rate, Fraction(0))
        while at < end:
            midnight = dt.datetime.combine(at.date(), dt.time(), tzinfo=dt.UTC) + DAY
            years += Fraction((midnight - at) // dt.timedelta(microseconds=1), 86_400_000_000) * self._day(at.date())
            at = midnight
        return lost * years

    def cents(self, exact: Fraction, *, up: bool = True) -> Decimal:
        """Return an amount in whole cents."""
        found = exact / Fraction(self.cent)
        return self.cent * (-(-found.numerator // found.denominator) if up else found.numerator // found.denominator)

    def in_order(self) -> list[Payment]:
        """Return the payments that stand, by the time at which they count; the list holds them as they became known."""
        standing = [(p.at, 1, p) for p in self.payments if not p.gone]
        grown = [(p.at, 0, p) for p in self.grown]
        return [p for _, _, p in sorted([*standing, *grown], key=lambda one: one[:2])]

    def principal_at(self, at: dt.datetime, done: list[Payment] | None = None) -> Decimal:
        """Return what was still lent just after an instant."""
        paid = self.in_order() if done is None else done
        return self.lent - sum((p.principal for p in paid if p.at <= at), Decimal(0))

    def interest_due_at(self, at: dt.datetime) -> Decimal:
        """Return interest that was earned and not yet paid just after an instant."""
        return self.earned(at) - sum((p.interest for p in self.in_order() if p.at <= at), Decimal(0))

    def earned(self, until: dt.datetime, done: list[Payment] | None = None) -> Decimal:
        """Return all interest to an instant, a started cent counting as a whole one."""
        normal, default = self.exact(until, done)
        return self.cents(normal + default)

    def exact(self, until: dt.datetime, done: list[Payment] | None = None) -> tuple[Fraction, Fraction]:
        """Return interest at the agreed rates and at the default rate, from change to change and day to day."""
        paid = self.in_order() if done is None else done
        changes = [p.at for p in paid] + [at for at, _ in self.rates + self.default_rates] + [self.default_at]
        normal = default = Fraction(0)
        at = self.start
        while at < until:
            midnight = dt.datetime.combine(at.date(), dt.time(), tzinfo=dt.UTC) + DAY
            end = min([midnight, until, *(change for change in changes if change > at)])
            share = Fraction((end - at) // dt.timedelta(microseconds=1), 86_400_000_000)
            a_year = Fraction(self.principal_at(at, paid)) * share * self._day(at.date())
            if at >= self.default_at:
                default += a_year * self._held(self.default_rates, at)
            else:
                normal += a_year * self._held(self.rates, at)
            at = end
        return normal, default

    def _held(self, rates: list[tuple[dt.datetime, Fraction]], at: dt.datetime) -> Fraction:
        return [rate for since, rate in rates if since <= at][-1]

    def _day(self, day: dt.date) -> Fraction:
        """Return the part of a year that a day counts for."""
        if self.day_count == "ACT/360":
            return Fraction(1, 360)
        if self.day_count == "ACT/365F":
            return Fraction(1, 365)
        if self.day_count == "ACT/ACT ISDA":
            return Fraction(1, 366 if calendar.isleap(day.year) else 365)
        return Fraction(self._thirty(day + DAY) - self._thirty(day), 360)

    def _thirty(self, day: dt.date) -> int:
        """Return the days of thirty-day months from the start to a day."""
        first, last = self.start.day, day.day
        first = 30 if first == 31 else first
        if last == 31 and (first == 30 or self.day_count == "30E/360"):
            last = 30
        return 360 * (day.year - self.start.year) + 30 * (day.month - self.start.month) + last - first
