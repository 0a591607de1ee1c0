"""QR codes as drawings inside the page: no request leaves it, and the content policy has nothing to allow."""

from typing import Any

import segno
from django import template

register = template.Library()

_QUIET = 4  # modules of margin that a reader needs


@register.inclusion_tag("components/qr.html")
def qr(text: str) -> dict[str, Any]:
    """Draw a text as a QR code, dark on light in every theme, because cameras expect it so."""
    rows = segno.make(text, error="m").matrix
    dark = "".join(
        f"M{x + _QUIET} {y + _QUIET}h1v1h-1z" for y, row in enumerate(rows) for x, module in enumerate(row) if module
    )
    return {"side": len(rows) + 2 * _QUIET, "dark": dark, "text": text}
