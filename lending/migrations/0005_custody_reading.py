from django.db import migrations, models

# Read and moved on by the workers; nothing of it is ever deleted.
GRANTS = """
DO $$
BEGIN
    IF current_user <> 'app' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
        GRANT SELECT, INSERT, UPDATE ON lending_custodyreading TO app;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("lending", "0004_repayment_arrived_at")]

    operations = [
        migrations.CreateModel(
            name="CustodyReading",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("custodian", models.CharField(max_length=40, unique=True)),
                ("read_at", models.DateTimeField()),
            ],
        ),
        migrations.AlterField(
            model_name="deposit",
            name="confirmed_at",
            field=models.DateTimeField(
                help_text="when the custodian saw the confirmation it needed; deadlines are held against it", null=True
            ),
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
