"""The summary of a tax year on paper."""

from collections.abc import Iterator

from reportlab.platypus import Flowable

from lending.engine import figures
from lending.papers import frame
from lending.papers.frame import HEAD, SMALL, SUBTITLE, TITLE, table, words
from lending.tax_years import TaxYear


def render(year: TaxYear) -> bytes:
    """Return the PDF of a tax year: the same summary gives the same bytes."""
    foot = (f"SHA-256 of its CSV {year.fingerprint}", f"Rests on seal {year.basis.seq} {year.basis.hash}")
    return frame.render(tuple(_story(year)), title=f"Tax year, {year.client.name}", foot=foot)


def _story(year: TaxYear) -> Iterator[Flowable]:
    sealed_at = year.basis.sealed_at
    known = f"as known at {figures.instant(sealed_at)}" if sealed_at else "before any entry"
    yield words("Tax year summary", TITLE)
    yield words(year.client.name, SUBTITLE)
    yield words(f"{figures.day(year.from_date)} to {figures.day(year.to_date)}, whole days UTC, {known}.")
    yield words("Interest paid", HEAD)
    paid = [(figures.instant(row.at), row.of, row.what, figures.amount(row.amount, row.asset)) for row in year.paid]
    if paid:
        paid += [("In all", "", "", figures.amount(total, asset)) for asset, total in year.totals]
        yield table(("Paid at", "Of", "By", "Interest"), paid, widths=(4, 3, 3, 4), figures=1, closed=True)
    else:
        yield words("None.")
    if year.grown:
        yield words("Interest that became principal", HEAD)
        grown = [
            (figures.instant(row.at), row.of, row.what, figures.amount(row.amount, row.asset)) for row in year.grown
        ]
        grown += [("In all", "", "", figures.amount(total, asset)) for asset, total in year.grown_totals]
        yield table(
            ("Became principal at", "Of", "When", "Interest"), grown, widths=(4, 3, 3, 4), figures=1, closed=True
        )
        yield words(
            "It was not paid then: it is owed as principal since, and what is paid of it is not in the list above.",
            SMALL,
        )
    yield words("Collateral disposed of", HEAD)
    sold = [
        (
            figures.instant(row.at),
            figures.amount(row.quantity, row.asset),
            figures.amount(row.proceeds, row.cash),
            figures.amount(row.fee, row.cash),
        )
        for row in year.disposals
    ]
    if sold:
        head = ("Sold at", "Quantity", "Proceeds before the fee", "Liquidation fee")
        yield table(head, sold, widths=(4, 4, 4, 3), figures=3)
    else:
        yield words("None.")
    yield words(
        "Acquisition cost is not known to the desk, so no gain or loss is stated. This is no tax advice.", SMALL
    )
