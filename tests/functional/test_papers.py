"""Papers of clients: taken in by their content, handed out as files and to nobody else."""

from collections.abc import Iterator

import pytest
import time_machine
from django.test import Client as Browser

from deploy.demo import onboarded
from lending.models import AuditRecord, ChecklistItem, Client, Document
from tests.cast import NOW, Cast
from tests.functional.test_onboarding import LATER, PDF, at, file, registered


@pytest.fixture(autouse=True)
def _a_bit_later(cast: Cast) -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        onboarded.rules(by=cast.cora, second=cast.rolf, now=NOW)
        yield


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("virus.pdf", b"MZ\x90\x00 this is no paper", "the file is no PDF, PNG or JPEG"),
        ("page.pdf", b"<html><script>alert(1)</script></html>", "the file is no PDF, PNG or JPEG"),
        ("cut.pdf", b"%PDF-1.7\n half of it", "the file is no PDF, PNG or JPEG"),
        ("both.png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR<script>", "the file is no PDF, PNG or JPEG"),
        ("empty.pdf", b"", "The submitted file is empty"),
        ("big.pdf", b"%PDF-" + b"x" * 2**20 + b"%%EOF", "the file is larger than 1 MB"),
    ],
)
def test_files_that_are_not_taken_in(
    cast: Cast, client: Browser, settings, name: str, content: bytes, says: str
) -> None:
    settings.LENDING_DOCUMENT_MAX_BYTES = 2**20
    client.force_login(cast.robin)
    drydock = registered(client)
    client.post(at(drydock, "review/"), {"act": "open", "back": "documents"})
    item = ChecklistItem.objects.get(code="ownership-chart")
    answer = client.post(
        at(drydock, "documents/"), {"act": "paper", "item": item.pk, "person": "", "paper": file(name, content)}
    )
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert not Document.objects.filter(client=drydock).exists()


def test_a_paper_is_handed_out_as_a_file_and_to_nobody_else(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    drydock = registered(client)
    client.post(at(drydock, "review/"), {"act": "open", "back": "documents"})
    item = ChecklistItem.objects.get(code="ownership-chart")
    name = '..\\..\\etc/pass"wd<script>.html'
    client.post(at(drydock, "documents/"), {"act": "paper", "item": item.pk, "person": "", "paper": file(name)})
    paper = Document.objects.get(client=drydock)
    address = f"/admin/documents/{paper.public_id}/"
    answer = client.get(address)
    assert answer.content == PDF
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"] == f'attachment; filename="{paper.name}"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert paper.name.endswith(".pdf")
    assert not set(paper.name) & set('"<>/\\')
    assert paper.file.content_type == "application/pdf"
    assert AuditRecord.objects.get(action="document_read").actor == cast.robin
    Client.objects.filter(pk=drydock.pk).update(relationship_manager=cast.quayside.relationship_manager)
    assert client.get(address).status_code == 404
    for who, status in (("dana", 403), ("alice", 302), ("cora", 200)):
        client.force_login(getattr(cast, who))
        assert client.get(address).status_code == status
