"""
A slow, independent checker of every sale: raw ticks, postings, deliveries and the signed ladder, by plain SQL.

It shares no code with the platform. A sale is wrongful when none of the reasons in the contract can be found again in
the raw facts. `BLUR` is the widest difference between a plain median and the capped index (the clamp, both ways), so a
sale at the very edge of a level is not held against the platform; everything else is exact.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.independent import defaults
from tests.independent.clocks import RawStops
from tests.independent.ticks import RawPrices

BLUR = Decimal("0.01")
WIDEST_COST = Decimal("0.08")
SECOND = timedelta(seconds=1)

_ORDERS = """
SELECT o.id, o.margin_account_id, a.code,
       1 + o.slice - (SELECT min(x.slice) FROM risk_liquidationorder x WHERE x.cause_id = c.id),
       o.quantity, o.ordered_at, c.kind, c.call_id, c.episode, c.declared_at
FROM risk_liquidationorder o JOIN risk_salecause c ON c.id = o.cause_id JOIN lending_asset a ON a.id = o.asset_id
WHERE o.filled_quantity > 0
ORDER BY o.id
"""
_ACCOUNTS = """
SELECT m.id, t.margin_call_ltv, t.accelerated_ltv, t.liquidation_ltv, t.liquidate_to, t.clear_ltv, t.gap_limit,
       t.cure_period_s, t.accelerated_cure_period_s
FROM lending_marginaccount m JOIN lending_ladderterms t ON t.id = m.terms_id
"""
_FLOWS = """
SELECT l.margin_account_id, l.kind, a.code, e.effective_at, p.amount
FROM lending_posting p JOIN lending_entry e ON e.id = p.entry_id JOIN lending_asset a ON a.id = p.asset_id
JOIN (SELECT x.id, x.kind, coalesce(x.margin_account_id, n.margin_account_id) AS margin_account_id
      FROM lending_ledgeraccount x LEFT JOIN lending_loan n ON n.id = x.loan_id) l ON l.id = p.account_id
WHERE l.kind IN ('loan_principal', 'interest_receivable', 'fees_receivable', 'client_pledged', 'collateral_to_return',
                 'liquidation_hold')
ORDER BY e.effective_at, p.id
"""
_CALLS = """
SELECT c.id, c.issued_at, c.cash_cure, c.paused_s, c.remaining_s, c.cure_period_s,
       (SELECT max(first) FROM (SELECT min(d.delivered_at) AS first FROM lending_noticedelivery d
          JOIN lending_notice n ON n.id = d.notice_id
          WHERE n.margin_account_id = c.margin_account_id AND n.created_at >= c.issued_at - interval '1 second'
            AND n.kind LIKE '%%call%%' AND n.created_at <= c.issued_at + interval '1 second'
          GROUP BY d.channel) channels),
       (SELECT count(DISTINCT d.channel) FROM lending_noticedelivery d JOIN lending_notice n ON n.id = d.notice_id
          WHERE n.margin_account_id = c.margin_account_id AND d.delivered_at IS NOT NULL
            AND n.created_at BETWEEN c.issued_at - interval '1 second' AND c.issued_at + interval '1 second')
FROM risk_margincall c
"""
_PAID = """
SELECT n.margin_account_id, coalesce(r.arrived_at, r.received_at), r.amount - r.surplus - r.make_whole
FROM lending_repayment r JOIN lending_loan n ON n.id = r.loan_id
WHERE r.kind = 'cash'
"""
_TOPPED_UP = """
SELECT m.margin_account_id, m.effective_at, a.code, m.quantity FROM lending_pledgemovement m
JOIN lending_asset a ON a.id = m.asset_id WHERE m.kind = 'top_up'
"""
_COLLATERAL_CURES = """
SELECT x.call_id, a.code, x.quantity FROM risk_collateralcure x JOIN lending_asset a ON a.id = x.asset_id
"""

# What two persons agreed to before it was used; the same person twice is one person.
_AGREED = """
SELECT m.id, (v.payload ->> 'episode')::int, v.kind, v.decided_at, v.expires_at
FROM lending_approval v JOIN lending_marginaccount m ON m.public_id::text = v.payload ->> 'margin_account'
WHERE v.state = 'executed' AND v.maker_id <> v.checker_id AND v.decided_at IS NOT NULL
"""
_TRADES = """
SELECT p.order_id, q.accepted_at, a.code,
       (SELECT count(*) FROM otc_quote x WHERE x.rfq_id = q.rfq_id AND x.price IS NOT NULL)
FROM otc_commitment c
JOIN otc_quote q ON q.id = c.quote_id
JOIN otc_blockorder p ON p.id = c.part_id
JOIN otc_rfq r ON r.id = q.rfq_id
JOIN otc_block b ON b.id = r.block_id
JOIN lending_asset a ON a.id = b.asset_id
WHERE c.filled_quantity > 0
ORDER BY c.id
"""

# What lacked its last confirmation, and was screened, from when to when; what was dropped by its network never counts.
# What counted before that by a policy, as far as it did, until it ended, its time was over, or it counted in full.
_COMING = """
SELECT d.margin_account_id, a.code, x.quantity, d.purpose, x.final_since, x.credited_at
FROM lending_deposit x JOIN lending_depositaddress d ON d.id = x.address_id JOIN lending_asset a ON a.id = x.asset_id
WHERE x.final_since IS NOT NULL AND x.screened AND x.state <> 'reorged'
UNION ALL SELECT d.margin_account_id, a.code, k.quantity, d.purpose, k.begun_at,
       least(k.ended_at, k.until_at, x.final_since) FROM risk_conditionalcredit k
JOIN lending_deposit x ON x.id = k.deposit_id JOIN lending_depositaddress d ON d.id = x.address_id
JOIN lending_asset a ON a.id = x.asset_id
"""
_WAITS = """
SELECT c.margin_account_id, c.episode, e.happened_at, t.final_wait_s
FROM risk_callevent e JOIN risk_margincall c ON c.id = e.call_id
JOIN lending_marginaccount m ON m.id = c.margin_account_id JOIN lending_ladderterms t ON t.id = m.terms_id
WHERE e.kind = 'sale_held'
"""

_LOTS = "SELECT a.code, p.lot FROM risk_assetpolicy p JOIN lending_asset a ON a.id = p.asset_id"

_DEBT = {"loan_principal", "interest_receivable", "fees_receivable"}


@dataclass(frozen=True)
class Wrongful:
    """A sale for which no reason was found, with what was missing."""

    order_id: int
    margin_account_id: int
    reason: str


class Checker:
    """Holds the raw facts of one database in memory and judges each order that led to a sale."""

    def __init__(self, cursor: Any) -> None:
        self._prices = RawPrices(cursor)
        self._rounds = self._prices.rounds()
        self._stops, self._defaults = RawStops(cursor), defaults.RawDefaults(cursor)
        self._orders = _rows(cursor, _ORDERS)
        self._terms = {row[0]: row[1:] for row in _rows(cursor, _ACCOUNTS)}
        self._calls = {row[0]: (*row[1:6], self._stops.received_at(row[0], *row[6:])) for row in _rows(cursor, _CALLS)}
        self._flows: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for account, *flow in _rows(cursor, _FLOWS):
            self._flows[account].append(tuple(flow))
        self._paid, self._topped_up = _rows(cursor, _PAID), _rows(cursor, _TOPPED_UP)
        self._cures = _rows(cursor, _COLLATERAL_CURES)
        self._lots = dict(_rows(cursor, _LOTS))
        self._agreements = _rows(cursor, _AGREED)
        self._coming = _rows(cursor, _COMING)
        self._waits = {(account, episode): (at, wait_s) for account, episode, at, wait_s in _rows(cursor, _WAITS)}
        self._trades: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for order, *trade in _rows(cursor, _TRADES):
            self._trades[order].append(tuple(trade))
        self._graces: dict[str, list[tuple[datetime, datetime]]] = {}

    def wrongful(self) -> list[Wrongful]:
        """Return the sales that can not be justified."""
        found = []
        for order, account, asset, part, quantity, at, kind, call, episode, declared_at in self._orders:
            reason = self._judge(account, asset, part, quantity, at, kind, call, episode, declared_at)
            if reason := reason or self._traded(order, account, episode):
                found.append(Wrongful(order, account, reason))
        return found

    def _judge(
        self, account: int, asset: str, part: int, quantity: Decimal, at: datetime, kind: str, call: int | None,
        episode: int, declared_at: datetime,
    ) -> str:  # fmt: skip
        agreed = self._agreed(account, episode, at)
        debt, pledged = self._position(account, at)
        ltv = self._ltv(debt, pledged, at)
        bare = ltv is None and agreed
        if bare:
            ltv = self._ltv(debt, pledged, at, bare=True)
        if ltv is None:
            return "an asset of the account had no quorum of live sources"
        call_ltv, _, liquidation, target, clear, gap, *_ = self._terms[account]
        just_back = next((code for code in pledged if not agreed and self._in_grace(code, at)), None)
        ended = ltv >= liquidation + gap - BLUR and self._agreed(account, episode, at, "sale_in_grace")
        if just_back and not ended:
            return f"{just_back} had only just come back from an outage"
        if kind in defaults.KINDS:
            owed = self._defaults.owed(account, episode, at)
            wrong = self._defaults.why_wrong(account, episode)
            return wrong or self._oversized(owed, {}, asset, quantity, Decimal(0), at, bare=bare)
        if self._cured_in_time(account, call, at) and ltv < liquidation - BLUR:
            return "the call had been cured in time"
        if part > 1:
            reason = "" if ltv >= target - BLUR else f"a further slice at {ltv:.4f}, target {target:.4f}"
        elif kind == "liquidation_level" and agreed:
            # On a mark that is not good no breach is counted: the two persons stand for its holding.
            reason = "" if ltv >= liquidation - BLUR else f"LTV was {ltv:.4f}, the level {liquidation:.4f}"
        elif kind == "liquidation_level":
            reason = self._held_above(account, at, liquidation, gap)
        elif kind == "expired_call":
            reason = self._expired(account, call, declared_at, ltv, clear, call_ltv)
        else:
            reason = f"no rule is known for a sale by {kind}"
        if part == 1 and not (reason or agreed):
            level = clear if kind == "expired_call" else liquidation
            reason = self._should_have_waited(account, episode, at, level, liquidation + gap)
        return reason or self._oversized(debt, pledged, asset, quantity, target, at, bare=bare)

    def _should_have_waited(self, account: int, episode: int, at: datetime, level: Decimal, gap_level: Decimal) -> str:
        """Once per episode, and not for long, a sale waits for what lacks its last confirmation and is enough."""
        if not self._enough_coming(account, at, level - BLUR, gap_level - BLUR):
            return ""
        wait = self._waits.get((account, episode))
        if wait is None:
            return "what was in its final confirmation was enough, and the sale did not wait"
        began_at, wait_s = wait
        if at >= began_at + timedelta(seconds=wait_s):
            # It has waited: if what it waited for was nothing, it has not.
            real = self._enough_coming(account, began_at, level + BLUR, gap_level + BLUR)
            return "" if real else "it waited once without a reason, and not for what was in its final confirmation"
        return f"it was to wait for what was in its final confirmation until {began_at + timedelta(seconds=wait_s)}"

    def _enough_coming(self, account: int, at: datetime, level: Decimal, gap_level: Decimal) -> bool:
        """Return whether what lacked its last confirmation would have brought an account to a level."""
        debt, pledged = self._position(account, at)
        stands = self._ltv(debt, pledged, at)
        found = False
        for owner, code, quantity, purpose, since, credited_at in self._coming:
            if owner != account or since > at or (credited_at is not None and credited_at <= at):
                continue
            if self._prices.price(code, at) is None:
                continue
            found = True
            if purpose == "collateral":
                pledged[code] = pledged.get(code, Decimal(0)) + quantity
            else:
                debt[code] = max(debt.get(code, Decimal(0)) - quantity, Decimal(0))
        with_it = self._ltv(debt, pledged, at)
        return found and stands is not None and with_it is not None and stands < gap_level and with_it < level

    def _agreed(self, account: int, episode: int, at: datetime, kind: str = "sale_on_degraded") -> bool:
        """Return whether two persons had agreed to an episode's sale by an instant, and it still held."""
        return any(
            (owner, number, what) == (account, episode, kind) and decided_at <= at < expires_at
            for owner, number, what, decided_at, expires_at in self._agreements
        )

    def _traded(self, order: int, account: int, episode: int) -> str:
        """Every trade had a second bid, and behind it a quorum of sources that had lasted, or two persons."""
        for at, code, bids in self._trades[order]:
            if bids < 2:
                return f"traded at {at} against {bids} bids"
            agreed = self._agreed(account, episode, at)
            if self._prices.price(code, at) is None and not agreed:
                return f"traded at {at} without a quorum of live sources for {code}"
            if self._in_grace(code, at) and not (agreed or self._agreed(account, episode, at, "sale_in_grace")):
                return f"traded at {at}, when {code} had only just come back from an outage"
        return ""

    def _position(self, account: int, at: datetime) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
        """Return debt and collateral by asset as posted before this instant's own orders moved anything out."""
        debt: dict[str, Decimal] = defaultdict(Decimal)
        pledged: dict[str, Decimal] = defaultdict(Decimal)
        for kind, code, effective_at, amount in self._flows[account]:
            if effective_at > at:
                break
            if kind in _DEBT:
                debt[code] += amount
            else:
                pledged[code] -= amount  # pledged and held together: a hold moves between the two
        return debt, {code: quantity for code, quantity in pledged.items() if quantity > 0}

    def _ltv(
        self, debt: dict[str, Decimal], pledged: dict[str, Decimal], at: datetime, *, bare: bool = False
    ) -> Decimal | None:
        price_of = self._prices.bare if bare else self._prices.price
        owed, value = Decimal(0), Decimal(0)
        for code, amount in debt.items():
            price = price_of(code, at)
            if price is None:
                return None
            owed += amount * price
        for code, quantity in pledged.items():
            price = price_of(code, at)
            if price is None:
                return None
            value += quantity * price
        return owed / value if value else Decimal(999999)

    def _in_grace(self, code: str, at: datetime) -> bool:
        if code not in self._graces:
            self._graces[code] = self._prices.graces(code)
        return any(start <= at < end for start, end in self._graces[code])

    def _held_above(self, account: int, at: datetime, level: Decimal, gap: Decimal) -> str:
        """Three rounds in a row over ten seconds or more, or one past the gap limit."""
        known = [instant for instant in self._rounds if instant <= at][-3:]
        ltvs = [self._ltv(*self._position(account, instant), instant) for instant in known]
        if ltvs and ltvs[-1] is not None and ltvs[-1] >= level + gap - BLUR:
            return ""
        held = len(known) == 3 and known[-1] - known[0] >= timedelta(seconds=10)
        if held and all(ltv is not None and ltv >= level - BLUR for ltv in ltvs):
            return ""
        return f"LTV was {[f'{ltv:.4f}' if ltv is not None else None for ltv in ltvs]}, the level {level:.4f}"

    def _expired(
        self, account: int, call: int | None, at: datetime, ltv: Decimal, clear: Decimal, call_ltv: Decimal
    ) -> str:
        if call is None:
            return "an expired call without a call"
        issued_at, _, paused_s, _, period_s, received_at = self._calls[call]
        if received_at is None:
            return "the notice has no evidence of delivery on two channels"
        at_issue = self._ltv(*self._position(account, issued_at), issued_at)
        if at_issue is None or at_issue < call_ltv - BLUR:
            return f"the call was issued at {at_issue}, below {call_ltv:.4f}"
        stood = self._stood_still(account, call, at)
        due_at = received_at + timedelta(seconds=period_s) + stood
        if at < due_at - SECOND and not self._accelerated_due(account, call, at, stood):
            return f"expired at {at}, due at {due_at}"
        if abs(stood - timedelta(seconds=paused_s)) > SECOND:
            return f"the clock stood still for {stood}, and {timedelta(seconds=paused_s)} are on it"
        if ltv < clear - BLUR:
            return f"LTV had come back to {ltv:.4f}, below {clear:.4f}"
        return ""

    def _cured_in_time(self, account: int, call: int | None, at: datetime) -> bool:
        """Return whether what the call asked for had arrived by now, within its cure period."""
        if call is None:
            return False
        issued_at, cash_cure, _, _, period_s, received_at = self._calls[call]
        due_at = (received_at or issued_at) + timedelta(seconds=period_s) + self._stood_still(account, call, at)
        return self._cured(account, call, issued_at, min(at, due_at), cash_cure) >= 1

    def _stood_still(self, account: int, call: int, at: datetime) -> timedelta:
        """Return for how long a call's clock had stood still: a dispute counts if what it left due was paid."""
        issued_at, cash_cure, _, _, period_s, received_at = self._calls[call]
        if received_at is None or at <= received_at:
            return timedelta(0)
        assets = {code for side in self._position(account, at) for code, amount in side.items() if amount}
        stood = self._stops.between(account, assets, received_at, at)
        due_at = received_at + timedelta(seconds=period_s) + stood
        paid = self._cured(account, call, issued_at, min(at, due_at), cash_cure)
        if self._stops.undisputed(call) > paid:
            return stood
        return self._stops.between(account, assets, received_at, at, call=call)

    def _accelerated_due(self, account: int, call: int, at: datetime, stood: timedelta) -> bool:
        """Return whether the shorter clock of the accelerated level, above which the account still was, had run out."""
        issued_at, received_at = self._calls[call][0], self._calls[call][5]
        accelerated, period_s = self._terms[account][1], self._terms[account][7]
        began_at = None
        for instant in reversed([known for known in self._rounds if issued_at <= known <= at]):
            ltv = self._ltv(*self._position(account, instant), instant)
            if ltv is not None and ltv < accelerated - BLUR:
                break
            began_at = instant
        if began_at is None:
            return False
        start = max(began_at, received_at)
        left_to_stand = stood - self._stood_still(account, call, start)
        return bool(at >= start + timedelta(seconds=period_s) + left_to_stand - SECOND)

    def _cured(self, account: int, call: int, start: datetime, end: datetime, cash_cure: Decimal) -> Decimal:
        share = sum(
            (amount / cash_cure for owner, at, amount in self._paid if owner == account and start <= at <= end),
            Decimal(0),
        )
        wanted = {code: quantity for owner, code, quantity in self._cures if owner == call}
        for owner, at, code, quantity in self._topped_up:
            if owner == account and start <= at <= end and wanted.get(code):
                share += quantity / wanted[code]
        return share

    def _oversized(
        self,
        debt: dict[str, Decimal],
        pledged: dict[str, Decimal],
        asset: str,
        quantity: Decimal,
        target: Decimal,
        at: datetime,
        *,
        bare: bool,
    ) -> str:
        """A sale may not be larger than what restores the target at the dearest cost, or everything that secures it."""
        price_of = self._prices.bare if bare else self._prices.price
        owed = sum((amount * (price_of(code, at) or 0) for code, amount in debt.items()), Decimal(0))
        value = sum((held * (price_of(code, at) or 0) for code, held in pledged.items()), Decimal(0))
        needed = (owed * (1 + BLUR) - target * value * (1 - BLUR)) / (1 - WIDEST_COST - target)
        sold = quantity * (price_of(asset, at) or Decimal(0))
        lot = self._lots.get(asset, Decimal(0)) * (price_of(asset, at) or Decimal(0))
        if sold > needed + lot:
            return f"sold {sold:.0f} USD where {needed:.0f} restores the target"
        return ""


def _rows(cursor: Any, statement: str) -> list[tuple[Any, ...]]:
    cursor.execute(statement)
    return list(cursor.fetchall())


def count(cursor: Any) -> int:
    """Return how many sales can not be justified, and say which on standard error."""
    found = Checker(cursor).wrongful()
    for sale in found[:20]:
        sys.stderr.write(f"wrongful sale: order {sale.order_id}: {sale.reason}\n")
    return len(found)
