"""
The term sheet is read back from its PDF, figure by figure, and held against what the engine runs by.

The reader here knows the words of the paper and how people write figures, and nothing of the code that printed it.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
import time_machine
from pypdf import PdfReader

from lending import approvals, benchmarks, interest, obligations, offers, schedules, term_sheets
from lending.models import LadderTerms, Loan, MarginAccount, Pledge, PledgeTerms, Product, TermSheet
from lending.papers import term_sheet
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory, LadderTermsFactory, ProductFactory

# Of a loan, what is no term: keys, whose it is, and what becomes of it. Everything else stands in its sheet.
NO_TERMS = {
    "id", "public_id", "client", "margin_account", "product", "book", "start_at", "state", "principal_outstanding",
    "interest_due", "fees_due", "interest_posted", "accrued_at", "ends_on", "default_at", "made_by",
    "accepted_by", "approved_by", "funded_by", "began_date", "interest_brought", "unused_posted",
    "next_reset_at",
}  # fmt: skip

WORDS = "words"
PAPER = {
    "Lent in": ("loan", "asset", WORDS),
    "Principal": ("loan", "principal", "amount"),
    "Interest a year": ("loan", "annual_rate", "percent"),
    "The rate follows": ("loan", "benchmark", WORDS),
    "Spread over that, a year": ("loan", "spread", "percent"),
    "Once it is reset, at least, a year": ("loan", "rate_floor", "percent"),
    "Once it is reset, at most, a year": ("loan", "rate_cap", "percent"),
    "Months from reset to reset": ("loan", "reset_months", "count"),
    "Business days from its fixing to a reset": ("loan", "fixing_lag_days", "count"),
    "Step-up, on top of every rate": ("loan", "step_up", "percent"),
    "Stepped up from 00:00 UTC of": ("loan", "step_up_date", "date"),
    "Day count": ("loan", "day_count", WORDS),
    "Interest rounds up at the decimal place": ("rule", "decimals", "count"),
    "Paid back": ("loan", "schedule_kind", WORDS),
    "Months in a period": ("loan", "frequency_months", "count"),
    "Money moves on": ("loan", "calendar", WORDS),
    "It runs for": ("loan", "tenor", WORDS),
    "Falls due at 00:00 UTC on": ("loan", "maturity_date", "date"),
    "Business days of notice, from the next on": ("loan", "notice_days", "count"),
    "In default if unpaid after it falls due for": ("rule", "default_after", "span"),
    "Business days of grace besides": ("loan", "grace_days", "count"),
    "Late fee, of interest or a part unpaid after its grace": ("loan", "late_fee", "percent"),
    "Interest a year in default": ("loan", "default_rate", "percent"),
    "Origination fee, of the principal": ("loan", "origination_fee", "percent"),
    "Fee a year, of what is not drawn": ("loan", "unused_fee", "percent"),
    "Principal paid before its time costs": ("loan", "prepayment", WORDS),
    "That share, or what a year earns elsewhere": ("loan", "prepayment_rate", "percent"),
    "Nothing, within so long before it is due": ("rule", "prepayment_notice", "span"),
    "Paid out to": ("loan", "payout_address", WORDS),
    "The offer ends at": ("loan", "quoted_until", "instant"),
    "The collateral secures": ("rule", "secures", WORDS),
    "The collateral is given as": ("pledge", "form", WORDS),
    "Its rank among creditors": ("pledge", "rank", "count"),
    "It is kept": ("pledge", "segregation", WORDS),
    "What forks and airdrops bring belongs to": ("pledge", "forks", WORDS),
    "The desk may lend it on or pledge it": ("rule", "reuse", WORDS),
    "Highest LTV when paid out": ("ladder", "initial_ltv", "percent"),
    "Warning above": ("ladder", "warning_ltv", "percent"),
    "Margin call above": ("ladder", "margin_call_ltv", "percent"),
    "Time to cure a call, from its receipt": ("ladder", "cure_period_s", "span"),
    "What cures a call brings LTV to": ("ladder", "cure_to", "percent"),
    "A first call for less waits": ("ladder", "minimum_transfer", "USD"),
    "A call asks for a multiple of": ("ladder", "call_rounding", "USD"),
    "A call ends early below": ("ladder", "clear_ltv", "percent"),
    "Once LTV has held below that for": ("ladder", "clear_hold_s", "span"),
    "A new breach reopens the call within": ("ladder", "reopen_window_s", "span"),
    "Accelerated above": ("ladder", "accelerated_ltv", "percent"),
    "Time left once accelerated, at most": ("ladder", "accelerated_cure_period_s", "span"),
    "Sale of collateral above": ("ladder", "liquidation_ltv", "percent"),
    "A sale brings LTV to": ("ladder", "liquidate_to", "percent"),
    "Liquidation fee, of a sale's proceeds": ("ladder", "liquidation_fee", "percent"),
    "A sale waits for nothing once LTV is past its level by": ("ladder", "gap_limit", "percent"),
    "Else it waits once for a cure's last confirmation, up to": ("ladder", "final_wait_s", "span"),
    "Collateral may go back below": ("ladder", "release_trigger", "percent"),
    "A release leaves LTV at, at most": ("ladder", "release_to", "percent"),
}
CALLED = {
    "form": {"security_interest": "a security interest: it stays the client's",
             "title_transfer": "a transfer of title: as much is owed back"},
    "segregation": {"clients": "with other clients' collateral", "alone": "in an account of its own",
                    "desk": "with what is the desk's own"},
    "forks": {"client": "the client", "desk": "the desk"},
    "benchmark": {"": "nothing: it is fixed"},
    "tenor": {"fixed": "a fixed term", "open": "an open term: until either side ends it",
              "revolving": "a revolving line: until either side ends it"},
    "payout_address": {"": "the client's free balance"},
    "schedule_kind": {
        "bullet": "all at once at maturity", "interest_only": "interest every period, principal at maturity",
        "equal_principal": "equal parts of the principal, and interest", "equal_instalment": "equal instalments",
        "capitalised": "at maturity; interest becomes principal",
    },
    "prepayment": {"": "nothing", "share": "a share of what is prepaid",
                   "interest": "interest lost, less what it earns elsewhere"},
    "calendar": {"": "every day", "XFED": "Fedwire's business days", "XECB": "TARGET's business days"},
}  # fmt: skip
NOTHING = {
    ("date", "the day its notice is over"): None, ("date", "no day"): None, ("count", "none"): 0,
    ("count", "never"): 0, ("percent", "zero"): 0, ("percent", "no cap"): 0, ("percent", "none"): 0,
}  # fmt: skip
SUMS = {
    "Origination fee at the start": "fee",
    "Paid out": "paid_out",
    "Interest in all": "interest",
    "To be paid back in all": "total",
}

ODD: dict[str, dict[str, Any]] = {
    "round figures": {"asset": "USD"},
    "cents, many decimals, every clock odd": {
        "asset": "USD",
        "principal": Decimal("1234567.89"),
        "annual_rate": Decimal("0.071300000001"),
        "default_rate": Decimal("0.2"),
        "fee": Decimal("0.001234567891"),
        "product": {"day_count": "ACT/ACT ISDA", "schedule_kind": "equal_instalment", "calendar": "XFED",
                    "pledge_terms_id": 2,
                    "grace_days": 3, "late_fee": Decimal("0.0512345"),
                    "prepayment": "interest", "prepayment_rate": Decimal("0.0312345")},
        "maturity_date": date(2024, 2, 29),
        "quoted_until": NOW + timedelta(hours=5, microseconds=7),
        "payout_address": "wire:" + "GB29-NWBK-6016-1331-9268-19/" * 4,
        "collateral": {"BTC": Decimal("30.00000001"), "ETH": Decimal("1.000000000000000001"), "LINK": Decimal(0)},
        "ladder": {
            "initial_ltv": Decimal("0.512345678901"), "warning_ltv": Decimal("0.6100001"),
            "gap_limit": Decimal("0.0275"),
            "cure_period_s": 86_399, "accelerated_cure_period_s": 3_661, "clear_hold_s": 0, "reopen_window_s": 90_061,
            "final_wait_s": 61, "minimum_transfer": Decimal("2500.01"), "call_rounding": Decimal("0.5"),
            "liquidation_fee": Decimal("0.000000000001"),
        },
    },
    "a coin with six decimals, for a day": {
        "asset": "USDC",
        "principal": Decimal("0.000001"),
        "annual_rate": Decimal(0),
        "default_rate": Decimal(0),
        "product": {"day_count": "30E/360"},
        "maturity_date": NOW.date() + timedelta(days=1),
    },
    "equal parts": {
        "asset": "USD",
        "principal": Decimal("1000.01"),
        "product": {"day_count": "ACT/365F", "schedule_kind": "equal_principal", "prepayment": "share",
                    "prepayment_rate": Decimal("0.000000000001")},
        "maturity_date": date(2021, 9, 19),
    },
    "until either side ends it": {
        "asset": "USD",
        "product": {"tenor": "open", "notice_days": 5, "schedule_kind": "interest_only", "frequency_months": 3,
                    "calendar": "XECB", "grace_days": 2},
        "maturity_date": None,
    },
    "a line, drawn and repaid until either side ends it": {
        "asset": "USDC",
        "product": {"tenor": "revolving", "notice_days": 10, "schedule_kind": "interest_only",
                    "unused_fee": Decimal("0.0051"), "late_fee": Decimal("0.05")},
        "maturity_date": None,
    },
    "a rate that follows a benchmark, and steps up": {
        "asset": "USDC",
        "annual_rate": None,
        "spread": Decimal("0.021"),
        "step_up": Decimal("0.000000000001"),
        "step_up_date": date(2021, 8, 1),
        "product": {"schedule_kind": "interest_only", "benchmark": "SOFR", "spread": Decimal("0.5"),
                    "rate_floor": Decimal("0.01"), "rate_cap": Decimal("0.123456789012"), "reset_months": 3,
                    "fixing_lag_days": 2, "calendar": "XFED"},
    },
    "interest that becomes principal": {
        "asset": "USD",
        "annual_rate": Decimal("0.0875"),
        "product": {"schedule_kind": "capitalised", "frequency_months": 3, "calendar": "XFED"},
        "maturity_date": date(2022, 5, 19),
    },
    "bitcoin over years": {
        "asset": "BTC",
        "principal": Decimal("12345678.12345678"),
        "annual_rate": Decimal("0.999999999999"),
        "default_rate": Decimal("0.999999999999"),
        "product": {"day_count": "30/360", "schedule_kind": "interest_only", "frequency_months": 3, "calendar": "XECB"},
        "maturity_date": date(2024, 5, 31),
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _at_noon() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=1), tick=False):
        yield


def offer(
    cast: Cast, *, asset: str, fee: Decimal = Decimal(0), product: dict[str, Any] | None = None,
    ladder: dict[str, Any] | None = None, **terms: Any,
) -> Loan:  # fmt: skip
    if (product or {}).get("benchmark"):
        fixed(cast, "0.0531")
    sold: Product = ProductFactory(
        code="odd", asset=AssetFactory(code=asset), origination_fee=fee, terms=LadderTermsFactory(**(ladder or {})),
        **(product or {}),
    )  # fmt: skip
    usual = {
        "principal": Decimal(600_000), "annual_rate": Decimal("0.10"), "maturity_date": date(2021, 11, 19),
        "quoted_until": NOW + timedelta(days=1),
    }  # fmt: skip
    given = {**usual, **terms}
    return offers.quote(client=cast.harbourside, product=sold, made_by=cast.robin, now=NOW, **given)


def fixed(cast: Cast, rate: str) -> None:
    """Have two persons record what a benchmark was fixed at, two days before the offer."""
    table = f"date,rate\n{NOW.date() - timedelta(days=2)},{rate}"
    asked = benchmarks.ask("SOFR", "Overnight rate", table, reason="its publisher", maker=cast.olga, now=NOW)
    approvals.decide(asked, checker=cast.rhea, approve=True, now=NOW)


@pytest.fixture(params=ODD, ids=str)
def loan(request: pytest.FixtureRequest, cast: Cast) -> Loan:
    return offer(cast, **ODD[request.param])


# --- how a person reads the paper -----------------------------------------------------------------------------------


def lines(paper: bytes) -> list[str]:
    return [line.strip() for page in PdfReader(BytesIO(paper)).pages for line in page.extract_text().splitlines()]


def read(paper: bytes) -> dict[str, str]:
    """Return what stands beside each label; a label that stands twice, or not at all, is a failure."""
    found = lines(paper)
    labels = [*PAPER, *SUMS]
    if "until either side ends it" in " ".join(found):
        labels = [label for label in labels if SUMS.get(label) not in ("interest", "total")]
    assert [label for label in labels if found.count(label) != 1] == []
    stops = {*labels, "Its margin: what happens at which LTV", "Worked out"}
    figures = {}
    for label in labels:
        value = []
        for line in found[found.index(label) + 1 :]:
            if (
                line in stops
                or line == "Due"
                or line.startswith(
                    (
                        "LTV is the debt",
                        "In default all",
                        "What principal costs",
                        "The interest a year stands",
                        "The late fee is",
                        "Loan ",
                        "Once signed it has",
                        "Plimsoll",
                    )
                )
            ):
                break
            value.append(line)
        figures[label] = "".join(value)
    return figures


def figure(text: str, kind: str, asset: str) -> Any:
    """Return the value that a person would take a figure for."""
    if (kind, text) in NOTHING:
        return NOTHING[kind, text]
    if kind in ("amount", "USD"):
        number, code = text.split()
        assert code == (asset if kind == "amount" else "USD")
        return Decimal(number.replace(",", ""))
    if kind == "percent":
        assert text.endswith(" %")
        return Decimal(text.removesuffix(" %")) / 100
    if kind == "span":
        sizes = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
        return sum(int(count) * sizes[name] for count, name in re.findall(r"(\d+) (d|h|min|s)\b", text))
    if kind == "date":
        return datetime.strptime(text, "%d %b %Y").replace(tzinfo=UTC).date()
    if kind == "instant":
        whole, _, part = text.removesuffix(" UTC").partition(".")
        at = datetime.strptime(whole, "%d %b %Y %H:%M:%S").replace(tzinfo=UTC)
        return at + timedelta(microseconds=int(part.ljust(6, "0")))
    return int(text) if kind == "count" else text


# --- the proof ------------------------------------------------------------------------------------------------------


def test_what_was_printed_is_what_runs(loan: Loan) -> None:
    paper = term_sheet.render(term_sheets.versions(loan).get())
    printed = read(paper)
    loan = Loan.objects.select_related("margin_account__terms", "asset").get(pk=loan.pk)
    rules = {
        "decimals": loan.asset.decimals,
        "default_after": interest.DEFAULT_AFTER.total_seconds(),
        "prepayment_notice": obligations.NOTICE.total_seconds(),
        "secures": "this loan alone",
        "reuse": "never",
    }
    assert interest.default_at(loan) == obligations.agreed_default(loan)
    assert loan.margin_account.kind == MarginAccount.Kind.RING_FENCED
    for label, (where, name, kind) in PAPER.items():
        account = loan.margin_account
        runs_by: Any = {"loan": loan, "ladder": account.terms, "pledge": account.pledge_terms}.get(where, rules)
        runs_by = rules[name] if where == "rule" else getattr(runs_by, name)
        runs_by = CALLED.get(name, {}).get(runs_by, runs_by)
        assert figure(printed[label], kind, loan.asset.code) == (str(runs_by) if kind == WORDS else runs_by), label


def test_the_printed_schedule_is_the_one_that_runs_if_it_is_funded_then(loan: Loan) -> None:
    paper = term_sheet.render(term_sheets.versions(loan).get())
    printed, asset = read(paper), loan.asset.code
    loan.start_at = NOW
    runs_by = schedules.of_loan(loan, now=NOW + timedelta(days=9))
    for label, name in SUMS.items() if loan.has_fixed_end else ():
        assert figure(printed[label], "amount", asset) == getattr(runs_by, name), label
    text = "\n".join(line for line in lines(paper) if not line.startswith(("Loan ", "SHA", "Page", "Plimsoll")))
    row = r"^(\d\d \w{3} \d{4})\n(\d\d \w{3} \d{4})\n([\d,.]+|–)\n([\d,.]+|–)\n([\d,.]+|–)$"
    found = [
        (*(figure(day, "date", asset) for day in days), *map(plain, amounts))
        for *days, amounts in ((due, paid, rest) for due, paid, *rest in re.findall(row, text, re.MULTILINE))
    ]
    assert found == [tuple(asdict(row).values()) for row in runs_by.rows]


def plain(text: str) -> Decimal:
    return Decimal(0) if text == "–" else Decimal(text.replace(",", ""))


def test_the_expected_collateral_and_its_haircut_are_what_a_pledge_gets(cast: Cast) -> None:
    loan = offer(cast, **ODD["cents, many decimals, every clock odd"])
    found = lines(term_sheet.render(term_sheets.versions(loan).get()))
    at = found.index("BTC")
    assert found[at : at + 6] == ["BTC", "30.00000001 BTC", "0 %", "ETH", "1.000000000000000001 ETH", "0 %"]
    assert "LINK" not in found
    running = stories.running(cast)
    assert Pledge.objects.get(margin_account=running.margin_account).haircut == 0


def test_every_column_that_the_engine_runs_by_is_printed() -> None:
    """A column added to a loan or a ladder stands on the paper, or is named above as none of its terms."""
    printed = {(where, name) for where, name, _ in PAPER.values()}
    columns = {field.name for field in Loan._meta.concrete_fields} - NO_TERMS
    assert {name for where, name in printed if where == "loan"} == columns
    ladder = {field.name for field in LadderTerms._meta.concrete_fields} - {"id", "name", "is_preset"}
    assert {name for where, name in printed if where == "ladder"} == ladder
    pledge = {field.name for field in PledgeTerms._meta.concrete_fields} - {"id", "name"}
    assert {name for where, name in printed if where == "pledge"} == pledge


def test_the_same_content_is_the_same_paper(loan: Loan) -> None:
    sheet = term_sheets.versions(loan).get()
    first = term_sheet.render(sheet)
    assert term_sheet.render(TermSheet.objects.get(pk=sheet.pk)) == first
    pages = [page.extract_text() for page in PdfReader(BytesIO(first)).pages]
    for number, page in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in page
        assert f"SHA-256 of its content {sheet.fingerprint}" in page
        assert f"Loan {loan.public_id} · term sheet version 1" in page
    used = [
        font.get_object() for page in PdfReader(BytesIO(first)).pages for font in page["/Resources"]["/Font"].values()
    ]
    fonts = {str(font["/BaseFont"]) for font in used if font["/Subtype"] == "/TrueType"}
    assert fonts == {"/AAAAAA+BitstreamVeraSans-Roman", "/AAAAAA+BitstreamVeraSans-Bold"}


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"annual_rate": Decimal("0.0713000000001")}, "annual_rate is a figure of at most 12 decimals"),
        ({"default_rate": Decimal("0.2000000000001")}, "default_rate is a figure of at most 12 decimals"),
    ],
)
def test_a_figure_finer_than_the_books_is_no_offer(cast: Cast, terms: dict[str, Any], says: str) -> None:
    """It would be printed as it was typed, and run by rounded."""
    with pytest.raises(offers.UnableToQuote, match=says):
        offer(cast, asset="USD", **terms)
    assert not Loan.objects.exists()
