"""A term sheet on paper: every parameter that the engine runs by, each of them once."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Spacer

from lending import term_sheets
from lending.engine import terms
from lending.engine.terms import Term, Unit
from lending.models import TermSheet
from lending.papers import figures, frame
from lending.papers.frame import HEAD, SMALL, SUBTITLE, TITLE, facts, table, words

PARTS = (("The loan", ("loan", "rules")), ("Its margin: what happens at which LTV", ("ladder",)))
SUMS = {
    "fee": "Origination fee, kept back",
    "paid_out": "Paid out",
    "interest": "Interest in all",
    "total": "To be paid back in all",
}
WHOLE_LIFE = ("interest", "total")  # sums of what ends on a day that was agreed
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
    "taken over; its principal is what was left then."
)
_FIRST_YEAR = "It shows the first year, and goes on like that until either side ends the loan."
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
    for heading, parts in PARTS:
        found = [term for term in terms.TERMS if term.part in parts]
        story += [words(heading, HEAD), facts([(term.label, printed(term, drawn)) for term in found])]
    agreed = _acceptance(sheet) if drawn.origin is None else _agreed_outside(drawn)
    story += [Spacer(1, 1.5 * mm), words(_LTV, SMALL), *_collateral(drawn), *_schedule(drawn), *agreed]
    foot = (
        f"Loan {names['loan']} · term sheet version {sheet.version}",
        f"SHA-256 of its content {sheet.fingerprint}",
    )
    return frame.render(story, title=f"Term sheet, {names['client']}", foot=foot)


def printed(term: Term, drawn: term_sheets.Drawn) -> str:
    """Return how a term stands on the paper, exactly as it stands in the sheet."""
    value = terms.value_of(term, drawn.content)
    text = "" if value is None else _PRINT[term.unit](value, drawn.content["loan"]["asset"])
    return dict(term.names).get(text, text)


_PRINT: dict[Unit, Callable[[Any, str], str]] = {
    Unit.AMOUNT: figures.amount,
    Unit.USD: lambda value, _asset: figures.amount(value, "USD"),
    Unit.RATIO: lambda value, _asset: figures.percent(value),
    Unit.SPAN: lambda value, _asset: figures.span(value),
    Unit.COUNT: lambda value, _asset: str(value),
    Unit.DATE: lambda value, _asset: figures.day(value),
    Unit.INSTANT: lambda value, _asset: figures.instant(value),
    Unit.WORDS: lambda value, _asset: str(value),
}


def _collateral(drawn: term_sheets.Drawn) -> Iterator[Flowable]:
    yield words("Collateral expected", HEAD)
    rows = [
        (code, figures.amount(quantity, code) if quantity else "–", figures.percent(haircut))
        for code, (quantity, haircut) in drawn.collateral.items()
    ]
    if rows:
        yield table(("Asset", "Quantity", "Haircut"), rows, widths=(4, 4, 2), figures=2)
    else:
        yield words("None is named: any asset that the desk takes, up to the highest LTV when paid out.")


def _schedule(drawn: term_sheets.Drawn) -> Sequence[Flowable]:
    found, asset = drawn.content["schedule"], drawn.content["loan"]["asset"]
    start_at = datetime.fromisoformat(found["start_at"])
    goes_on = bool(Decimal(found["rows"][-1]["balance"]))
    names = [name for name in SUMS if not (goes_on and name in WHOLE_LIFE)]
    sums = [(SUMS[name], figures.amount(Decimal(found[name]), asset)) for name in names]
    rows = [[_in_row(name, row[name], asset) for name in COLUMNS] for row in found["rows"]]
    if drawn.origin is not None:  # it was paid out long ago
        sums = [row for row in sums if row[0] in (SUMS["interest"], SUMS["total"])]
    begins = "Schedule from" if drawn.origin is not None else "Schedule if paid out on"
    return [
        words(f"{begins} {figures.instant(start_at)}", HEAD),
        words(
            "Worked out from the terms above for that instant, if nothing is paid before it is due. "
            + (f"{_FIRST_YEAR} " if goes_on else "")
            + f"The table is in {asset}.",
            SMALL,
        ),
        facts(sums),
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
        ("Agreed outside, by", found["paper"]),
        ("SHA-256 of that paper", found["paper_sha256"]),
    ]
    return [words("Taken over", HEAD), facts(said), Spacer(1, 1.5 * mm), words(_OUTSIDE, SMALL)]


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
