"""
What two sides agree on when a loan is made, and the one text of it that is signed, printed and run.

A sheet's content is plain data. Its canonical text is JSON with sorted keys and no spaces, every figure written in
full: amounts and ratios as decimal text, spans in whole seconds, instants in UTC with microseconds. The SHA-256 of
that text is what a signer is bound to. Reading a figure back gives exactly the value that was written.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from lending.engine import money

FORMAT = 1
RATIO_DECIMALS = 12  # columns are numeric(20, 12)


class UnableToWrite(ValueError):
    """A figure can not stand in a term sheet, because nothing could run by it exactly; the message says which."""


class Unit(StrEnum):
    """What a term is counted in."""

    AMOUNT = "amount"  # of the loan's asset
    USD = "usd"
    RATIO = "ratio"  # 0.65 is 65 %
    SPAN = "span"  # whole seconds
    COUNT = "count"
    DATE = "date"
    INSTANT = "instant"
    WORDS = "words"


@dataclass(frozen=True, slots=True)
class Term:
    """One parameter: the part of the sheet it stands in, the column that takes it, and how a person reads it."""

    part: str
    name: str
    label: str
    unit: Unit
    names: tuple[tuple[str, str], ...] = ()  # what a word of the code is called; others are called what they are
    before: str | int | None = None  # what a sheet says that is older than the term


_KINDS = (
    ("bullet", "all at once at maturity"),
    ("interest_only", "interest every period, principal at maturity"),
    ("equal_principal", "equal parts of the principal, and interest"),
    ("equal_instalment", "equal instalments"),
    ("capitalised", "at maturity; interest becomes principal"),
)
_TENORS = (
    ("fixed", "a fixed term"),
    ("open", "an open term: until either side ends it"),
    ("revolving", "a revolving line: until either side ends it"),
)
_PREPAYMENTS = (
    ("", "nothing"),
    ("share", "a share of what is prepaid"),
    ("interest", "interest lost, less what it earns elsewhere"),
)
_FORMS = (
    ("security_interest", "a security interest: it stays the client's"),
    ("title_transfer", "a transfer of title: as much is owed back"),
)
_KEPT = (
    ("clients", "with other clients' collateral"),
    ("alone", "in an account of its own"),
    ("desk", "with what is the desk's own"),
)
_FORKS = (("client", "the client"), ("desk", "the desk"))
_CALENDARS = (("", "every day"), ("XFED", "Fedwire's business days"), ("XECB", "TARGET's business days"))

# One line for everything that the engine runs by, in the order of the print. `loan` and `ladder` become the columns
# of those tables; `rules` are the same for every loan of the desk.
TERMS = (
    Term("loan", "asset", "Lent in", Unit.WORDS),
    Term("loan", "principal", "Principal", Unit.AMOUNT),
    Term("loan", "annual_rate", "Interest a year", Unit.RATIO),
    Term("loan", "benchmark", "The rate follows", Unit.WORDS, (("", "nothing: it is fixed"),), before=""),
    Term("loan", "spread", "Spread over that, a year", Unit.RATIO, before="0"),
    Term("loan", "rate_floor", "Once it is reset, at least, a year", Unit.RATIO, (("0 %", "zero"),), before="0"),
    Term("loan", "rate_cap", "Once it is reset, at most, a year", Unit.RATIO, (("0 %", "no cap"),), before="0"),
    Term("loan", "reset_months", "Months from reset to reset", Unit.COUNT, (("0", "never"),), before=0),
    Term("loan", "fixing_lag_days", "Business days from its fixing to a reset", Unit.COUNT, (("0", "none"),), before=0),
    Term("loan", "step_up", "Step-up, on top of every rate", Unit.RATIO, (("0 %", "none"),), before="0"),
    Term("loan", "step_up_date", "Stepped up from 00:00 UTC of", Unit.DATE, (("", "no day"),), before=""),
    Term("loan", "day_count", "Day count", Unit.WORDS),
    Term("rules", "interest_decimals", "Interest rounds up at the decimal place", Unit.COUNT),
    Term("loan", "schedule_kind", "Paid back", Unit.WORDS, _KINDS),
    Term("loan", "frequency_months", "Months in a period", Unit.COUNT),
    Term("loan", "calendar", "Money moves on", Unit.WORDS, _CALENDARS),
    Term("loan", "tenor", "It runs for", Unit.WORDS, _TENORS, before="fixed"),
    Term("loan", "maturity_date", "Falls due at 00:00 UTC on", Unit.DATE, (("", "the day its notice is over"),)),
    Term("loan", "notice_days", "Business days of notice, from the next on", Unit.COUNT, (("0", "none"),), before=0),
    Term("rules", "default_after_s", "In default if unpaid after it falls due for", Unit.SPAN),
    Term("loan", "grace_days", "Business days of grace besides", Unit.COUNT),
    Term("loan", "late_fee", "Late fee, of interest or a part unpaid after its grace", Unit.RATIO, before="0"),
    Term("loan", "default_rate", "Interest a year in default", Unit.RATIO),
    Term("loan", "origination_fee", "Origination fee, of the principal", Unit.RATIO),
    Term("loan", "unused_fee", "Fee a year, of what is not drawn", Unit.RATIO, before="0"),
    Term("loan", "prepayment", "Principal paid before its time costs", Unit.WORDS, _PREPAYMENTS, before=""),
    Term("loan", "prepayment_rate", "That share, or what a year earns elsewhere", Unit.RATIO, before="0"),
    Term("rules", "prepayment_notice_s", "Nothing, within so long before it is due", Unit.SPAN, before=432_000),
    Term("loan", "payout_address", "Paid out to", Unit.WORDS, (("", "the client's free balance"),)),
    Term("loan", "quoted_until", "The offer ends at", Unit.INSTANT),
    Term("rules", "margin_account", "The collateral secures", Unit.WORDS),
    Term("pledge", "form", "The collateral is given as", Unit.WORDS, _FORMS, before="security_interest"),
    Term("pledge", "rank", "Its rank among creditors", Unit.COUNT, before=1),
    Term("pledge", "segregation", "It is kept", Unit.WORDS, _KEPT, before="clients"),
    Term("pledge", "forks", "What forks and airdrops bring belongs to", Unit.WORDS, _FORKS, before="client"),
    Term("rules", "reuse", "The desk may lend it on or pledge it", Unit.WORDS, before="never"),
    Term("ladder", "initial_ltv", "Highest LTV when paid out", Unit.RATIO),
    Term("ladder", "warning_ltv", "Warning above", Unit.RATIO),
    Term("ladder", "margin_call_ltv", "Margin call above", Unit.RATIO),
    Term("ladder", "cure_period_s", "Time to cure a call, from its receipt", Unit.SPAN),
    Term("ladder", "cure_to", "What cures a call brings LTV to", Unit.RATIO),
    Term("ladder", "minimum_transfer", "A first call for less waits", Unit.USD),
    Term("ladder", "call_rounding", "A call asks for a multiple of", Unit.USD),
    Term("ladder", "clear_ltv", "A call ends early below", Unit.RATIO),
    Term("ladder", "clear_hold_s", "Once LTV has held below that for", Unit.SPAN),
    Term("ladder", "reopen_window_s", "A new breach reopens the call within", Unit.SPAN),
    Term("ladder", "accelerated_ltv", "Accelerated above", Unit.RATIO),
    Term("ladder", "accelerated_cure_period_s", "Time left once accelerated, at most", Unit.SPAN),
    Term("ladder", "liquidation_ltv", "Sale of collateral above", Unit.RATIO),
    Term("ladder", "liquidate_to", "A sale brings LTV to", Unit.RATIO),
    Term("ladder", "liquidation_fee", "Liquidation fee, of a sale's proceeds", Unit.RATIO),
    Term("ladder", "gap_limit", "A sale waits for nothing once LTV is past its level by", Unit.RATIO),
    Term("ladder", "final_wait_s", "Else it waits once for a cure's last confirmation, up to", Unit.SPAN),
    Term("ladder", "release_trigger", "Collateral may go back below", Unit.RATIO),
    Term("ladder", "release_to", "A release leaves LTV at, at most", Unit.RATIO),
)


def of_part(part: str) -> tuple[Term, ...]:
    """Return the terms that stand in one part of a sheet."""
    return tuple(term for term in TERMS if term.part == part)


def written(part: str, values: Mapping[str, Any]) -> dict[str, str | int | None]:
    """
    Return one part of a sheet from its values, by name.

    Raises
    ------
    UnableToWrite
        If a value is missing or left over, or could not be read back as it is.
    """
    wanted = {term.name: term for term in of_part(part)}
    if wanted.keys() != values.keys():
        odd = ", ".join(sorted(wanted.keys() ^ values.keys()))
        raise UnableToWrite(f"the {part} of a term sheet misses or does not know: {odd}")
    return {name: write(term, values[name]) for name, term in wanted.items()}


def read_part(content: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return the values of one part of a sheet by name, as they were before they were written."""
    return {term.name: value_of(term, content) for term in of_part(part)}


def value_of(term: Term, content: Mapping[str, Any]) -> Any:
    """Return the value of one term of a sheet, as it was before it was written."""
    part = content.get(term.part, {})
    return read(term, part[term.name] if term.before is None else part.get(term.name, term.before))


def write(term: Term, value: Any) -> str | int | None:
    """
    Return a value as it stands in the canonical text; None is a day that was not agreed.

    Raises
    ------
    UnableToWrite
        If the value is not of the term's unit, or is finer than its column.
    """
    if term.unit in (Unit.AMOUNT, Unit.USD, Unit.RATIO):
        return money.text(_exactly(term, value))
    if term.unit in (Unit.SPAN, Unit.COUNT):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UnableToWrite(f"{term.name} is a whole number from 0 on, not {value!r}")
        return value
    if term.unit is Unit.INSTANT:
        return instant_text(value)
    if term.unit is Unit.DATE and value is None:
        return None
    return value.isoformat() if isinstance(value, date) else str(value)


def read(term: Term, text: str | int | None) -> Any:
    """Return the value that `write` wrote."""
    if text is None or (text == "" and term.unit is Unit.DATE):
        return None
    if term.unit in (Unit.AMOUNT, Unit.USD, Unit.RATIO):
        return Decimal(text)
    if term.unit is Unit.DATE:
        return date.fromisoformat(str(text))
    if term.unit is Unit.INSTANT:
        return datetime.fromisoformat(str(text))
    return text


def canonical(content: Mapping[str, Any]) -> str:
    """Return the one text of a sheet's content: what is hashed, kept, signed and printed."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(text: str) -> bytes:
    """Return the SHA-256 of a canonical text."""
    return hashlib.sha256(text.encode()).digest()


def instant_text(at: datetime) -> str:
    """Return an aware instant in UTC with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _exactly(term: Term, value: Any) -> Decimal:
    places = RATIO_DECIMALS if term.unit is Unit.RATIO else money.DECIMALS
    try:
        exact = Decimal(value)
        fits = exact.is_finite() and exact == money.quantize_down(exact, places)
    except (InvalidOperation, TypeError, ValueError):
        fits = False
    if not fits or isinstance(value, float):
        raise UnableToWrite(f"{term.name} is a figure of at most {places} decimals, not {value}")
    return exact
