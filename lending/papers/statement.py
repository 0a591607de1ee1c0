"""A statement of account on paper: the same statement gives the same bytes."""

from collections.abc import Iterator

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Spacer

from lending.engine import figures
from lending.papers import frame
from lending.papers.frame import HEAD, SMALL, SUBTITLE, TITLE, table, words
from lending.statements import Section, Statement


def render(statement: Statement) -> bytes:
    """Return the PDF of a statement, with its client, period, basis and fingerprint."""
    foot = (
        f"SHA-256 of its CSV {statement.fingerprint}",
        f"Rests on seal {statement.basis.seq} {statement.basis.hash}",
    )
    return frame.render(tuple(_story(statement)), title=f"Statement of account, {statement.client.name}", foot=foot)


def _story(statement: Statement) -> Iterator[Flowable]:
    sealed_at = statement.basis.sealed_at
    known = f"as known at {figures.instant(sealed_at)}, seal {statement.basis.seq}" if sealed_at else "before any entry"
    yield words("Statement of account", TITLE)
    yield words(statement.client.name, SUBTITLE)
    yield words(f"{figures.day(statement.from_date)} to {figures.day(statement.to_date)}, whole days UTC, {known}.")
    yield Spacer(1, 2 * mm)
    yield from _held(statement)
    yield from _earned(statement)
    for section in statement.sections:
        yield words(f"{section.label}, {section.asset}" + (f", {section.of}" if section.of else ""), HEAD)
        yield _section(section)
    if not statement.sections:
        yield words("Nothing stood on any account, and nothing changed.")


def _held(statement: Statement) -> Iterator[Flowable]:
    if not statement.held:
        return
    rows = [
        (
            row.asset,
            row.of,
            figures.bare(row.quantity, row.asset),
            figures.amount(row.price, "USD") if row.price is not None else "no mark",
            f"{row.quality}, {figures.span(row.age_s)} old" if row.age_s is not None else "–",
            figures.amount(row.value, "USD") if row.value is not None else "–",
        )
        for row in statement.held
    ]
    yield words(f"Collateral held at {figures.instant(statement.valued_at)}", HEAD)
    yield table(
        ("Asset", "Secures", "Quantity", "Mark", "Its quality and age", "Value"),
        rows, widths=(6, 18, 15, 24, 18, 19), figures=4,
    )  # fmt: skip


def _earned(statement: Statement) -> Iterator[Flowable]:
    if not statement.earned:
        return
    rows = [
        (
            row.of,
            row.day_count,
            str(row.days),
            figures.amount(row.interest, row.asset),
            figures.amount(row.grown, row.asset) if row.grown else "–",
        )
        for row in statement.earned
    ]
    yield words("Interest earned by the desk in the period", HEAD)
    head = ("Of", "Day count", "Days booked", "Interest", "Became principal")
    yield table(head, rows, widths=(3, 3, 2, 3, 3), figures=3)
    yield words("At the rates of the loan's term sheet, day by day, linear in seconds inside a day.", SMALL)


def _section(section: Section) -> Flowable:
    rows = [("", "", "Opening balance", "", figures.bare(section.opening, section.asset))]
    rows += [
        (
            figures.instant(row.effective_at.replace(microsecond=0)),
            figures.instant(row.recorded_at.replace(microsecond=0)),
            row.what,
            figures.bare(row.change, section.asset),
            figures.bare(row.balance, section.asset),
        )
        for row in section.rows
    ]
    rows.append(("", "", "Closing balance", "", figures.bare(section.closing, section.asset)))
    head = ("Counts from", "Booked", "What", "Change", "Balance")
    return table(head, rows, widths=(36, 36, 34, 34, 34), figures=2, closed=True)
