"""What the database itself refuses: older fences, changed evidence, undeclared steps, sales that grow."""

from django.db import migrations

GUARDS = """
CREATE FUNCTION risk_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: these rows are evidence', TG_OP, TG_TABLE_NAME USING ERRCODE = 'RK001';
END $$;

CREATE TRIGGER risk_pricesnapshot_is_final BEFORE UPDATE OR DELETE ON risk_pricesnapshot
    FOR EACH ROW EXECUTE FUNCTION risk_refuse_change();
CREATE TRIGGER risk_pricesnapshot_stays BEFORE TRUNCATE ON risk_pricesnapshot
    FOR EACH STATEMENT EXECUTE FUNCTION risk_refuse_change();
CREATE TRIGGER risk_callevent_is_final BEFORE UPDATE OR DELETE ON risk_callevent
    FOR EACH ROW EXECUTE FUNCTION risk_refuse_change();
CREATE TRIGGER risk_callevent_stays BEFORE TRUNCATE ON risk_callevent
    FOR EACH STATEMENT EXECUTE FUNCTION risk_refuse_change();
CREATE TRIGGER risk_salecause_stays BEFORE DELETE ON risk_salecause
    FOR EACH ROW EXECUTE FUNCTION risk_refuse_change();

-- A marker whose lease was taken over may finish its arithmetic, but not write it.
CREATE FUNCTION risk_refuse_older_fence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.fence < OLD.fence THEN
        RAISE EXCEPTION 'fence % is older than %', NEW.fence, OLD.fence USING ERRCODE = 'RK002';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER risk_marginstatus_fence BEFORE UPDATE ON risk_marginstatus
    FOR EACH ROW EXECUTE FUNCTION risk_refuse_older_fence();
CREATE TRIGGER risk_shardlease_fence BEFORE UPDATE ON risk_shardlease
    FOR EACH ROW EXECUTE FUNCTION risk_refuse_older_fence();

CREATE FUNCTION risk_check_call_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND NOT (OLD.state, NEW.state) IN (
        ('issued', 'notified'), ('issued', 'acknowledged'), ('issued', 'partially_cured'), ('issued', 'cured'),
        ('issued', 'cured_by_market'), ('issued', 'liquidating'), ('issued', 'waived'), ('issued', 'withdrawn'),
        ('notified', 'acknowledged'), ('notified', 'partially_cured'), ('notified', 'cured'),
        ('notified', 'cured_by_market'), ('notified', 'expired'), ('notified', 'liquidating'),
        ('notified', 'waived'), ('notified', 'withdrawn'),
        ('acknowledged', 'partially_cured'), ('acknowledged', 'cured'), ('acknowledged', 'cured_by_market'),
        ('acknowledged', 'expired'), ('acknowledged', 'liquidating'), ('acknowledged', 'waived'),
        ('acknowledged', 'withdrawn'),
        ('partially_cured', 'cured'), ('partially_cured', 'cured_by_market'), ('partially_cured', 'expired'),
        ('partially_cured', 'liquidating'), ('partially_cured', 'waived'), ('partially_cured', 'withdrawn'),
        ('expired', 'liquidating'), ('expired', 'liquidated'), ('expired', 'cured'), ('expired', 'cured_by_market'), ('expired', 'waived'),
        ('liquidating', 'liquidated'), ('liquidating', 'cured'), ('liquidating', 'cured_by_market'),
        ('cured_by_market', 'issued')
    ) THEN
        RAISE EXCEPTION 'a margin call can not go from % to %', OLD.state, NEW.state USING ERRCODE = 'RK003';
    END IF;
    IF NEW.margin_account_id <> OLD.margin_account_id OR NEW.episode <> OLD.episode THEN
        RAISE EXCEPTION 'a margin call keeps its account and episode' USING ERRCODE = 'RK003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER risk_margincall_step BEFORE UPDATE ON risk_margincall
    FOR EACH ROW EXECUTE FUNCTION risk_check_call_step();

-- A cause is closed once; what it says of the sale never changes.
CREATE FUNCTION risk_check_cause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.closed_at IS NOT NULL
       OR (to_jsonb(NEW) - 'closed_at' - 'outcome') <> (to_jsonb(OLD) - 'closed_at' - 'outcome') THEN
        RAISE EXCEPTION 'a declared cause of sale can only be closed, once' USING ERRCODE = 'RK004';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER risk_salecause_final BEFORE UPDATE ON risk_salecause
    FOR EACH ROW EXECUTE FUNCTION risk_check_cause();

CREATE FUNCTION risk_check_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state IN ('filled', 'cancelled', 'failed') AND NEW.state <> OLD.state THEN
        RAISE EXCEPTION 'a closed order stays closed' USING ERRCODE = 'RK005';
    END IF;
    IF NEW.quantity <> OLD.quantity OR NEW.asset_id <> OLD.asset_id OR NEW.cause_id <> OLD.cause_id
       OR NEW.margin_account_id <> OLD.margin_account_id THEN
        RAISE EXCEPTION 'what was ordered, and why, never changes' USING ERRCODE = 'RK005';
    END IF;
    IF NEW.filled_quantity < OLD.filled_quantity OR NEW.cancelled_quantity < OLD.cancelled_quantity
       OR NEW.proceeds < OLD.proceeds THEN
        RAISE EXCEPTION 'totals of an order only grow' USING ERRCODE = 'RK005';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER risk_liquidationorder_step BEFORE UPDATE ON risk_liquidationorder
    FOR EACH ROW EXECUTE FUNCTION risk_check_order();
"""

UNGUARD = """
DROP TRIGGER risk_liquidationorder_step ON risk_liquidationorder;
DROP TRIGGER risk_salecause_final ON risk_salecause;
DROP TRIGGER risk_margincall_step ON risk_margincall;
DROP TRIGGER risk_shardlease_fence ON risk_shardlease;
DROP TRIGGER risk_marginstatus_fence ON risk_marginstatus;
DROP TRIGGER risk_salecause_stays ON risk_salecause;
DROP TRIGGER risk_callevent_stays ON risk_callevent;
DROP TRIGGER risk_callevent_is_final ON risk_callevent;
DROP TRIGGER risk_pricesnapshot_stays ON risk_pricesnapshot;
DROP TRIGGER risk_pricesnapshot_is_final ON risk_pricesnapshot;
DROP FUNCTION risk_check_order(), risk_check_cause(), risk_check_call_step(), risk_refuse_older_fence(),
    risk_refuse_change();
"""

# `app` reads everything, changes what lives, and only adds to what is evidence. Nothing of risk is ever deleted.
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE ON
            risk_source, risk_pricefeed, risk_rejectedticks, risk_assetpolicy, risk_mark, risk_markminute,
            risk_assetoutage, risk_marginstatus, risk_shardlease, risk_margincall, risk_collateralcure,
            risk_liquidationorder, risk_incident, risk_decisionlog TO app;
        GRANT SELECT, INSERT ON risk_tick, risk_pricesnapshot, risk_callevent TO app;
        GRANT SELECT, INSERT, UPDATE (closed_at, outcome) ON risk_salecause TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("risk", "0001_initial")]

    operations = [
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
