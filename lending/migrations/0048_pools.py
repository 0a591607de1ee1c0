from django.db import migrations

# What a client has signed says whether its collateral secures one loan or all of its margin account.
GUARDS = """
CREATE FUNCTION lending_keep_account_kind() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a margin account that secures one loan alone never becomes a pool, nor a pool anything else'
        USING ERRCODE = 'LN005', CONSTRAINT = 'margin_account_keeps_its_kind';
END $$;
CREATE TRIGGER lending_marginaccount_keeps_its_kind BEFORE UPDATE OF kind ON lending_marginaccount
    FOR EACH ROW WHEN (OLD.kind IS DISTINCT FROM NEW.kind) EXECUTE FUNCTION lending_keep_account_kind();

CREATE FUNCTION lending_check_alone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM added n
            JOIN lending_marginaccount m ON m.id = n.margin_account_id AND m.kind = 'ring_fenced'
            JOIN lending_loan l ON l.margin_account_id = m.id AND l.state <> 'cancelled'
            GROUP BY m.id HAVING count(DISTINCT l.id) > 1
    ) THEN
        RAISE EXCEPTION 'a margin account that is no pool secures one loan alone'
            USING ERRCODE = 'LN005', CONSTRAINT = 'one_loan_where_ring_fenced';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER lending_loan_alone AFTER INSERT ON lending_loan
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION lending_check_alone();
"""
UNGUARD = """
DROP TRIGGER lending_loan_alone ON lending_loan;
DROP TRIGGER lending_marginaccount_keeps_its_kind ON lending_marginaccount;
DROP FUNCTION lending_check_alone(), lending_keep_account_kind();
"""


class Migration(migrations.Migration):
    dependencies = [("lending", "0047_defaults_dated_back")]

    operations = [migrations.RunSQL(GUARDS, UNGUARD)]
