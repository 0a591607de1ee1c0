"""Benchmarks that rates follow, what was fixed for each day, and what a product or a loan says of its own rate."""

from datetime import date
from decimal import Decimal

from django.db import models
from django.db.models import F, Q

from lending.engine import figures
from lending.models.fields import RatioField
from lending.models.schedules import Frequency, ScheduleKind
from lending.models.users import User

_FIXED = Q(benchmark="", spread=0, rate_floor=0, rate_cap=0, reset_months=0, fixing_lag_days=0)
_FLOATING = (
    ~Q(benchmark="")
    & Q(spread__gte=0, spread__lt=1, rate_floor__gte=0, rate_floor__lt=1, rate_cap__lt=1, reset_months__gt=0)
    & (Q(rate_cap=0) | Q(rate_cap__gte=F("rate_floor")))
    & ~Q(schedule_kind=ScheduleKind.EQUAL_INSTALMENT)
)
RATE_OF_A_PRODUCT = models.CheckConstraint(
    name="product_rate_is_one_kind",
    condition=_FIXED | _FLOATING,
    violation_error_message="A rate is fixed, with nothing said of spread, floor, cap and resets; or it follows a "
    "benchmark, has resets, a cap that is none or not below its floor, and no equal instalments.",
)
RATES_OF_A_LOAN = (
    models.CheckConstraint(name="loan_rate_is_one_kind", condition=_FIXED | _FLOATING),
    models.CheckConstraint(
        name="loan_steps_up_from_a_day",
        condition=Q(step_up=0, step_up_date__isnull=True)
        | Q(step_up__gt=0, step_up__lt=1, step_up_date__isnull=False) & ~Q(schedule_kind=ScheduleKind.EQUAL_INSTALMENT),
    ),
)


class RateTerms(models.Model):
    """How a rate comes about: fixed, or a benchmark's fixing plus a spread, within a floor and a cap."""

    benchmark = models.CharField(
        max_length=20, blank=True, default="", db_default="", help_text="that the rate follows; empty: it is fixed"
    )
    spread = RatioField(default=0, db_default=0, blank=True, help_text="a year, over the benchmark")
    rate_floor = RatioField(default=0, db_default=0, blank=True, help_text="a year: the rate is never below it")
    rate_cap = RatioField(default=0, db_default=0, blank=True, help_text="a year: never above it; 0: no cap")
    reset_months = models.PositiveSmallIntegerField(
        default=0, db_default=0, blank=True, choices=[(0, "never"), *Frequency.choices],
        help_text="from reset to reset, counted like the periods of interest",
    )  # fmt: skip
    fixing_lag_days = models.PositiveSmallIntegerField(
        default=0, db_default=0, blank=True, help_text="business days from the fixing to the reset that it is for"
    )

    class Meta:
        abstract = True

    @property
    def floats(self) -> bool:
        """Return whether the rate follows a benchmark."""
        return bool(self.benchmark)

    @property
    def how_it_floats(self) -> str:
        """Return in words how a rate that floats comes about; nothing of one that is fixed."""
        if not self.floats:
            return ""
        said = f"{self.benchmark} plus {figures.percent(self.spread)}, reset {Frequency(self.reset_months).label}"
        said += f", at least {figures.percent(self.rate_floor)}"
        return said + (f", at most {figures.percent(self.rate_cap)}" if self.rate_cap else "")


class StepUp(models.Model):
    """What is added to a rate from an agreed day on."""

    step_up = RatioField(default=0, db_default=0, help_text="a year, added to every rate from a day on")
    step_up_date = models.DateField(null=True, help_text="from the start of which it is added")

    class Meta:
        abstract = True

    @property
    def how_it_steps_up(self) -> str:
        """Return in words what is added from when on; nothing where nothing is."""
        day: date | None = self.step_up_date
        step: Decimal = self.step_up
        return f"{figures.percent(step)} more from {figures.day(day)} on" if day else ""


class Benchmark(models.Model):
    """A published rate that loans can follow."""

    code = models.CharField(max_length=20, unique=True)
    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.code


class Fixing(models.Model):
    """
    What a benchmark was fixed at for a day, recorded by two persons.

    A row is final. One that was wrong is corrected by another of the same day: the last number counts.
    """

    named_by = ("benchmark",)

    benchmark = models.ForeignKey(Benchmark, on_delete=models.PROTECT, related_name="fixings")
    effective_date = models.DateField()
    number = models.PositiveSmallIntegerField(default=1, help_text="2 and above correct the one before")
    rate = RatioField(help_text="a year; it may be below zero")
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="fixing_once", fields=["benchmark", "effective_date", "number"]),
            models.CheckConstraint(name="fixing_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(name="fixing_is_a_rate", condition=Q(rate__gt=Decimal("-0.1"), rate__lt=1)),
        ]

    def __str__(self) -> str:
        return f"{self.benchmark.code} {figures.percent(self.rate)} of {figures.day(self.effective_date)}"
