"""A relationship manager brings in a table of clients: tried first, every error by its row, then all or none."""

import re
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client as Browser

from lending import access, csv_tables, intake
from lending.models import AuditRecord, Client, Role
from tests import bad_input
from tests.cast import NOW, Cast
from tests.factories import lending as make

PAGE = "/admin/onboarding/import/"
NOBODY = AnonymousUser()
GOOD = (
    "Name;Kind;Jurisdiction;Time zone;Source;Geography;Expected size USD;Classification\r\n"
    "Drydock Partners;Entity;ch;Europe/Zurich;referral;Europe;2500000.50;professional\r\n"
    ";;;;;;;\r\n"
    '"Keel; Dora";individual;SG;;;;;\r\n'
)


def table(*rows: str) -> str:
    return "\n".join(("name,kind,jurisdiction,time_zone,expected_size_usd,source", *rows))


@pytest.mark.django_db
def test_a_table_is_read_as_it_is_written() -> None:
    trial = intake.check(GOOD, manager=NOBODY)
    assert trial.problems == []
    first, second = trial.clients
    assert first == {
        "name": "Drydock Partners", "kind": "entity", "jurisdiction": "CH", "time_zone": "Europe/Zurich",
        "source": "referral", "geography": "europe", "expected_size_usd": Decimal("2500000.50"),
        "classification": "professional",
    }  # fmt: skip
    assert (second["name"], second["time_zone"], second["expected_size_usd"]) == ("Keel; Dora", "UTC", None)


BAD_ROWS = {
    "no name": ",entity,CH,,,",
    "a name of 161 letters": f"{'x' * 161},entity,CH,,,",
    "a name with a bell in it": "Dry\x07dock,entity,CH,,,",
    "no kind": "Drydock,,CH,,,",
    "kind “firm”": "Drydock,firm,CH,,,",
    "no jurisdiction": "Drydock,entity,,,,",
    "jurisdiction “4X”": "Drydock,entity,4X,,,",
    "jurisdiction “ZZ”": "Drydock,entity,ZZ,,,",
    "time zone “Zurich”": "Drydock,entity,CH,Zurich,,",
    "size “a lot”": "Drydock,entity,CH,,a lot,",
    "size “NaN”": "Drydock,entity,CH,,NaN,",
    "size “1e30”": "Drydock,entity,CH,,1e30,",
    "size “-5”": "Drydock,entity,CH,,-5,",
    "size “1.005”": "Drydock,entity,CH,,1.005,",
    "source “friend”": "Drydock,entity,CH,,,friend",
    "a cell too few": "Drydock,entity,CH,,",
    "two cells too many": "Drydock,entity,CH,,,,,",
    "a client that there is, in other letters": "HARBOURSIDE  trading,entity,GB,,,",
    "the same client twice": "Drydock,entity,CH,,,\n\ndrydock,entity,ch,,,",
}
BAD_FILES = {
    "an empty file": b"",
    "a column too few": b"name,kind\nDrydock,entity",
    "a column that is not known": b"name,kind,jurisdiction,colour\n",
    "a column twice": b"name,kind,jurisdiction,name\n",
    "no row": b"name,kind,jurisdiction\n\n",
    "a quote that is never closed": b'name,kind,jurisdiction\n"Drydock,entity,CH\n',
    "2,001 rows": b"name,kind,jurisdiction\n" + b"Drydock,entity,CH\n" * 2001,
    "no UTF-8": b"name\xff",
    "a NUL": b"name,kind\0",
    "500,001 bytes": b"x" * 500_001,
}


def test_every_error_is_named_by_its_row(cast: Cast) -> None:
    read = {
        case: [str(problem) for problem in intake.check(table(row), manager=cast.robin).problems]
        for case, row in BAD_ROWS.items()
    }
    assert {case: len(words) for case, words in read.items()} == dict.fromkeys(BAD_ROWS, 1)
    bad_input.stands(bad_input.IMPORTS, "Clients, CSV: a row", read)


@pytest.mark.django_db
def test_what_is_no_table_of_clients_is_refused() -> None:
    read = {}
    for case, content in BAD_FILES.items():
        with pytest.raises(csv_tables.UnableToRead) as refusal:
            intake.check(csv_tables.text_of(content), manager=NOBODY)
        read[case] = [str(refusal.value)]
    bad_input.stands(bad_input.IMPORTS, "Clients, CSV: the file", read)


def test_whose_client_somebody_is_shows_to_who_sees_them_alone(cast: Cast, client: Browser) -> None:
    rosa = make.staff("rosa", Role.RELATIONSHIP_MANAGER)
    known, other = "Harbourside Trading,entity,GB,,,", "Drydock,entity,CH,,,"
    client.force_login(rosa)
    page = client.post(PAGE, {"act": "try", "table": table(known, other)}).content.decode()
    assert "Harbourside Trading in GB needs a look by compliance first: ask them" in page
    for told in ("client already", "Robin", cast.robin.email):
        assert told not in page
    with pytest.raises(intake.UnableToTakeOn, match="nobody was taken on: 1 error"):
        intake.take_on(table(known, other), manager=rosa, now=NOW)
    assert Client.objects.filter(name__iexact="harbourside trading").count() == 1


@pytest.mark.django_db
def test_all_errors_of_all_rows_are_named() -> None:
    rows = ("Drydock,firm,4X,Zurich,much,friend", "Sound,entity,NO,,,", ",,,,,", ",entity,NO,,,")
    trial = intake.check(table(*rows), manager=NOBODY)
    found = [(problem.row, problem.column) for problem in trial.problems]
    assert found == [
        (2, "kind"), (2, "source"), (2, "jurisdiction"), (2, "time_zone"), (2, "expected_size_usd"), (5, "name"),
    ]  # fmt: skip
    assert len(trial.clients) == 3


def test_a_file_is_tried_mended_in_place_and_taken_on(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    file = SimpleUploadedFile("c.csv", b"\xef\xbb\xbf" + table("Drydock,firm,CH,,,", "Sound,entity,NO,,,").encode())
    answer = client.post(PAGE, {"act": "try", "file": file})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "1 error in 2 clients" in page
    assert "&#x27;firm&#x27; is none of individual, entity" in page
    assert "Drydock,firm,CH" in page, "what was read stands in the form"
    assert "take_on" not in page
    refused = client.post(PAGE, {"act": "take_on", "table": table("Drydock,firm,CH,,,", "Sound,entity,NO,,,")})
    assert "nobody was taken on: 1 error" in refused.content.decode()
    assert not Client.objects.filter(name="Sound").exists()
    mended = table("Drydock,entity,CH,,2500000,", "Sound,entity,NO,,,")
    answer = client.post(PAGE, {"act": "try", "table": mended})
    assert answer.status_code == 200
    assert "2 clients, no error" in answer.content.decode()
    assert not Client.objects.filter(name="Sound").exists()
    board = client.post(PAGE, {"act": "take_on", "table": mended}, follow=True).content.decode()
    assert "2 clients are registered" in board
    made = Client.objects.get(name="Drydock")
    assert (made.stage, made.relationship_manager, made.expected_size_usd) == ("prospect", cast.robin, 2_500_000)
    assert made.relationship_periods.get().user == cast.robin
    assert AuditRecord.objects.filter(action="client_registered").count() == 2
    again = client.post(PAGE, {"act": "take_on", "table": mended})
    assert "nobody was taken on: 2 errors" in again.content.decode()
    assert Client.objects.filter(name="Drydock").count() == 1


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"act": "try"}, "Choose a file, or write the table down"),
        ({"act": "try", "file": SimpleUploadedFile("c.csv", b"\xff\xfe")}, "no text in UTF-8"),
        ({"act": "try", "file": SimpleUploadedFile("c.csv", b"")}, "Choose a file, or write the table down"),
        ({"act": "try", "table": "name\nDrydock"}, "does not name kind, jurisdiction"),
    ],
)
def test_the_page_says_what_it_can_not_read(cast: Cast, client: Browser, sent: dict[str, object], says: str) -> None:
    client.force_login(cast.robin)
    answer = client.post(PAGE, sent)
    assert answer.status_code == 422
    assert says in answer.content.decode()


def test_only_a_relationship_manager_brings_clients_in(cast: Cast, client: Browser) -> None:
    with pytest.raises(access.UnableToAccess):
        intake.take_on(table("Drydock,entity,CH,,,"), manager=cast.olga, now=NOW)
    client.force_login(cast.olga)
    assert client.post(PAGE, {"act": "take_on", "table": table("Drydock,entity,CH,,,")}).status_code == 403
    assert not Client.objects.filter(name="Drydock").exists()
    client.force_login(cast.robin)
    assert PAGE in client.get("/admin/pipeline/").content.decode()


def run(file: Path, *options: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("import_clients", str(file), *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_command_tries_and_takes_on(cast: Cast, tmp_path: Path) -> None:
    file, robin = tmp_path / "clients.csv", ("--manager", cast.robin.email)
    file.write_text(table("Drydock,firm,CH,,,", "Sound,entity,4X,,,"))
    out, err = run(file, *robin, "--dry-run")
    assert re.findall(r"row \d, \w+", err) == ["row 2, kind", "row 3, jurisdiction"]
    assert "2 clients read, 2 errors; nobody was taken on" in out
    with pytest.raises(CommandError, match="nobody was taken on: 2 errors"):
        run(file, *robin)
    file.write_text(table("Drydock,entity,CH,,,", "Sound,entity,NO,,,"))
    assert "0 errors" in run(file, *robin, "--dry-run")[0]
    assert not Client.objects.filter(name="Sound").exists()
    assert "2 clients are prospects of" in run(file, *robin)[0]
    assert Client.objects.get(name="Sound").relationship_manager == cast.robin


def test_the_command_says_what_it_can_not_do(cast: Cast, tmp_path: Path) -> None:
    (tmp_path / "clients.csv").write_text(table("Drydock,entity,CH,,,"))
    (tmp_path / "broken.csv").write_bytes(b"\xff")
    (tmp_path / "wrong.csv").write_text(table("Drydock,firm,CH,,,"))
    read = {}
    for case, manager, name in (
        ("a manager whom nobody knows", "nobody@plimsoll.example", "clients.csv"),
        ("a manager who is none", cast.olga.email, "clients.csv"),
        ("a file that is not there", cast.robin.email, "none.csv"),
        ("a file that is no text", cast.robin.email, "broken.csv"),
        ("a row that is wrong", cast.robin.email, "wrong.csv"),
    ):
        with pytest.raises(CommandError) as refusal:
            run(tmp_path / name, "--manager", manager)
        read[case] = [str(refusal.value)]
    bad_input.stands(bad_input.COMMANDS, "import_clients", read)
    assert not Client.objects.filter(name="Drydock").exists()
