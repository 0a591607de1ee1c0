"""What must hold in risk's tables at any moment: I4 to I9, I15 to I17 as far as risk keeps them."""

from django.db import connection

from lending.engine.violations import Violation

MOST_ROWS = 20

_BROKEN: tuple[tuple[str, str, str], ...] = (
    (
        "I4",
        "an account has more than one open call, or an episode more than one call",
        """
        SELECT 'account', margin_account_id FROM risk_margincall WHERE closed_at IS NULL
            GROUP BY margin_account_id HAVING count(*) > 1
        UNION ALL
        SELECT 'account', margin_account_id FROM risk_margincall GROUP BY margin_account_id, episode HAVING count(*) > 1
        """,
    ),
    (
        "I5",
        "an account has more than one live order for an asset, or for a slice and asset",
        """
        SELECT 'account', margin_account_id FROM risk_liquidationorder WHERE state IN ('pending', 'working', 'paused')
            GROUP BY margin_account_id, asset_id HAVING count(*) > 1
        UNION ALL
        SELECT 'account', margin_account_id FROM risk_liquidationorder
            GROUP BY margin_account_id, episode, slice, asset_id HAVING count(*) > 1
        """,
    ),
    (
        "I6",
        "an order's totals exceed it, or what is held for sale is not what orders have left",
        """
        SELECT 'order', id FROM risk_liquidationorder
            WHERE filled_quantity + committed_quantity + cancelled_quantity > quantity
        UNION ALL
        SELECT 'pledge', p.id FROM lending_pledge p LEFT JOIN risk_liquidationorder o
            ON o.margin_account_id = p.margin_account_id AND o.asset_id = p.asset_id
            GROUP BY p.id
            HAVING p.held_quantity <> coalesce(sum(o.quantity - o.filled_quantity - o.cancelled_quantity), 0)
        """,
    ),
    (
        "I7",
        "an order lacks a cause of its episode with evidence, or a call was sold early or without receipt",
        """
        SELECT 'order', o.id FROM risk_liquidationorder o JOIN risk_salecause c ON c.id = o.cause_id
            WHERE c.margin_account_id <> o.margin_account_id OR c.episode <> o.episode
               OR c.declared_at > o.ordered_at OR c.evidence = '{}'::jsonb
        UNION ALL
        SELECT 'cause', c.id FROM risk_salecause c JOIN risk_margincall m ON m.id = c.call_id
            WHERE m.margin_account_id <> c.margin_account_id OR m.episode <> c.episode
               OR c.kind = 'expired_call' AND (m.received_at IS NULL OR c.declared_at < m.cure_due_at)
        """,
    ),
    (
        "I8",
        "an account stands in breach with neither an open call nor a logged reason",
        """
        SELECT 'account', s.margin_account_id FROM risk_marginstatus s
            CROSS JOIN (SELECT min(last_round_at) AS last_at FROM risk_shardlease) r
            WHERE s.state IN ('call', 'accelerated', 'liquidate')
              AND NOT EXISTS (SELECT FROM risk_margincall m
                              WHERE m.margin_account_id = s.margin_account_id
                                AND (m.closed_at IS NULL OR m.closed_at >= greatest(s.since, r.last_at)))
              AND NOT EXISTS (SELECT FROM risk_decisionlog d
                              WHERE d.margin_account_id = s.margin_account_id AND d.episode = s.episode
                                AND d.decision = 'no_call' AND d.last_at >= s.since)
        """,
    ),
    (
        "I9",
        "a sale is over without an allowed outcome, or rests for an hour without an order or a logged reason",
        """
        SELECT 'cause', id FROM risk_salecause
            WHERE closed_at IS NOT NULL
              AND outcome NOT IN ('target_restored', 'debt_gone', 'below_clear', 'paid_in_time', 'shortfall',
                                  'level_left', 'default_undone')
        UNION ALL
        SELECT 'cause', c.id FROM risk_salecause c
            CROSS JOIN (SELECT max(last_round_at) - interval '1 hour' AS hour_ago FROM risk_shardlease) r
            WHERE c.closed_at IS NULL
              AND NOT EXISTS (SELECT FROM risk_liquidationorder o WHERE o.cause_id = c.id
                              AND (o.state IN ('pending', 'working', 'paused') OR o.closed_at >= r.hour_ago))
              AND NOT EXISTS (SELECT FROM risk_decisionlog d
                              WHERE d.margin_account_id = c.margin_account_id AND d.episode = c.episode
                                AND d.last_at >= r.hour_ago)
              AND c.declared_at < r.hour_ago
        """,
    ),
    (
        "I15",
        "a call or an order is closed without an instant, or open with one",
        """
        SELECT 'call', id FROM risk_margincall
            WHERE (closed_at IS NULL) <> (state IN ('issued', 'notified', 'acknowledged', 'partially_cured', 'expired',
                                                    'liquidating'))
        UNION ALL
        SELECT 'order', id FROM risk_liquidationorder
            WHERE (closed_at IS NULL) <> (state IN ('pending', 'working', 'paused'))
        """,
    ),
    (
        "I16",
        "a sale was ordered on a mark that was not good, without the approval of two persons, or older than its limit",
        """
        SELECT 'order', o.id FROM risk_liquidationorder o JOIN risk_pricesnapshot s ON s.id = o.snapshot_id
            JOIN lending_marginaccount m ON m.id = o.margin_account_id
            WHERE EXISTS (
                SELECT FROM lending_asset a
                WHERE a.code <> 'USD' AND coalesce(s.marks -> a.code ->> 'quality', '') <> 'good' AND a.id IN (
                    SELECT o.asset_id
                    UNION ALL
                    SELECT k.cure_asset_id FROM risk_salecause c JOIN risk_margincall k ON k.id = c.call_id
                        WHERE c.id = o.cause_id
                    UNION ALL
                    SELECT l.asset_id FROM lending_loan l
                        WHERE l.margin_account_id = m.id AND l.start_at <= o.ordered_at
                          AND l.state NOT IN ('repaid', 'closed')
                    UNION ALL
                    SELECT v.asset_id FROM lending_pledgemovement v
                        WHERE v.margin_account_id = m.id AND v.recorded_at <= o.ordered_at
                        GROUP BY v.asset_id
                        HAVING sum(CASE WHEN v.kind IN ('pledge', 'top_up') THEN v.quantity
                                        WHEN v.kind IN ('release', 'sale', 'close_out') THEN -v.quantity END) > 0))
              AND NOT EXISTS (SELECT FROM lending_approval p
                              WHERE p.kind = 'sale_on_degraded' AND p.state = 'executed'
                                AND p.payload ->> 'margin_account' = m.public_id::text
                                AND (p.payload ->> 'episode')::int = o.episode)
        UNION ALL
        SELECT 'order', o.id FROM risk_liquidationorder o JOIN risk_pricesnapshot s ON s.id = o.snapshot_id
            WHERE o.ordered_at - s.as_of > interval '60 seconds'
        """,
    ),
    (
        "I17",
        "a call that was cured has a sale in its episode, or one was ordered though it had been paid in time",
        """
        SELECT 'call', m.id FROM risk_margincall m JOIN risk_liquidationorder o
            ON o.margin_account_id = m.margin_account_id AND o.episode = m.episode
            WHERE m.state = 'cured' AND o.filled_quantity > 0
        UNION
        SELECT 'call', m.id FROM risk_margincall m JOIN risk_salecause c ON c.call_id = m.id
            JOIN risk_liquidationorder o ON o.cause_id = c.id AND o.filled_quantity > 0
            JOIN lending_marginaccount a ON a.id = m.margin_account_id JOIN lending_ladderterms t ON t.id = a.terms_id
            WHERE (c.kind = 'expired_call' OR c.kind = 'liquidation_level' AND (o.plan ->> 'debt')::numeric
                                              <= t.liquidation_ltv * (o.plan ->> 'weighted')::numeric)
              AND 1 <= coalesce((
                    SELECT sum(p.amount) / nullif(m.cash_cure, 0)
                    FROM lending_repayment p JOIN lending_loan l ON l.id = p.loan_id
                    WHERE l.margin_account_id = a.id AND l.asset_id = m.cure_asset_id AND p.kind = 'cash'
                      AND p.id > m.last_repayment_id AND p.recorded_at < o.ordered_at
                      AND coalesce(p.arrived_at, p.received_at) <= coalesce(m.cure_due_at, 'infinity')
                      AND NOT EXISTS (SELECT FROM lending_correction c WHERE c.repayment_id = p.id
                                      AND c.kind = 'reversal' AND c.recorded_at < o.ordered_at)), 0)
                + coalesce((
                    SELECT sum(v.quantity / n.quantity)
                    FROM lending_pledgemovement v JOIN risk_collateralcure n
                        ON n.call_id = m.id AND n.asset_id = v.asset_id AND n.quantity > 0
                    WHERE v.margin_account_id = a.id AND v.kind IN ('pledge', 'top_up')
                      AND v.id > m.last_movement_id AND v.recorded_at < o.ordered_at
                      AND v.effective_at <= coalesce(m.cure_due_at, 'infinity')), 0)
        """,
    ),
)


def check() -> list[Violation]:
    """Return what is broken in risk's tables; empty when all holds."""
    found = []
    for code, message, query in _BROKEN:
        with connection.cursor() as cursor:
            cursor.execute(query)
            rows = cursor.fetchmany(MOST_ROWS)
        if rows:
            found.append(Violation(code, message, tuple(f"{kind} {pk}" for kind, pk in rows)))
    return found
