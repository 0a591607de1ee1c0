"""What must hold in the desk's tables at any moment: I5, I6, I7, I14 and I15 as far as otc keeps them."""

from datetime import timedelta

from django.db import connection
from django.db.models import Max, Min

from lending.engine.violations import Violation
from lending.models import Book, Entry
from otc import pnl

_BROKEN: tuple[tuple[str, str, str], ...] = (
    (
        "I5",
        "a block has more than one live request for quote, or a request more than one accepted bid",
        """
        SELECT 'block', block_id FROM otc_rfq WHERE state IN ('open', 'quoted') GROUP BY block_id HAVING count(*) > 1
        UNION ALL
        SELECT 'rfq', rfq_id FROM otc_quote WHERE state IN ('accepting', 'accepted')
            GROUP BY rfq_id HAVING count(*) > 1
        """,
    ),
    (
        "I6",
        "the fills of a quote, a block or an order are not what their totals say, or exceed what was asked",
        """
        SELECT 'quote', q.id FROM otc_quote q LEFT JOIN otc_fill f ON f.quote_id = q.id
            GROUP BY q.id HAVING q.filled_quantity <> coalesce(sum(f.quantity), 0) OR q.filled_quantity > q.quantity
        UNION ALL
        SELECT 'block', b.id FROM otc_block b LEFT JOIN otc_fill f ON f.block_id = b.id
            GROUP BY b.id HAVING b.filled_quantity <> coalesce(sum(f.quantity), 0) OR b.filled_quantity > b.quantity
        UNION ALL
        SELECT 'part', p.id FROM otc_blockorder p LEFT JOIN otc_allocation a ON a.part_id = p.id
            GROUP BY p.id HAVING p.filled_quantity <> coalesce(sum(a.quantity), 0) OR p.filled_quantity > p.quantity
        """,
    ),
    (
        "I6",
        "the allocations of a fill do not sum to it",
        """
        SELECT 'fill', f.id FROM otc_fill f LEFT JOIN otc_allocation a ON a.fill_id = f.id
            GROUP BY f.id HAVING f.quantity <> coalesce(sum(a.quantity), 0)
        """,
    ),
    (
        "I6",
        "an order's fills are not what the desk has booked for it, or its commitments not what is in flight",
        """
        SELECT 'order', o.id FROM risk_liquidationorder o
            WHERE o.filled_quantity <> coalesce((
                SELECT sum(a.quantity) FROM otc_allocation a JOIN otc_blockorder p ON p.id = a.part_id
                JOIN otc_fill f ON f.id = a.fill_id WHERE p.order_id = o.id AND f.settled_at IS NOT NULL), 0)
            OR o.committed_quantity <> coalesce((
                SELECT sum(c.quantity - c.filled_quantity) FROM otc_commitment c
                JOIN otc_blockorder p ON p.id = c.part_id WHERE p.order_id = o.id AND c.released_at IS NULL), 0)
            + coalesce((
                SELECT sum(a.quantity) FROM otc_allocation a JOIN otc_blockorder p ON p.id = a.part_id
                JOIN otc_fill f ON f.id = a.fill_id WHERE p.order_id = o.id AND f.settled_at IS NULL), 0)
        """,
    ),
    (
        "I6",
        "a block is not the sum of its orders",
        """
        SELECT 'block', b.id FROM otc_block b LEFT JOIN otc_blockorder p ON p.block_id = b.id
            GROUP BY b.id HAVING b.quantity <> coalesce(sum(p.quantity), 0)
        """,
    ),
    (
        "I7",
        "a sale has no declared cause, or was booked under another than its order's",
        """
        SELECT 'allocation', a.id FROM otc_allocation a JOIN otc_blockorder p ON p.id = a.part_id
            JOIN risk_liquidationorder o ON o.id = p.order_id JOIN risk_salecause c ON c.id = o.cause_id
            WHERE c.margin_account_id <> o.margin_account_id OR c.declared_at > o.ordered_at
               OR c.evidence = '{}'::jsonb
        UNION ALL
        SELECT 'entry', e.id FROM lending_entry e LEFT JOIN otc_allocation a ON a.entry_id = e.id
            WHERE e.kind = 'sale' AND a.id IS NULL
        """,
    ),
    (
        "I7",
        "a fill was booked without its entries, or below the collar of its request",
        """
        SELECT 'fill', f.id FROM otc_fill f JOIN otc_allocation a ON a.fill_id = f.id
            WHERE f.settled_at IS NOT NULL AND a.entry_id IS NULL
        UNION ALL
        SELECT 'fill', f.id FROM otc_fill f JOIN otc_quote q ON q.id = f.quote_id JOIN otc_rfq r ON r.id = q.rfq_id
            WHERE f.price < r.collar_price
        """,
    ),
    (
        "I16",
        "a bid was accepted on a mark that was not good without two persons for each order, or against no other bid",
        """
        SELECT 'quote', q.id FROM otc_quote q JOIN otc_rfq r ON r.id = q.rfq_id JOIN otc_block b ON b.id = r.block_id
            JOIN lending_asset a ON a.id = b.asset_id JOIN risk_pricesnapshot s ON s.id = q.snapshot_id
            JOIN otc_commitment c ON c.quote_id = q.id JOIN otc_blockorder p ON p.id = c.part_id
            JOIN risk_liquidationorder o ON o.id = p.order_id JOIN lending_marginaccount m ON m.id = o.margin_account_id
            WHERE coalesce(s.marks -> a.code ->> 'quality', '') <> 'good'
              AND NOT (s.marks -> a.code ->> 'quality' = 'degraded' AND EXISTS (
                SELECT FROM lending_approval v
                WHERE v.kind = 'sale_on_degraded' AND v.state = 'executed' AND v.maker_id <> v.checker_id
                  AND v.decided_at <= q.accepted_at AND v.expires_at > q.accepted_at
                  AND v.payload ->> 'margin_account' = m.public_id::text
                  AND (v.payload ->> 'episode')::int = o.episode))
        UNION
        SELECT 'quote', q.id FROM otc_quote q JOIN otc_rfq r ON r.id = q.rfq_id
            WHERE q.state IN ('accepting', 'accepted')
              AND (SELECT count(*) FROM otc_quote x WHERE x.rfq_id = r.id AND x.price >= r.collar_price) < 2
        """,
    ),
    (
        "I15",
        "a booked fill has no settlement, or a settlement differs from its fill",
        """
        SELECT 'fill', f.id FROM otc_fill f LEFT JOIN otc_settlement s ON s.fill_id = f.id
            WHERE (f.settled_at IS NULL) <> (s.id IS NULL) OR s.quantity <> f.quantity
        """,
    ),
)


def check() -> list[Violation]:
    """Return what is broken in the desk's tables; empty when all holds."""
    found = []
    for code, message, query in _BROKEN:
        with connection.cursor() as cursor:
            cursor.execute(query)
            rows = cursor.fetchmany(20)
        if rows:
            found.append(Violation(code, message, tuple(f"{kind} {pk}" for kind, pk in rows)))
    return found + _unexplained()


def _unexplained() -> list[Violation]:
    """Return the books whose P&L, over all there is and over the last day of it, leaves something unexplained."""
    seen = Entry.objects.aggregate(first=Min("effective_at"), last=Max("effective_at"))
    if seen["first"] is None:
        return []
    start_at = pnl.bounds(seen["first"].date())[0]
    last_day_at, end_at = pnl.bounds(seen["last"].date())
    rows = []
    for book in Book.objects.order_by("code"):
        for from_at in {start_at, last_day_at, end_at - timedelta(days=7)}:
            try:
                residual = str(pnl.explain(book, from_at, end_at).residual)
            except pnl.UnableToExplain as error:
                residual = str(error)
            if residual != "0.00":
                rows.append(f"book {book.code} from {from_at:%Y-%m-%d}: {residual}")
    message = "the P&L leaves something unexplained on the ledger basis"
    return [Violation("I14", message, tuple(sorted(rows)))] if rows else []
