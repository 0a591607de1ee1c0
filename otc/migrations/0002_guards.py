"""What the database itself refuses: over-fills, uneven allocations, changed facts, undeclared steps."""

from django.db import migrations

GUARDS = """
-- Running totals follow the facts and nothing else; the CHECKs beside them refuse an over-fill.
CREATE FUNCTION otc_count_fill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE otc_quote SET filled_quantity = filled_quantity + NEW.quantity
        WHERE id = NEW.quote_id AND dealer_id = NEW.dealer_id AND state = 'accepted';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a fill needs an accepted quote of its dealer' USING ERRCODE = 'OT001';
    END IF;
    UPDATE otc_block SET filled_quantity = filled_quantity + NEW.quantity
        WHERE id = NEW.block_id AND id = (
            SELECT r.block_id FROM otc_quote q JOIN otc_rfq r ON r.id = q.rfq_id WHERE q.id = NEW.quote_id);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a fill belongs to the block of its quote' USING ERRCODE = 'OT001';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER otc_fill_counts AFTER INSERT ON otc_fill FOR EACH ROW EXECUTE FUNCTION otc_count_fill();

CREATE FUNCTION otc_count_allocation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE otc_commitment SET filled_quantity = filled_quantity + NEW.quantity
        WHERE part_id = NEW.part_id AND released_at IS NULL
          AND quote_id = (SELECT quote_id FROM otc_fill WHERE id = NEW.fill_id);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'an allocation needs a commitment of its order' USING ERRCODE = 'OT002';
    END IF;
    UPDATE otc_blockorder SET filled_quantity = filled_quantity + NEW.quantity WHERE id = NEW.part_id;
    RETURN NULL;
END $$;
CREATE TRIGGER otc_allocation_counts AFTER INSERT ON otc_allocation
    FOR EACH ROW EXECUTE FUNCTION otc_count_allocation();

CREATE FUNCTION otc_refuse_hand_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.filled_quantity <> OLD.filled_quantity AND pg_trigger_depth() < 2 THEN
        RAISE EXCEPTION 'what is filled is counted from fills' USING ERRCODE = 'OT003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER otc_block_count BEFORE UPDATE ON otc_block FOR EACH ROW EXECUTE FUNCTION otc_refuse_hand_count();
CREATE TRIGGER otc_part_count BEFORE UPDATE ON otc_blockorder FOR EACH ROW EXECUTE FUNCTION otc_refuse_hand_count();
CREATE TRIGGER otc_commitment_count BEFORE UPDATE ON otc_commitment
    FOR EACH ROW EXECUTE FUNCTION otc_refuse_hand_count();
CREATE TRIGGER otc_quote_count BEFORE UPDATE ON otc_quote FOR EACH ROW EXECUTE FUNCTION otc_refuse_hand_count();

-- At COMMIT a fill is shared out whole, in coins.
CREATE FUNCTION otc_check_shared_out() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    shared numeric;
BEGIN
    SELECT coalesce(sum(quantity), 0) INTO shared FROM otc_allocation WHERE fill_id = NEW.id;
    IF shared <> NEW.quantity THEN
        RAISE EXCEPTION 'a fill of % has allocations of %', NEW.quantity, shared USING ERRCODE = 'OT004';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER otc_fill_shared_out AFTER INSERT ON otc_fill DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION otc_check_shared_out();

CREATE FUNCTION otc_check_allocation_total() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    whole numeric;
    shared numeric;
BEGIN
    SELECT quantity INTO whole FROM otc_fill WHERE id = NEW.fill_id;
    SELECT sum(quantity) INTO shared FROM otc_allocation WHERE fill_id = NEW.fill_id;
    IF shared <> whole THEN
        RAISE EXCEPTION 'a fill of % has allocations of %', whole, shared USING ERRCODE = 'OT004';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER otc_allocations_sum_up AFTER INSERT ON otc_allocation DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION otc_check_allocation_total();

-- Facts stay: a fill may only be marked as booked, an allocation may only be given its entry, each once.
CREATE FUNCTION otc_keep_fact() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION '% on % is refused: these rows are facts', TG_OP, TG_TABLE_NAME USING ERRCODE = 'OT005';
    END IF;
    IF to_jsonb(OLD) ->> TG_ARGV[0] IS NOT NULL OR to_jsonb(NEW) - TG_ARGV[0] <> to_jsonb(OLD) - TG_ARGV[0] THEN
        RAISE EXCEPTION 'of % only % may be set, once', TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'OT005';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER otc_fill_stays BEFORE UPDATE OR DELETE ON otc_fill
    FOR EACH ROW EXECUTE FUNCTION otc_keep_fact('settled_at');
CREATE TRIGGER otc_fills_stay BEFORE TRUNCATE ON otc_fill
    FOR EACH STATEMENT EXECUTE FUNCTION otc_keep_fact('settled_at');
CREATE TRIGGER otc_allocation_stays BEFORE UPDATE OR DELETE ON otc_allocation
    FOR EACH ROW EXECUTE FUNCTION otc_keep_fact('entry_id');
CREATE TRIGGER otc_allocations_stay BEFORE TRUNCATE ON otc_allocation
    FOR EACH STATEMENT EXECUTE FUNCTION otc_keep_fact('entry_id');

CREATE FUNCTION otc_check_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND NOT (TG_TABLE_NAME, OLD.state, NEW.state) IN (
        ('otc_block', 'open', 'working'), ('otc_block', 'open', 'done'), ('otc_block', 'working', 'done'),
        ('otc_rfq', 'open', 'quoted'), ('otc_rfq', 'open', 'expired'), ('otc_rfq', 'open', 'cancelled'),
        ('otc_rfq', 'quoted', 'accepted'), ('otc_rfq', 'quoted', 'expired'), ('otc_rfq', 'quoted', 'cancelled'),
        ('otc_quote', 'asked', 'live'), ('otc_quote', 'asked', 'refused'), ('otc_quote', 'asked', 'expired'),
        ('otc_quote', 'live', 'accepting'), ('otc_quote', 'live', 'expired'),
        ('otc_quote', 'accepting', 'accepted'), ('otc_quote', 'accepting', 'rejected'),
        ('otc_settlement', 'instructed', 'settled'), ('otc_settlement', 'instructed', 'failed'),
        ('otc_settlement', 'failed', 'instructed')
    ) THEN
        RAISE EXCEPTION '% can not go from % to %', TG_TABLE_NAME, OLD.state, NEW.state USING ERRCODE = 'OT006';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER otc_block_step BEFORE UPDATE ON otc_block FOR EACH ROW EXECUTE FUNCTION otc_check_step();
CREATE TRIGGER otc_rfq_step BEFORE UPDATE ON otc_rfq FOR EACH ROW EXECUTE FUNCTION otc_check_step();
CREATE TRIGGER otc_quote_step BEFORE UPDATE ON otc_quote FOR EACH ROW EXECUTE FUNCTION otc_check_step();
CREATE TRIGGER otc_settlement_step BEFORE UPDATE ON otc_settlement FOR EACH ROW EXECUTE FUNCTION otc_check_step();

-- What a dealer bid stays as it was bid.
CREATE FUNCTION otc_keep_bid() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.price IS NOT NULL AND (NEW.price, NEW.quantity) IS DISTINCT FROM (OLD.price, OLD.quantity)
       OR NEW.client_order_id <> OLD.client_order_id THEN
        RAISE EXCEPTION 'a bid stays as it was made' USING ERRCODE = 'OT007';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER otc_quote_bid BEFORE UPDATE ON otc_quote FOR EACH ROW EXECUTE FUNCTION otc_keep_bid();
"""

UNGUARD = """
DROP TRIGGER otc_quote_bid ON otc_quote;
DROP TRIGGER otc_settlement_step ON otc_settlement;
DROP TRIGGER otc_quote_step ON otc_quote;
DROP TRIGGER otc_rfq_step ON otc_rfq;
DROP TRIGGER otc_block_step ON otc_block;
DROP TRIGGER otc_allocations_stay ON otc_allocation;
DROP TRIGGER otc_allocation_stays ON otc_allocation;
DROP TRIGGER otc_fills_stay ON otc_fill;
DROP TRIGGER otc_fill_stays ON otc_fill;
DROP TRIGGER otc_allocations_sum_up ON otc_allocation;
DROP TRIGGER otc_fill_shared_out ON otc_fill;
DROP TRIGGER otc_quote_count ON otc_quote;
DROP TRIGGER otc_commitment_count ON otc_commitment;
DROP TRIGGER otc_part_count ON otc_blockorder;
DROP TRIGGER otc_block_count ON otc_block;
DROP TRIGGER otc_allocation_counts ON otc_allocation;
DROP TRIGGER otc_fill_counts ON otc_fill;
DROP FUNCTION otc_keep_bid(), otc_check_step(), otc_keep_fact(), otc_check_allocation_total(),
    otc_check_shared_out(), otc_refuse_hand_count(), otc_count_allocation(), otc_count_fill();
"""

# `app` changes what lives and only adds to what is a fact. Nothing of otc is ever deleted.
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE ON
            otc_dealer, otc_block, otc_blockorder, otc_rfq, otc_quote, otc_commitment, otc_settlement TO app;
        GRANT SELECT, INSERT, UPDATE (settled_at) ON otc_fill TO app;
        GRANT SELECT, INSERT, UPDATE (entry_id) ON otc_allocation TO app;
        GRANT SELECT, INSERT ON otc_throttledecision TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("otc", "0001_initial")]

    operations = [
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
