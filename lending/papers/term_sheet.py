"""A term sheet on paper: every parameter that the engine runs by, each of them once."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Spacer

from lending import loans, term_sheets
from lending.engine import figures, terms
from lending.models import ScheduleKind, Tenor, TermSheet
from lending.papers import frame
from lending.papers.frame import HEAD, SMALL, SUBTITLE, TITLE, facts, table, words

PARTS = (("The loan", ("loan", "rules", "pledge")), ("Its margin: what happens at which LTV", ("ladder",)))
SUMS = {
    "fee": "Origination fee at the start",
    "paid_out": "Paid out",
    "interest": "Interest in all",
    "total": "To be paid back in all",
}
WHOLE_LIFE = ("interest", "total")  # sums of what ends on a day that was agreed
LEFT = {"interest": "Interest left to pay", "total": "Left to pay in all"}
COLUMNS = {
    "due_date": "Due",
    "pay_date": "Paid on",
    "principal": "Principal paid",
    "interest": "Interest",
    "balance": "Left to pay back",
}
_LTV = (
    "LTV is the debt over the value of the collateral, less haircuts, at the desk's marks, both counted in US dollars."
)
_OUTSIDE = (
    "This loan was agreed by the paper named here. It runs here by the terms above from the instant on at which it was "
    "taken over; its principal is {principal}."
)
_FIRST_YEAR = "It shows the first year, and goes on like that until either side ends the loan."
_GROWS = (
    "Nothing is to be paid before the end: at the start of each day named here, all interest that is due becomes "
    "principal and bears interest from then on, so that what is left to pay back grows."
)
_AS_FIXED = "It is as if the benchmark stayed as it is: what comes after the first reset is expected, not fixed."
_ALL_DRAWN = "It is as if all of the line was drawn at once."
_PREPAYING = (
    "What principal costs that is paid before its time is worked out for the principal that a payment pays early and "
    "taken out of that payment, after fees and interest. The interest lost is simple interest by the day count, at the "
    "rate that the loan bears then and from the payment to when the schedule asks for that principal, not discounted "
    "and never below zero. Nothing is charged for what the schedule asks for, for what is paid while a margin call is "
    "open, for what a sale of collateral brings, or once the loan is due or in default."
)
_FLOATS = (
    "The interest a year stands as above until the first reset. Resets come at the start of each day on which a period "
    "of so many months is paid, counted back from the day it falls due, or from the day it is paid out where no such "
    "day is agreed. At a reset the rate becomes what the benchmark was fixed at, so many business days before, plus "
    "the spread, at least and at most as above. Where no fixing of that day is known, the last one before it counts; "
    "once it is known, the difference of the interest is posted. In default the rate is as much higher as it is above."
)
_LATE = (
    "The late fee is charged once for each payment of interest or of a part of the principal, of what is unpaid of it "
    "when its grace is over, and taken back if it comes to be known that it was paid in time. What ends the loan has "
    "none: it bears the default rate."
)
_IN_DEFAULT = (
    "In default all of the loan is due. Once its client has received notice of that and two persons of the desk agree, "
    "as much of the collateral is sold as pays it off, whatever the LTV is."
)
_SAID = {"benchmark": _FLOATS, "late_fee": _LATE, "prepayment": _PREPAYING}  # of a term that a sheet has
_IN_TIME = (
    f"Once signed it has to be paid out within {loans.PAID_OUT_WITHIN.days} days, for which its collateral has to be "
    "there; otherwise it ends, and nothing is owed for it."
)
_ACCEPTING = "Whoever signs for the client accepts it in the portal, and is bound to exactly this text by its hash."


def render(sheet: TermSheet) -> bytes:
    """Return the PDF of an offered term sheet; once it is accepted, with who is bound to it."""
    drawn = term_sheets.of(sheet)
    names = drawn.content["names"]
    story: list[Flowable] = [
        words("Term sheet", TITLE),
        words(f"{names['client']}: {names['product']}", SUBTITLE),
        words(f"Version {sheet.version}, offered on {figures.instant(sheet.offered_at)}."),
    ]
    story += _changes(sheet, drawn)
    for heading, parts in PARTS:
        found = [term for term in terms.TERMS if term.part in parts]
        story += [words(heading, HEAD), facts([(term.label, term_sheets.printed(term, drawn)) for term in found])]
        if "loan" in parts:
            said = [_IN_DEFAULT, *(text for name, text in _SAID.items() if drawn.loan[name])]
            story += [part for text in said for part in (Spacer(1, 1.5 * mm), words(text, SMALL))]
    agreed = _acceptance(sheet) if drawn.origin is None or drawn.amends else _agreed_outside(drawn)
    if drawn.origin is None and not drawn.amends:
        story += [Spacer(1, 1.5 * mm), words(_IN_TIME, SMALL)]
    story += [Spacer(1, 1.5 * mm), words(_LTV, SMALL), *_collateral(drawn), *_schedule(drawn), *agreed]
    foot = (
        f"Loan {names['loan']} · term sheet version {sheet.version}",
        f"SHA-256 of its content {sheet.fingerprint}",
    )
    return frame.render(story, title=f"Term sheet, {names['client']}", foot=foot)


def _changes(sheet: TermSheet, drawn: term_sheets.Drawn) -> Iterator[Flowable]:
    """Yield what a version for a running loan changes, and from when; nothing of a first offer."""
    if not drawn.amends:
        return
    before, from_at = drawn.amends["version"], drawn.amends["from_at"]
    yield words(f"What it changes{f' about version {before}' if before else ''}", HEAD)
    rows = [tuple(change) for change in term_sheets.changes(drawn)]
    yield table(("Term", "As it is", "As it will be"), rows, widths=(5, 3, 3), figures=2)
    since = figures.instant(datetime.fromisoformat(from_at)) if from_at else "the moment it is signed"
    owed = figures.amount(Decimal(drawn.amends["owed"]), drawn.content["loan"]["asset"])
    yield words(f"It counts from {since} on. Principal owed when it was drawn: {owed}.", SMALL)
    if secures := drawn.amends["secures"]:
        yield words(f"The ladder is that of every loan which the margin account secures: {', '.join(secures)}.", SMALL)
    if before:
        yield words(f"SHA-256 of version {before}: {drawn.amends['sha256']}", SMALL)


def _collateral(drawn: term_sheets.Drawn) -> Iterator[Flowable]:
    yield words("Collateral expected", HEAD)
    rows = [
        (code, figures.amount(quantity, code) if quantity else "–", figures.percent(haircut))
        for code, (quantity, haircut) in drawn.collateral.items()
    ]
    if rows:
        yield table(("Asset", "Quantity", "Haircut"), rows, widths=(4, 4, 2), figures=2)
        yield words("Of any other asset that the desk takes as collateral, no haircut is taken off.", SMALL)
    else:
        yield words("None is named: any asset that the desk takes, up to the highest LTV when paid out.")


def _schedule(drawn: term_sheets.Drawn) -> Sequence[Flowable]:
    found, asset = drawn.content["schedule"], drawn.content["loan"]["asset"]
    start_at = datetime.fromisoformat(found["start_at"])
    labels = LEFT if drawn.amends else SUMS
    goes_on = bool(Decimal(found["rows"][-1]["balance"]))
    names = [name for name in labels if not (goes_on and name in WHOLE_LIFE)]
    sums = [(labels[name], figures.amount(Decimal(found[name]), asset)) for name in names]
    rows = [[_in_row(name, row[name], asset) for name in COLUMNS] for row in found["rows"]]
    if drawn.origin is not None and not drawn.amends:  # it was paid out long ago
        sums = [row for row in sums if row[0] in (SUMS["interest"], SUMS["total"])]
    heading = "Schedule if paid out on" if drawn.origin is None else "Schedule from"
    heading = "What is left to pay if it is signed on" if drawn.amends else heading
    return [
        words(f"{heading} {figures.instant(start_at)}", HEAD),
        words(
            "Worked out from the terms above for that instant, if nothing is paid before it is due. "
            + (f"{_FIRST_YEAR} " if goes_on else "")
            + (f"{_GROWS} " if drawn.loan["schedule_kind"] == ScheduleKind.CAPITALISED else "")
            + (f"{_AS_FIXED} " if drawn.loan["benchmark"] else "")
            + (f"{_ALL_DRAWN} " if drawn.loan["tenor"] == Tenor.REVOLVING else "")
            + f"The table is in {asset}.",
            SMALL,
        ),
        *([facts(sums)] if sums else []),  # of what goes on, and was paid out long ago, nothing is summed
        Spacer(1, 3 * mm),
        table(list(COLUMNS.values()), rows, widths=[1] * len(COLUMNS), figures=3),
    ]


def _agreed_outside(drawn: term_sheets.Drawn) -> Sequence[Flowable]:
    found, asset = drawn.origin or {}, drawn.content["loan"]["asset"]
    said = [
        ("The system that kept it", found["source"]),
        ("Its reference there", found["reference"]),
        ("It began on", figures.day(date.fromisoformat(found["began_date"]))),
        ("Principal agreed then", figures.amount(Decimal(found["principal_agreed"]), asset)),
        ("Taken over at", figures.instant(datetime.fromisoformat(found["cut_over_at"]))),
        ("Interest due then, in the first row", figures.amount(Decimal(found["interest"]), asset)),
        ("Fees due then, besides", figures.amount(Decimal(found["fees"]), asset)),
        *_of_its_kind(found, asset),
        ("Agreed outside, by", found["paper"]),
        ("SHA-256 of that paper", found["paper_sha256"]),
    ]
    outside = _OUTSIDE.format(principal="the limit of the line" if "outstanding" in found else "what was left then")
    return [words("Taken over", HEAD), facts(said), Spacer(1, 1.5 * mm), words(outside, SMALL)]


def _of_its_kind(found: Mapping[str, str], asset: str) -> Iterator[tuple[str, str]]:
    """Yield what stood on a line, or what the rate of a loan rested on, when it was taken over."""
    if "outstanding" in found:
        yield "Drawn then", figures.amount(Decimal(found["outstanding"]), asset)
    if "unused" in found:
        yield "Fee on what was not drawn, accrued then", figures.amount(Decimal(found["unused"]), asset)
    if "fixing" in found:
        yield "The rate then was by a fixing of", figures.percent(Decimal(found["fixing"]))


def _in_row(name: str, text: str, asset: str) -> str:
    if name.endswith("date"):
        return figures.day(date.fromisoformat(text))
    value = Decimal(text)
    return figures.bare(value, asset) if value else "–"


def _acceptance(sheet: TermSheet) -> Sequence[Flowable]:
    accepted = sheet.accepted
    if accepted is None:
        return [words("Not accepted yet", HEAD), words(_ACCEPTING)]
    by = [("For the client, by", str(accepted.signer)), ("At", figures.instant(accepted.accepted_at))]
    bound = f"Bound to the content whose SHA-256 is {bytes(accepted.content_hash).hex()}."
    return [words("Accepted", HEAD), facts(by), Spacer(1, 1.5 * mm), words(bound, SMALL)]
