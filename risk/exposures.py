"""What a margin account owes and holds, exactly, and what its marks allow to be said about it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import prefetch_related_objects

from lending import interest, margin_accounts
from lending.engine import money
from lending.interest import Debt
from lending.models import LadderTerms, Loan, MarginAccount, Pledge
from risk.engine.kernel import UNKNOWN_RUNG
from risk.engine.ladder import Ladder, state_of
from risk.engine.ltv import Exposure, Owed, Pledged, Position, bounded_exposure
from risk.models import MarginState, Quality
from risk.prices import Marks

_QUALITY_ORDER = (Quality.GOOD, Quality.DEGRADED, Quality.STALE, Quality.HALTED)


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """One margin account as it stands at an instant: its terms, its pledges and what each loan would cost to pay."""

    account: MarginAccount
    ladder: Ladder
    pledges: tuple[Pledge, ...]
    debts: tuple[Debt, ...]
    position: Position

    @property
    def loans(self) -> tuple[Loan, ...]:
        """Return the loans that owe something."""
        return tuple(loan for loan, _payoff in self.debts)

    @property
    def terms(self) -> LadderTerms:
        """Return the ladder terms as they were signed."""
        return self.account.terms

    @property
    def held(self) -> bool:
        """Return whether a part of the collateral is ordered for sale and not yet settled."""
        return any(pledge.held_quantity for pledge in self.pledges)


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    Where an account stands at some marks.

    `exposed` is exact; while a mark is not usable it is the best end of the bounds, which nobody can dispute. `rung`
    counts the levels of `watched_levels` that it exceeds, UNKNOWN_RUNG when the bounds disagree. `quality` is the
    worst of the marks that matter, `in_grace` whether one of them is, or has just been, in an outage.
    """

    state: MarginState
    exposed: Exposure
    rung: int
    quality: Quality
    bounded: bool
    in_grace: bool

    @property
    def good(self) -> bool:
        """Return whether everything that the account holds and owes has a GOOD mark."""
        return self.quality == Quality.GOOD


def load(account_ids: Iterable[int], *, now: datetime) -> dict[int, AccountFacts]:
    """Return the facts of some margin accounts by their keys, in a constant number of queries."""
    accounts = MarginAccount.objects.filter(pk__in=set(account_ids)).select_related("terms", "client")
    return of_accounts(list(accounts.order_by("pk")), now=now)


def load_locked(account_ids: Iterable[int], *, now: datetime) -> dict[int, AccountFacts]:
    """Return the facts of some margin accounts whose rows are locked until the transaction ends, in key order."""
    return of_accounts(margin_accounts.lock_many(account_ids), now=now)


def of_accounts(
    accounts: list[MarginAccount], *, now: datetime, debts: Iterable[Debt] | None = None
) -> dict[int, AccountFacts]:
    """
    Return the facts of margin accounts that were just read, by their keys, in a constant number of queries.

    `debts` are all that the accounts owe, where it was just read too.
    """
    if not accounts:
        return {}
    prefetch_related_objects(accounts, "terms", "client")
    keys = [account.pk for account in accounts]
    pledges: defaultdict[int, list[Pledge]] = defaultdict(list)
    for pledge in Pledge.objects.filter(margin_account__in=keys).select_related("asset").order_by("asset__code"):
        pledges[pledge.margin_account_id].append(pledge)
    owed: defaultdict[int, list[Debt]] = defaultdict(list)
    if debts is None:
        debts = interest.owing(Loan.objects.filter(margin_account__in=keys), now=now)
    for debt in debts:
        owed[debt[0].margin_account_id].append(debt)
    ladders = {account.terms_id: ladder_of(account.terms) for account in accounts}
    return {
        account.pk: AccountFacts(
            account=account,
            ladder=ladders[account.terms_id],
            pledges=tuple(pledges[account.pk]),
            debts=tuple(owed[account.pk]),
            position=_position(pledges[account.pk], [(loan, payoff.total) for loan, payoff in owed[account.pk]]),
        )
        for account in accounts
    }


def _position(pledges: list[Pledge], owed: list[tuple[Loan, Decimal]]) -> Position:
    """Return pledges, those held for a sale included until they are sold, and payoff amounts."""
    held = []
    for pledge in pledges:
        with money.exact():
            held.append(Pledged(pledge.asset.code, pledge.quantity + pledge.held_quantity, 1 - pledge.haircut))
    return Position(tuple(held), tuple(Owed(loan.asset.code, amount) for loan, amount in owed))


def ladder_of(terms: LadderTerms) -> Ladder:
    """Return signed terms as the engine reads them."""
    return Ladder(
        initial_ltv=terms.initial_ltv,
        warning_ltv=(terms.warning_ltv,),
        margin_call_ltv=terms.margin_call_ltv,
        accelerated_ltv=terms.accelerated_ltv,
        liquidation_ltv=terms.liquidation_ltv,
        cure_to=terms.cure_to,
        liquidate_to=terms.liquidate_to,
        clear_ltv=terms.clear_ltv,
        release_trigger=terms.release_trigger,
        release_to=terms.release_to,
    )


def owed_usd(facts: AccountFacts, loans: Iterable[Loan], marks: Marks) -> Decimal:
    """Return what pays some loans of an account off, in USD; at the low end of an unusable mark's bounds."""
    keys = {loan.pk for loan in loans}
    owed = tuple(Owed(loan.asset.code, payoff.total) for loan, payoff in facts.debts if loan.pk in keys)
    _worst, best = bounded_exposure(Position((), owed), {item.asset: marks.band(item.asset) for item in owed})
    return best.debt


def watched_levels(ladder: Ladder) -> tuple[Decimal, ...]:
    """Return every LTV at which something may happen to an account, in rising order: its rungs and clear_ltv."""
    return tuple(sorted([ladder.clear_ltv, *(level for level, _state in ladder.rungs)]))


def judge(facts: AccountFacts, marks: Marks) -> Judgement:
    """
    Return where an account stands, by bounds wherever a mark is not usable.

    If the worst and the best end of the bounds give the same margin state, that state stands; if not it is UNKNOWN.
    An unusable mark neither clears nor sells, and a dust holding of an unpriced asset shields nobody.
    """
    assets = sorted(facts.position.assets)
    worst, best = bounded_exposure(facts.position, {code: marks.band(code) for code in assets})
    state, best_state = state_of(worst, facts.ladder), state_of(best, facts.ladder)
    levels = watched_levels(facts.ladder)
    rungs = {sum(1 for level in levels if end.exceeds(level)) for end in (worst, best)}
    quality = max((Quality(marks.quality(code)) for code in assets), key=_QUALITY_ORDER.index, default=Quality.GOOD)
    return Judgement(
        state=MarginState(state.value) if state == best_state else MarginState.UNKNOWN,
        exposed=best,
        rung=rungs.pop() if len(rungs) == 1 else UNKNOWN_RUNG,
        quality=quality,
        bounded=any(not marks.band(code).certain for code in assets),
        in_grace=any(marks.in_grace(code) for code in assets),
    )
