from django.db import migrations

# A person who is a client themself signs by the address that their approved case names; until now nothing had named
# one, and who acted for them signed. Where that is one person it stays theirs; where it is more, a review says who.
NAME_THEM = """
ALTER TABLE lending_relatedparty DISABLE TRIGGER lending_relatedparty_in_open_case;
INSERT INTO lending_relatedparty (case_id, client_id, person, name, country, email, is_director, is_signer)
SELECT kyc.id, client.id, gen_random_uuid(), client.name, client.jurisdiction, min(person.email), false, true
  FROM lending_kyccase kyc
  JOIN lending_client client ON client.id = kyc.client_id
  JOIN lending_clientuser acting ON acting.client_id = client.id AND acting.role = 'borrower_admin'
  JOIN lending_user person ON person.id = acting.user_id AND person.is_active
 WHERE kyc.state = 'approved' AND client.kind = 'individual'
   AND NOT EXISTS (SELECT FROM lending_relatedparty known WHERE known.case_id = kyc.id AND known.is_signer)
   AND NOT EXISTS (SELECT FROM lending_signingrule rule WHERE rule.case_id = kyc.id)
 GROUP BY kyc.id, client.id
HAVING count(*) = 1;
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE lending_relatedparty ENABLE TRIGGER lending_relatedparty_in_open_case;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("lending", "0051_checklists"),
    ]

    operations = [
        migrations.RunSQL(NAME_THEM, migrations.RunSQL.noop),
    ]
