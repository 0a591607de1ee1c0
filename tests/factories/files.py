"""A client's file in one round trip: what lets a test client borrow, without the papers that nobody reads there."""

import datetime as dt
from collections.abc import Mapping, Sequence

from django.db import connection

from lending.models import Client, SigningRule

_CHECKER, _SECOND = "cora@plimsoll.example", "rolf@plimsoll.example"

# A case is approved by an UPDATE, because the database takes none that is not open at first.
_FILE = """
INSERT INTO lending_user (password, is_superuser, public_id, email, name, phone, is_staff, is_active)
SELECT '', false, gen_random_uuid(), email, initcap(split_part(email, '@', 1)), '', true, true
FROM unnest(%(people)s::text[]) email ON CONFLICT (email) DO NOTHING;

INSERT INTO lending_storedfile (sha256, content, content_type, size)
SELECT sha256('signed'), 'signed', 'application/pdf', 6 WHERE NOT EXISTS (SELECT FROM lending_storedfile);

INSERT INTO lending_agreementversion (code, title, file_id, start_date, published_by_id, published_at)
SELECT 'first', 'Master loan agreement', min(f.id), '2015-01-01', u.id, %(now)s
FROM lending_storedfile f, lending_user u WHERE u.email = %(checker)s AND NOT EXISTS
    (SELECT FROM lending_agreementversion WHERE code = 'first') GROUP BY u.id;

INSERT INTO lending_eligibilityrule (jurisdiction, classification, allowed, reason, start_date, maker_id, checker_id)
SELECT '', '', true, 'Loans to whoever no rule shuts out.', '2015-01-01', u.id, v.id
FROM lending_user u, lending_user v WHERE u.email = %(checker)s AND v.email = %(second)s
    AND NOT EXISTS (SELECT FROM lending_eligibilityrule);

INSERT INTO lending_kyccase (public_id, client_id, state, opened_by_id, opened_at, risk_rating, rating_reason,
    review_date, content)
SELECT gen_random_uuid(), id, 'open', relationship_manager_id, %(now)s, 'low', 'Known.', '2029-12-31', '{}'
FROM lending_client WHERE id = ANY(%(clients)s);

INSERT INTO lending_relatedparty (case_id, client_id, person, name, country, email, is_director, is_signer)
SELECT c.id, c.client_id, gen_random_uuid(), split_part(email, '@', 1), 'GB', email, true, true
FROM unnest(%(signs_for)s::bigint[], %(signers)s::text[]) s (client, email)
JOIN lending_kyccase c ON c.client_id = s.client;

INSERT INTO lending_signingrule (case_id, client_id, action, signatures)
SELECT c.id, c.client_id, a, 1 FROM lending_kyccase c, unnest(%(actions)s::text[]) a
WHERE c.client_id = ANY(%(clients)s);

UPDATE lending_kyccase SET state = 'approved', maker_id = opened_by_id, checker_id = u.id, approved_at = %(now)s
FROM lending_user u WHERE client_id = ANY(%(clients)s) AND u.email = %(checker)s;

INSERT INTO lending_document (public_id, client_id, kind, file_id, name, uploaded_by_id, uploaded_at)
SELECT gen_random_uuid(), id, 'agreement', (SELECT min(id) FROM lending_storedfile), 'agreement.pdf',
    relationship_manager_id, %(now)s
FROM lending_client WHERE id = ANY(%(clients)s);

INSERT INTO lending_signedagreement (client_id, version_id, document_id, signed_by, signed_date, recorded_by_id,
    recorded_at)
SELECT d.client_id, v.id, d.id, 'Its signers', '2020-01-01', d.uploaded_by_id, %(now)s
FROM lending_document d JOIN lending_agreementversion v ON v.code = 'first'
WHERE d.client_id = ANY(%(clients)s) AND d.kind = 'agreement';

UPDATE lending_client SET stage = 'active', classification = 'professional' WHERE id = ANY(%(clients)s);
"""


def complete(signers: Mapping[Client, Sequence[str]], *, now: dt.datetime) -> None:
    """Give clients, each with the e-mail addresses of who signs for it alone, all that the front gate asks for."""
    rows = [(client.pk, email) for client, emails in signers.items() for email in emails]
    values = {
        "clients": [client.pk for client in signers],
        "signs_for": [client for client, _ in rows],
        "signers": [email for _, email in rows],
        "actions": list(SigningRule.Action.values),
        "people": [_CHECKER, _SECOND],
        "checker": _CHECKER,
        "second": _SECOND,
        "now": now,
    }
    with connection.cursor() as cursor:
        cursor.execute(_FILE, values)
    for client in signers:
        client.stage, client.classification = Client.Stage.ACTIVE, Client.Classification.PROFESSIONAL
