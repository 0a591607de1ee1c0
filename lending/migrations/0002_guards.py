"""What the database itself refuses, whoever asks: half an entry, a changed past, undeclared steps, balances below zero."""

from django.db import migrations

# Signs of balances, equal to lending.engine.chart.GUARDS: 1 never below zero, -1 never above, otherwise free.
ACCOUNTS = """
CREATE FUNCTION lending_open_balance() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO public.lending_ledgerbalance (account_id, amount, guard)
    VALUES (NEW.id, 0, CASE
        WHEN NEW.kind IN ('deposits_pending', 'withdrawals_pending', 'client_free', 'client_pledged',
                          'liquidation_hold', 'sale_proceeds', 'deficiency_allowance') THEN -1
        WHEN NEW.kind IN ('loan_principal', 'interest_receivable', 'fees_receivable', 'deficiency_claim') THEN 1
        ELSE 0 END);
    RETURN NULL;
END $$;
CREATE TRIGGER lending_ledgeraccount_opens AFTER INSERT ON lending_ledgeraccount
    FOR EACH ROW EXECUTE FUNCTION lending_open_balance();
"""

# An entry belongs to the transaction that wrote it, and is whole when that commits.
ENTRIES = """
CREATE FUNCTION lending_stamp_txid() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.txid := pg_catalog.pg_current_xact_id()::text::bigint;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_entry_stamp BEFORE INSERT ON lending_entry
    FOR EACH ROW EXECUTE FUNCTION lending_stamp_txid();
CREATE TRIGGER lending_auditrecord_stamp BEFORE INSERT ON lending_auditrecord
    FOR EACH ROW EXECUTE FUNCTION lending_stamp_txid();

CREATE FUNCTION lending_entry_has_postings() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF (SELECT count(*) FROM public.lending_posting WHERE entry_id = NEW.id) < 2 THEN
        RAISE EXCEPTION 'entry % has fewer than two postings', NEW.idempotency_key
            USING ERRCODE = 'LG001', CONSTRAINT = 'entry_has_postings';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER lending_entry_whole AFTER INSERT ON lending_entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lending_entry_has_postings();
"""

# One pass over the postings of a statement. Most statements balance every entry they touch and need no second look;
# an entry that a statement leaves lopsided is noted in lending_lopsided, whose deferred trigger looks again at
# COMMIT. A note per statement, not per entry: SET CONSTRAINTS IMMEDIATE can make an earlier look happen, but it can
# not save a later statement from its own. Plans are pinned to index look-ups: with statistics of an empty table the
# planner would otherwise join all accounts. What postings refer to is looked up here, once per statement: it is never
# deleted, and foreign keys would lock the same asset, book and client for every single posting.
POSTINGS = """
CREATE TABLE lending_lopsided (entry_id bigint NOT NULL);

CREATE FUNCTION lending_take_postings() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    astray record;
    change record;
BEGIN
    SELECT * INTO astray
    FROM (
        SELECT entry_id, client_id, loan_id, book_id,
               (SELECT e.txid FROM public.lending_entry e WHERE e.id = t.entry_id) AS txid
        FROM taken t GROUP BY entry_id, client_id, loan_id, book_id
    ) d
    WHERE d.txid IS DISTINCT FROM pg_current_xact_id()::text::bigint
       OR (SELECT true FROM public.lending_book WHERE id = d.book_id) IS NULL
       OR d.client_id IS NOT NULL AND (SELECT true FROM public.lending_client WHERE id = d.client_id) IS NULL
       OR d.loan_id IS NOT NULL
          AND (SELECT client_id FROM public.lending_loan WHERE id = d.loan_id) IS DISTINCT FROM d.client_id
    LIMIT 1;
    IF FOUND THEN
        IF astray.txid IS DISTINCT FROM pg_current_xact_id()::text::bigint THEN
            RAISE EXCEPTION 'entry % was written by another transaction: it takes no more postings', astray.entry_id
                USING ERRCODE = 'LG002', CONSTRAINT = 'posting_in_transaction_of_entry';
        END IF;
        RAISE EXCEPTION 'a posting names book %, client % and loan %, which do not belong together',
            astray.book_id, astray.client_id, astray.loan_id
            USING ERRCODE = 'LG006', CONSTRAINT = 'posting_dimensions_exist';
    END IF;

    INSERT INTO public.lending_lopsided (entry_id)
    SELECT DISTINCT entry_id FROM taken GROUP BY entry_id, asset_id, book_id HAVING sum(amount) <> 0;

    -- Balance rows are locked in the order of their accounts, whatever the order of the postings.
    FOR change IN
        SELECT t.account_id, sum(t.amount) AS amount, bool_and(a.asset_id = t.asset_id) AS of_asset,
               bool_and(a.client_id IS NULL OR a.client_id IS NOT DISTINCT FROM t.client_id) AS of_owner
        FROM taken t
        LEFT JOIN LATERAL (
            SELECT asset_id, client_id FROM public.lending_ledgeraccount WHERE id = t.account_id OFFSET 0
        ) a ON true
        GROUP BY t.account_id ORDER BY t.account_id
    LOOP
        IF change.of_asset IS NOT TRUE THEN
            RAISE EXCEPTION 'a posting on account % is in another asset, or there is no such account', change.account_id
                USING ERRCODE = 'LG007', CONSTRAINT = 'posting_in_asset_of_account';
        END IF;
        IF NOT change.of_owner THEN
            RAISE EXCEPTION 'a posting on account % names another client than its owner', change.account_id
                USING ERRCODE = 'LG004', CONSTRAINT = 'posting_names_owner';
        END IF;
        UPDATE public.lending_ledgerbalance SET amount = amount + change.amount
        WHERE account_id = change.account_id;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER lending_posting_taken AFTER INSERT ON lending_posting REFERENCING NEW TABLE AS taken
    FOR EACH STATEMENT EXECUTE FUNCTION lending_take_postings();

CREATE FUNCTION lending_entry_balances() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    off record;
BEGIN
    SELECT a.code AS asset, b.code AS book, sum(p.amount) AS amount INTO off
    FROM public.lending_posting p
    JOIN public.lending_asset a ON a.id = p.asset_id
    JOIN public.lending_book b ON b.id = p.book_id
    WHERE p.entry_id = NEW.entry_id
    GROUP BY a.code, b.code HAVING sum(p.amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'postings of entry % do not sum to zero: % of % in book %',
            NEW.entry_id, off.amount, off.asset, off.book
            USING ERRCODE = 'LG003', CONSTRAINT = 'entry_sums_to_zero';
    END IF;
    DELETE FROM public.lending_lopsided WHERE entry_id = NEW.entry_id;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER lending_lopsided_resolved AFTER INSERT ON lending_lopsided
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lending_entry_balances();
"""

APPEND_ONLY = (
    "lending_entry",
    "lending_posting",
    "lending_ledgeraccount",
    "lending_seal",
    "lending_auditrecord",
    "lending_auditseal",
    "lending_loanevent",
    "lending_pledgemovement",
    "lending_repayment",
)

REFUSE_CHANGE = """
CREATE FUNCTION lending_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: what was written stays, corrections are new rows', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'LG005', CONSTRAINT = 'append_only';
END $$;
"""

REFUSE_CHANGE_ON = """
CREATE TRIGGER {table}_is_final BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER {table}_stays BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""

# What postings refer to; the rest of them may change.
NEVER_DELETED = ("lending_asset", "lending_book", "lending_client", "lending_loan", "lending_marginaccount")

REFUSE_DELETE_ON = """
CREATE TRIGGER {table}_is_kept BEFORE DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION lending_refuse_change();
CREATE TRIGGER {table}_stays BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION lending_refuse_change();
"""

MARGIN_ACCOUNTS = """
CREATE FUNCTION lending_touch_margin_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.shard := NEW.id % 64;
    NEW.touched_xid := pg_catalog.pg_current_xact_id()::text::bigint;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_marginaccount_touch BEFORE INSERT OR UPDATE ON lending_marginaccount
    FOR EACH ROW EXECUTE FUNCTION lending_touch_margin_account();
"""

# Equal to lending.models.LOAN_TRANSITIONS, which a test compares with the rows.
TRANSITIONS = (
    ("quoted", "accepted"),
    ("quoted", "cancelled"),
    ("accepted", "approved"),
    ("accepted", "cancelled"),
    ("approved", "collateral_pending"),
    ("approved", "cancelled"),
    ("collateral_pending", "active"),
    ("collateral_pending", "cancelled"),
    ("active", "matured"),
    ("active", "repaid"),
    ("active", "defaulted"),
    ("active", "liquidating"),
    ("matured", "repaid"),
    ("matured", "defaulted"),
    ("matured", "liquidating"),
    ("defaulted", "liquidating"),
    ("defaulted", "repaid"),
    ("liquidating", "active"),
    ("liquidating", "repaid"),
    ("liquidating", "workout"),
    ("workout", "written_off"),
    ("workout", "repaid"),
    ("written_off", "recovered"),
    ("repaid", "closed"),
    ("recovered", "closed"),
    ("written_off", "closed"),
)

LOANS = """
CREATE FUNCTION lending_check_loan_step() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'quoted' THEN
            RAISE EXCEPTION 'a loan begins as quoted, not as %', NEW.state
                USING ERRCODE = 'LN001', CONSTRAINT = 'loan_transition_declared';
        END IF;
    ELSIF NEW.state <> OLD.state AND NOT EXISTS (
        SELECT FROM public.lending_loantransition WHERE from_state = OLD.state AND to_state = NEW.state
    ) THEN
        RAISE EXCEPTION 'a loan can not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'LN001', CONSTRAINT = 'loan_transition_declared';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lending_loan_step BEFORE INSERT OR UPDATE ON lending_loan
    FOR EACH ROW EXECUTE FUNCTION lending_check_loan_step();
"""

# The runtime role reads everything, adds to what is final, changes what lives, and deletes nothing of the books.
# Balances and declared transitions are the database's own.
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        REVOKE ALL ON lending_lopsided FROM PUBLIC;
        GRANT SELECT ON lending_ledgerbalance, lending_loantransition TO app;
        GRANT SELECT, INSERT ON
            lending_entry, lending_posting, lending_ledgeraccount, lending_seal, lending_auditrecord,
            lending_auditseal, lending_loanevent, lending_pledgemovement, lending_repayment, lending_ladderterms, lending_depositaddress TO app;
        GRANT UPDATE (name, is_preset) ON lending_ladderterms TO app;
        GRANT SELECT, INSERT, UPDATE (seq) ON lending_event TO app;
        GRANT SELECT, INSERT, UPDATE ON
            lending_asset, lending_assetnetwork, lending_pair, lending_book, lending_platformclock,
            lending_user, lending_rolegrant, lending_client, lending_clientuser, lending_relationshipperiod,
            lending_approval, lending_deposit, lending_withdrawal, lending_custodybreak,
            lending_product, lending_loan, lending_marginaccount, lending_pledge,
            lending_outboxmessage, lending_notice, lending_noticedelivery, lending_eventstream TO app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON lending_user_groups, lending_user_user_permissions TO app;
    END IF;
END $$;
"""


def declare_transitions(apps, schema_editor):
    transition = apps.get_model("lending", "LoanTransition")
    transition.objects.bulk_create(transition(from_state=before, to_state=after) for before, after in TRANSITIONS)


class Migration(migrations.Migration):
    dependencies = [("lending", "0001_initial")]

    operations = [
        *(migrations.RunSQL(sql) for sql in (ACCOUNTS, ENTRIES, POSTINGS, REFUSE_CHANGE)),
        *(migrations.RunSQL(REFUSE_CHANGE_ON.replace("{table}", table)) for table in APPEND_ONLY),
        *(migrations.RunSQL(REFUSE_DELETE_ON.replace("{table}", table)) for table in NEVER_DELETED),
        *(migrations.RunSQL(sql) for sql in (MARGIN_ACCOUNTS, LOANS)),
        migrations.RunPython(declare_transitions),
        migrations.RunSQL(GRANTS),
    ]
