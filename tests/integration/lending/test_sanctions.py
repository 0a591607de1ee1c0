"""Sanctions lists are taken whole or not at all, each version kept; the database keeps what was said."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from lending import access, list_files, sanctions
from lending.list_files import bounds
from lending.models import (
    AuditRecord,
    Event,
    Role,
    SanctionsEntry,
    SanctionsFile,
    SanctionsList,
    SanctionsName,
    SanctionsUpload,
    SanctionsVersion,
    User,
)
from tests import bad_input
from tests.factories import list_files as made
from tests.factories.lending import NOW, staff

pytestmark = pytest.mark.django_db
DAY = date(2021, 5, 18)


class File(BytesIO):
    """A file that is sent in."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text.encode())
        self.name = name


def ofac(sdn: str = made.SDN_CSV, alt: str = made.ALT_CSV, add: str = made.ADD_CSV) -> list[File]:
    return [File("sdn.csv", sdn), File("alt.csv", alt), File("add.csv", add)]


@pytest.fixture
def cora() -> User:
    return staff("cora", Role.COMPLIANCE)


@pytest.fixture
def sdn() -> SanctionsList:
    return SanctionsList.objects.get(code="ofac-sdn")


Send = Callable[..., SanctionsUpload]


@pytest.fixture
def send(cora: User, sdn: SanctionsList) -> Send:
    """Send files in and take them in, and return the upload as it ended."""

    def sent(files: Sequence[File], *, published: date | None = DAY, confirmed: bool = False) -> SanctionsUpload:
        upload = sanctions.receive(sdn, files, published_on=published, confirmed=confirmed, by=cora, now=NOW)
        assert sanctions.take_in_due(now=NOW) == 1
        upload.refresh_from_db()
        return upload

    return sent


def test_a_version_is_kept_with_all_that_it_came_from(send: Send, cora: User, sdn: SanctionsList) -> None:
    upload = send(ofac())
    version = sanctions.current(sdn)
    assert version is not None
    assert upload.state == "taken"
    assert (version.number, version.published_on, version.imported_by) == (1, DAY, cora)
    assert (version.entries, version.names) == (3, 6)
    assert (version.added, version.changed, version.removed) == (3, 0, 0)
    assert len(version.sha256) == 64
    assert [row.name for row in upload.files.order_by("pk")] == ["add.csv", "alt.csv", "sdn.csv"]
    kept = upload.files.get(name="sdn.csv")
    assert (kept.size, sanctions._stream(bytes(kept.content)).read()) == (
        len(made.SDN_CSV.encode()),
        made.SDN_CSV.encode(),
    )
    assert AuditRecord.objects.filter(action="sanctions_list_imported", actor=cora).count() == 1
    assert Event.objects.get(stream="compliance", kind="list_imported").payload["added"] == 3
    assert sanctions.take_in_due(now=NOW) == 0


def test_the_next_version_says_what_changed_and_the_first_can_be_read_again(send: Send, sdn: SanctionsList) -> None:
    send(ofac())
    lines = made.SDN_CSV.splitlines(keepends=True)
    moved = lines[1].replace("GLASS HERON SHIPPING LTD.", "GLASS HERON MARITIME LTD.")
    new = made.sdn_csv((104, "OCHRE MILL", ""))
    send(ofac(sdn=lines[0] + moved + new, add="".join(made.ADD_CSV.splitlines(keepends=True)[:2])))
    version = sanctions.current(sdn)
    assert version is not None
    assert (version.number, version.added, version.changed, version.removed) == (2, 1, 1, 1)
    now_on_it = SanctionsEntry.objects.filter(closed_by=None).order_by("ref")
    assert [row.name for row in now_on_it] == ["VELTHORN, Aurelio Pasco", "GLASS HERON MARITIME LTD.", "OCHRE MILL"]
    before = SanctionsEntry.objects.filter(opened_by__number=1).order_by("ref")
    assert [row.name for row in before] == ["VELTHORN, Aurelio Pasco", "GLASS HERON SHIPPING LTD.", "HERON'S NEST"]
    assert [row.closed_by_id for row in before] == [None, version.pk, version.pk]


def test_the_same_files_are_no_new_version(send: Send) -> None:
    send(ofac())
    with pytest.raises(sanctions.UnableToImport, match="these files are version 1, which stands already"):
        send(ofac())


def test_a_bad_line_leaves_the_list_as_it_was(send: Send, sdn: SanctionsList) -> None:
    send(ofac())
    broken = send(ofac(sdn=made.SDN_CSV.replace('"individual"', '"somebody"')))
    assert broken.state == "refused"
    assert broken.refusal.endswith("can not be taken, so nothing of the list is")
    assert broken.problems[0] == "sdn.csv, line 1: 'somebody' is no kind of entry; individual, vessel and aircraft are"
    assert SanctionsVersion.objects.filter(watchlist=sdn).count() == 1
    assert SanctionsEntry.objects.filter(closed_by=None).count() == 3
    assert AuditRecord.objects.filter(action="sanctions_list_refused").count() == 1


def test_what_no_check_foresaw_ends_its_own_upload_and_no_other(
    cora: User, sdn: SanctionsList, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, read_once = list_files.read, []

    def stumbles(*asked: Any) -> list_files.Reading:
        read_once.append(asked)
        if len(read_once) == 1:
            raise KeyError("a column that nobody thought of")
        return read(*asked)

    monkeypatch.setattr(list_files, "read", stumbles)
    for files in (ofac(), ofac(sdn=made.SDN_CSV.replace("GLASS HERON", "GREY HERON"))):
        sanctions.receive(sdn, files, published_on=DAY, confirmed=False, by=cora, now=NOW)
    assert sanctions.take_in_due(now=NOW) == 2
    bad, good = SanctionsUpload.objects.order_by("pk")
    assert (bad.state, good.state) == ("refused", "taken")
    assert bad.refusal == "a part of it could not be read (KeyError): send it to who keeps this platform"
    version = sanctions.current(sdn)
    assert version is not None
    assert (version.number, version.upload) == (1, good)


def test_what_can_not_be_a_version_is_not_kept(cora: User, sdn: SanctionsList) -> None:
    bad: dict[str, tuple[Sequence[File], date | None]] = {
        "no file": ([], DAY),
        "an empty file": ([File("sdn.csv", "")], DAY),
        "no day, where the files say none": (ofac(), None),
        "another publisher's list": ([File("eu.csv", made.EU_CSV)], DAY),
        "notes": ([File("notes.txt", "hello")], DAY),
    }
    read = {}
    for case, (files, published) in bad.items():
        with pytest.raises(sanctions.UnableToImport) as refusal:
            sanctions.receive(sdn, files, published_on=published, confirmed=False, by=cora, now=NOW)
        read[case] = [str(refusal.value)]
    bad_input.stands(bad_input.IMPORTS, "Sanctions lists: what is sent in", read)
    assert not SanctionsUpload.objects.exists()


def test_a_file_beyond_measure_is_not_kept(cora: User, sdn: SanctionsList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanctions, "LARGEST", 100)
    with pytest.raises(sanctions.UnableToImport, match=r"add\.csv is larger than 0 MB"):
        sanctions.receive(sdn, ofac(), published_on=DAY, confirmed=False, by=cora, now=NOW)
    assert not SanctionsFile.objects.exists()
    assert bounds.LARGEST > 100 * 1024 * 1024


def test_only_compliance_brings_a_list_in(sdn: SanctionsList) -> None:
    with pytest.raises(access.UnableToAccess, match="does not hold the role compliance"):
        sanctions.receive(sdn, ofac(), published_on=DAY, confirmed=False, by=staff("hugo", Role.RISK_HEAD), now=NOW)


def long_list(size: int) -> list[File]:
    return ofac(
        sdn=made.sdn_csv(*((ref, f"INVENTED {ref}", "") for ref in range(1, size + 1))),
        alt='1,1,"aka","X",-0-\n',
        add="1,1,-0-,-0-,-0-,-0-\n",
    )


def test_an_older_or_much_shorter_list_is_taken_only_as_meant(send: Send, sdn: SanctionsList) -> None:
    send(long_list(30))
    older = send(long_list(31), published=DAY - timedelta(days=1))
    assert "was published on 2021-05-17, before what stands" in older.refusal
    cut = send(long_list(20))
    assert "it would take 10 of 30 entries off the list and leave 20" in cut.refusal
    assert send(long_list(20), confirmed=True).state == "taken"
    assert send(long_list(17)).state == "taken", "a few may go without a second look"
    version = sanctions.current(sdn)
    assert version is not None
    assert (version.number, version.entries, version.removed) == (3, 17, 3)


def test_both_forms_of_a_list_leave_the_same_names(send: Send) -> None:
    send(ofac())
    csv = set(SanctionsName.objects.filter(entry__ref="101").values_list("name", "weak"))
    assert send([File("sdn.xml", made.SDN_XML)], confirmed=True).state == "taken"
    one = SanctionsEntry.objects.get(ref="101", closed_by=None)
    assert set(one.aliases.values_list("name", "weak")) == csv
    other = SanctionsEntry.objects.exclude(pk=one.pk).get(ref="101")
    assert one.identity == other.identity


def refusal_of(sql: str) -> str:
    with pytest.raises(DatabaseError) as refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    return str(refused.value)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("UPDATE lending_sanctionsentry SET name = 'NOBODY'", "permission denied"),
        ("UPDATE lending_sanctionsentry SET closed_by_id = opened_by_id", "sanctions_entry_closed_later"),
        ("DELETE FROM lending_sanctionsentry", "permission denied"),
        ("DELETE FROM lending_sanctionsname", "permission denied"),
        ("UPDATE lending_sanctionsname SET name = 'NOBODY'", "permission denied"),
        ("UPDATE lending_sanctionsversion SET sha256 = ''", "permission denied"),
        ("UPDATE lending_sanctionsfile SET content = ''", "permission denied"),
        ("UPDATE lending_sanctionslist SET name = 'Another'", "is refused: what was written stays"),
        ("UPDATE lending_sanctionsupload SET state = 'waiting'", "stays as it is"),
        ("UPDATE lending_sanctionsupload SET sha256 = ''", "permission denied"),
    ],
)
def test_the_database_keeps_what_a_list_said(send: Send, sql: str, says: str) -> None:
    send(ofac())
    assert says in refusal_of(sql)


def test_the_command_takes_a_list_in_and_names_what_is_wrong(
    cora: User, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in ofac():
        (tmp_path / file.name).write_bytes(file.getvalue())
    paths = [str(tmp_path / name) for name in ("sdn.csv", "alt.csv", "add.csv")]
    by = ["--by", cora.email]
    call_command("import_sanctions", "ofac-sdn", *paths, *by, "--published", "2021-05-18")
    assert (
        "version 1, published 2021-05-18: 3 entries with 6 names; 3 added, 0 changed, 0 removed"
        in capsys.readouterr().out
    )
    (tmp_path / "alt.csv").write_text('999,1,"aka","NOBODY",-0-\n')
    bad = {
        "a line that is wrong": ["ofac-sdn", *paths, *by, "--published", "2021-05-18"],
        "no day, where the files say none": ["ofac-sdn", *paths, *by],
        "published “soon”": ["ofac-sdn", *paths, *by, "--published", "soon"],
        "a list that nobody knows": ["un", *paths, *by],
        "somebody whom nobody knows": ["ofac-sdn", *paths, "--by", "nobody@x.example"],
        "a file that is not there": ["ofac-sdn", str(tmp_path / "gone.csv"), *by],
    }
    read = {}
    for case, arguments in bad.items():
        with pytest.raises(CommandError) as refusal:
            call_command("import_sanctions", *arguments)
        read[case] = str(refusal.value).splitlines()
    bad_input.stands(bad_input.COMMANDS, "import_sanctions", read)
