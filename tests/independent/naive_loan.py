"""
A loan as a careful clerk would keep it on paper: every question is answered by going through all days from the start.

It shares nothing with the platform: fractions of a cent are kept until an amount is asked for, and whatever comes to
be known late, every answer is worked out again from the whole list of what happened.
"""

import calendar
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

DAY = dt.timedelta(days=1)


@dataclass
class Payment:
    """
    Money that came and when that was known, and what it was for as the list of what happened stands now.

    It is `gone` if it was taken back, `freed` if it may pay principal early for nothing, `sold` if a sale brought it.
    """

    at: dt.datetime
    amount: Decimal
    known_at: dt.datetime
    gone: bool = False
    freed: bool = False
    sold: bool = False
    cost: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    interest: Decimal = Decimal(0)
    principal: Decimal = Decimal(0)
    surplus: Decimal = Decimal(0)


@dataclass
class NaiveLoan:
    """
    A loan: a principal, rates and default rates that hold from instants on, its default, payments.

    At `grows_at` all interest that is due becomes principal.
    `ends` says when it was to end, as agreed at instants; `early` what principal costs that is paid more than five days
    before: a share of it, or the interest until then at what it bears less `early_rate`.
    Of a line nothing is lent at first but what is `drawn`, up to a `limit`; what is left of it costs `unused_rate` a
    year until the line is `over_at`, in default, or `closed_at` because nothing is owed. `charged` are other fees, from
    instants on.
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
    drawn: list[tuple[dt.datetime, Decimal]] = field(default_factory=list)
    limit: Decimal = Decimal(0)
    unused_rate: Fraction = Fraction(0)
    over_at: dt.datetime | None = None
    closed_at: dt.datetime | None = None
    charged: list[tuple[dt.datetime, Decimal]] = field(default_factory=list)

    def settle(self) -> None:
        """Work out anew what every payment was for, first to last."""
        done: list[Payment] = []
        self.grown = [Payment(at, Decimal(0), at) for at in self.grows_at]
        for payment in self.in_order():
            interest = self.interest_due_at(payment.at, done)
            if any(payment is one for one in self.grown):  # all that is due becomes principal, and bears interest
                payment.interest, payment.principal = interest, -interest
                done.append(payment)
                continue
            owed = self.principal_at(payment.at, done)
            payment.fees = min(payment.amount, self.fees_due_at(payment.at, done))
            payment.interest = min(payment.amount - payment.fees, interest)
            left = payment.amount - payment.fees - payment.interest
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
        lent = self.lent + sum((amount for since, amount in self.drawn if since <= at), Decimal(0))
        return lent - sum((p.principal for p in paid if p.at <= at), Decimal(0))

    def interest_due_at(self, at: dt.datetime, done: list[Payment] | None = None) -> Decimal:
        """Return interest that was earned and not yet paid just after an instant."""
        paid = self.in_order() if done is None else done
        return self.earned(at, paid) - sum((p.interest for p in paid if p.at <= at), Decimal(0))

    def fees_due_at(self, at: dt.datetime, done: list[Payment] | None = None) -> Decimal:
        """Return fees that were charged, or earned by what is not drawn, and not yet paid just after an instant."""
        paid = self.in_order() if done is None else done
        charged = sum((amount for since, amount in self.charged if since <= at), Decimal(0))
        return charged + self.undrawn(at, paid) - sum((p.fees for p in paid if p.at <= at), Decimal(0))

    def earned(self, until: dt.datetime, done: list[Payment] | None = None) -> Decimal:
        """Return all interest to an instant, a started cent counting as a whole one."""
        normal, default = self.exact(until, done)
        return self.cents(normal + default)

    def exact(self, until: dt.datetime, done: list[Payment] | None = None) -> tuple[Fraction, Fraction]:
        """Return interest at the agreed rates and at the default rate, from change to change and day to day."""
        paid = self.in_order() if done is None else done
        normal = default = Fraction(0)
        for at, years in self._stretches(until, paid):
            a_year = Fraction(self.principal_at(at, paid)) * years
            if at >= self.default_at:
                default += a_year * self._held(self.default_rates, at)
            else:
                normal += a_year * self._held(self.rates, at)
        return normal, default

    def undrawn(self, until: dt.datetime, done: list[Payment] | None = None) -> Decimal:
        """Return all fees on what was not drawn to an instant, a started cent counting as a whole one."""
        paid = self.in_order() if done is None else done
        exact = Fraction(0)
        if not self.unused_rate:
            return self.cents(exact)
        for at, years in self._stretches(until, paid):
            if all(end is None or at < end for end in (self.default_at, self.over_at, self.closed_at)):
                left = max(self.limit - self.principal_at(at, paid), Decimal(0))
                exact += Fraction(left) * self.unused_rate * years
        return self.cents(exact)

    def _stretches(self, until: dt.datetime, paid: list[Payment]) -> Iterator[tuple[dt.datetime, Fraction]]:
        """Yield the start of each stretch of a day in which nothing changes, and the part of a year it counts for."""
        changes = [p.at for p in paid] + [at for at, _ in self.rates + self.default_rates + self.drawn]
        changes += [end for end in (self.default_at, self.over_at, self.closed_at) if end is not None]
        at = self.start
        while at < until:
            midnight = dt.datetime.combine(at.date(), dt.time(), tzinfo=dt.UTC) + DAY
            end = min([midnight, until, *(change for change in changes if change > at)])
            yield at, Fraction((end - at) // dt.timedelta(microseconds=1), 86_400_000_000) * self._day(at.date())
            at = end

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
