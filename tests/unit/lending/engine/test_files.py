"""What a file is, by its bytes alone."""

import pytest

from lending.engine.files import JPEG, PDF, PNG, content_type

PNG_HEAD, PNG_TAIL = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"\x00\x00\x00\x00IEND\xaeB`\x82"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%PDF-1.7\n1 0 obj\n%%EOF\n", PDF),
        (b"%PDF-1.4" + b" " * 5000 + b"%%EOF" + b"\n" * 900, PDF),
        (PNG_HEAD + b"pixels" + PNG_TAIL, PNG),
        (b"\xff\xd8\xff\xe0JFIF\xff\xd9", JPEG),
        (b"", None),
        (b"%PDF-1.7 cut off", None),
        (b"<html>%PDF-1.7 %%EOF", None),
        (b"%PDF-1.4 %%EOF" + b"<script>" * 500, None),
        (PNG_HEAD + b"<script>alert(1)</script>", None),
        (b"\xff\xd8\xff<?php", None),
        (b"GIF89a", None),
        (b"PK\x03\x04", None),
        (b"<svg onload='alert(1)'/>", None),
    ],
)
def test_a_file_is_what_it_begins_and_ends_as(content: bytes, kind: str | None) -> None:
    assert content_type(content) == kind
