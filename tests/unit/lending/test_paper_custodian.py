"""The paper custodian on its own: confirmations by platform time, ids that count once, answers that get lost."""

import contextlib
import datetime as dt
from decimal import Decimal

import pytest

from lending.adapters.paper_custodian import SLOW_S, PaperCustodian
from lending.adapters.paper_records import BLOCK_S, Record, UnableToRecord
from lending.ports import CustodianRefused, CustodianUnavailable

AT = dt.datetime(2021, 5, 19, 8, 0, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
SEED = 7


@pytest.fixture
def paper() -> PaperCustodian:
    """Return a custodian that holds 10 BTC and 1,000,000 USD of the desk's."""
    custodian = PaperCustodian(SEED)
    custodian.simulate_opening("o1", asset="BTC", quantity=Decimal(10), at=AT)
    custodian.simulate_opening("o2", asset="USD", quantity=Decimal(1_000_000), at=AT)
    return custodian


def send(custodian: PaperCustodian, client_id: str, quantity: str = "1", *, at: dt.datetime = AT) -> bool:
    """Ask for a transfer out and return whether the answer came back."""
    try:
        custodian.withdraw(client_id, asset="BTC", quantity=Decimal(quantity), destination="bc1", at=at)
    except CustodianUnavailable:
        return False
    return True


def test_addresses_belong_to_their_reference_asset_and_seed(paper: PaperCustodian) -> None:
    address = paper.deposit_address("m1:collateral", "BTC")
    assert address == PaperCustodian(SEED).deposit_address("m1:collateral", "BTC")
    others = {
        paper.deposit_address("m2:collateral", "BTC"),
        paper.deposit_address("m1:collateral", "ETH"),
        PaperCustodian(8).deposit_address("m1:collateral", "BTC"),
    }
    assert len(others) == 3
    assert address not in others


def test_a_deposit_gains_confirmations_with_platform_time(paper: PaperCustodian) -> None:
    paper.simulate_deposit("d1", address="a1", asset="BTC", quantity=Decimal(2), at=AT)
    block = dt.timedelta(seconds=BLOCK_S["BTC"])
    seen = [paper.deposits(after=2, refs=[], needed={"BTC": 3}, at=AT + n * block)[0].confirmations for n in range(4)]
    assert seen == [0, 1, 2, 3]
    assert paper.balances(at=AT)["BTC"] == 10
    assert paper.balances(at=AT + block)["BTC"] == 12
    assert paper.balances(at=AT)["BTC"] == 10  # asked about the past again


def test_deposits_are_read_from_a_position_and_never_out_of_order(paper: PaperCustodian) -> None:
    paper.simulate_deposit("late", address="a1", asset="BTC", quantity=Decimal(1), at=AT + MINUTE)
    paper.simulate_deposit("early", address="a1", asset="BTC", quantity=Decimal(1), at=AT)
    # "early" stands behind "late" in the list, so it is not shown before it.
    assert [report.ref for report in paper.deposits(after=2, refs=[], needed={"BTC": 3}, at=AT)] == []
    assert [report.ref for report in paper.deposits(after=2, refs=[], needed={"BTC": 3}, at=AT + MINUTE)] == [
        "late",
        "early",
    ]
    again = paper.deposits(after=4, refs=["late", "unknown"], needed={"BTC": 3}, at=AT + MINUTE)
    assert [(report.ref, report.position) for report in again] == [("late", 3)]


def test_a_reorg_takes_a_deposit_back(paper: PaperCustodian) -> None:
    paper.simulate_deposit("d1", address="a1", asset="BTC", quantity=Decimal(2), at=AT)
    hour = AT + 60 * MINUTE
    assert paper.balances(at=hour)["BTC"] == 12
    paper.simulate_reorg("d1", at=hour)
    assert paper.balances(at=hour)["BTC"] == 10
    assert paper.deposits(after=3, refs=["d1"], needed={"BTC": 3}, at=hour)[0].reorged


def test_an_id_counts_once_and_other_content_is_refused(paper: PaperCustodian) -> None:
    ids = [f"w{n}" for n in range(5)]
    for client_id in ids * 3:
        send(paper, client_id)
    assert paper.balances(at=AT + dt.timedelta(seconds=SLOW_S))["BTC"] == 5
    with pytest.raises(CustodianRefused, match="the id w0 was used for another transfer"):
        send(paper, "w0", "2")


def test_some_answers_are_lost_after_the_request_was_accepted(paper: PaperCustodian) -> None:
    answered = {client_id: send(paper, client_id, "0.001") for client_id in map(str, range(400))}
    lost = [client_id for client_id, came in answered.items() if not came]
    assert 5 <= len(lost) <= 40
    report = paper.withdrawal(lost[0], at=AT + dt.timedelta(seconds=SLOW_S))
    assert report is not None
    assert report.executed_at is not None
    assert paper.withdrawal("never-sent", at=AT) is None


def test_some_transfers_are_slow(paper: PaperCustodian) -> None:
    ids = list(map(str, range(400)))
    for client_id in ids:
        send(paper, client_id, "0.001")
    at_once = [report for report in (paper.withdrawal(i, at=AT) for i in ids) if report and report.executed_at]
    assert 330 <= len(at_once) < 400
    later = AT + dt.timedelta(seconds=SLOW_S)
    assert all(report and report.executed_at for report in (paper.withdrawal(i, at=later) for i in ids))


def test_no_more_goes_out_than_is_held(paper: PaperCustodian) -> None:
    with pytest.raises(CustodianRefused, match=r"10 BTC are held, not 10.5"):
        send(paper, "w1", "10.5")
    report = paper.withdrawal("w1", at=AT)
    assert report is not None
    assert "are held" in report.refused


def test_a_settlement_moves_both_sides_or_neither(paper: PaperCustodian) -> None:
    def settle(client_id: str, quantity: str) -> None:
        with contextlib.suppress(CustodianUnavailable):
            paper.settle(
                client_id,
                deliver_asset="BTC",
                deliver_quantity=Decimal(quantity),
                receive_asset="USD",
                receive_quantity=Decimal(100_000),
                counterparty="harbour",
                at=AT,
            )

    settle("s1", "3")
    settle("s1", "3")
    assert paper.balances(at=AT) == {"BTC": 7, "USD": 1_100_000}
    with pytest.raises(CustodianRefused, match="7 BTC are held, not 8"):
        settle("s2", "8")
    assert paper.balances(at=AT) == {"BTC": 7, "USD": 1_100_000}


@pytest.mark.parametrize("quantity", ["0", "-1", "NaN", "Infinity"])
def test_amounts_that_are_none_are_refused(paper: PaperCustodian, quantity: str) -> None:
    with pytest.raises(UnableToRecord, match="is not an amount above zero"):
        paper.simulate_deposit("d1", address="a1", asset="BTC", quantity=Decimal(quantity), at=AT)
    with pytest.raises(UnableToRecord, match="is not an amount above zero"):
        send(paper, "w1", quantity)


def test_a_ref_names_one_deposit(paper: PaperCustodian) -> None:
    for _ in range(2):
        paper.simulate_deposit("d1", address="a1", asset="BTC", quantity=Decimal(2), at=AT)
    with pytest.raises(UnableToRecord, match="the ref d1 was used for another deposit"):
        paper.simulate_deposit("d1", address="a1", asset="BTC", quantity=Decimal(3), at=AT)
    with pytest.raises(UnableToRecord, match="no deposit has the ref d2"):
        paper.simulate_reorg("d2", at=AT)


def test_the_journal_brings_everything_back() -> None:
    records: list[Record] = []
    first = PaperCustodian(SEED, journal=records.append)
    first.simulate_opening("o1", asset="BTC", quantity=Decimal(10), at=AT)
    first.simulate_deposit("d1", address="a1", asset="ETH", quantity=Decimal("1.5"), at=AT)
    for client_id in map(str, range(50)):
        send(first, client_id, "0.01")
    first.simulate_reorg("d1", at=AT + 60 * MINUTE)

    second = PaperCustodian(SEED)
    for record in records:
        second.replay(record)
    for minutes in (0, 1, 30, 60, 90):
        at = AT + minutes * MINUTE
        assert second.balances(at=at) == first.balances(at=at)
        assert second.deposits(after=0, refs=[], needed={"BTC": 3}, at=at) == first.deposits(
            after=0, refs=[], needed={"BTC": 3}, at=at
        )
        assert second.withdrawal("7", at=at) == first.withdrawal("7", at=at)
