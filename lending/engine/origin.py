"""Where a loan comes from that another system kept until an instant, as it stands in its term sheet."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from lending.engine import money, terms


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """
    What was agreed there, and stood on the loan at the cut-over, in its asset.

    `outstanding` and `unused` are of a line: what was drawn of it, and what had accrued of the fee on what was not and
    was not charged yet. `fixing` is what the benchmark of a rate that floats was fixed at for it. `to_come` and
    `next_due_date` stand in the schedule.
    """

    source: str
    reference: str
    began_date: date
    principal_agreed: Decimal
    cut_over_at: datetime
    interest: Decimal
    fees: Decimal
    paper: str
    paper_sha256: str
    outstanding: Decimal | None = None
    unused: Decimal | None = None
    fixing: Decimal | None = None
    to_come: tuple[tuple[date, Decimal], ...] = ()
    next_due_date: date | None = None

    @property
    def written(self) -> dict[str, str]:
        """Return it as it stands in the canonical text."""
        own = {"outstanding": self.outstanding, "unused": self.unused, "fixing": self.fixing}
        return {
            "source": self.source,
            "reference": self.reference,
            "began_date": self.began_date.isoformat(),
            "principal_agreed": money.text(self.principal_agreed),
            "cut_over_at": terms.instant_text(self.cut_over_at),
            "interest": money.text(self.interest),
            "fees": money.text(self.fees),
            "paper": self.paper,
            "paper_sha256": self.paper_sha256,
            **{name: money.text(value) for name, value in own.items() if value is not None},
        }
