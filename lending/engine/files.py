"""What a file from outside is, by its bytes: names and declared types are whatever the sender likes."""

PDF, PNG, JPEG = "application/pdf", "image/png", "image/jpeg"
SUFFIXES = {PDF: ".pdf", PNG: ".png", JPEG: ".jpg"}
_TAIL = 1024


def content_type(content: bytes) -> str | None:
    """
    Return what a file is, None for whatever is not one of the three kinds that papers come in.

    Its beginning and its end are looked at: a file that was cut off, or that begins like a picture and ends as
    something else, is none. Sources: ISO 32000-1, 7.5.2 and 7.5.5; PNG (ISO 15948), 5.2 and
    11.2.5; JPEG (ITU T.81), B.1.1.
    """
    if content.startswith(b"%PDF-") and b"%%EOF" in content[-_TAIL:]:
        return PDF
    if content.startswith(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR") and content.endswith(b"IEND\xaeB`\x82"):
        return PNG
    if content.startswith(b"\xff\xd8\xff") and content.endswith(b"\xff\xd9"):
        return JPEG
    return None
