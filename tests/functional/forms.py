"""The forms of a page, as a browser without scripts has them."""

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

_LETS_TYPE = {"text", "search", "email", "url", "tel", "number", "date", "datetime-local", "password"}
_BY_TYPE = {"number": "figure", "date": "day", "datetime-local": "instant", "email": "email", "password": "password"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


@dataclass
class Form:
    """
    One form.

    `values` is what it carries when nothing is touched. `typed` are the fields into which something can be typed, each
    with its kind: text, figure, day, instant, email, password; `chosen` those where one of several is chosen; `files`.
    """

    attributes: dict[str, str]
    values: dict[str, str] = field(default_factory=dict)
    typed: dict[str, str] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)  # each with the first that says something
    files: list[str] = field(default_factory=list)
    buttons: list[str] = field(default_factory=list)
    elsewhere: dict[int, str] = field(default_factory=dict)  # where a button sends it to instead, by its place

    def parted(self) -> "list[Form]":
        """Return the form once for every address that it can be sent to."""
        places = dict.fromkeys(self.elsewhere.get(place, "") for place in range(len(self.buttons))) or {"": None}
        return [
            replace(
                self,
                attributes={**self.attributes, **({"action": address} if address else {})},
                buttons=[name for place, name in enumerate(self.buttons) if self.elsewhere.get(place, "") == address],
                elsewhere={},
            )
            for address in places
        ]

    @property
    def posts(self) -> bool:
        """Return whether it sends what may change something."""
        return self.attributes.get("method", "get").lower() == "post"


class Forms(HTMLParser):
    """
    Reads a page: its forms, what sends something without being in one, and what it says went wrong.

    `alarms` are the words of whatever is announced at once, in order.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.loose: list[str] = []
        self.alarms: list[str] = []
        self._open: Form | None = None
        self._select = ""
        self._area = ""
        self._button = False
        self._inside = 0  # how many elements deep in what is announced
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {name: value or "" for name, value in attrs}
        self._announced(tag, at)
        if tag == "form":
            self._open = Form(at)
            self.forms.append(self._open)
        elif self._open is None:
            if {"hx-post", "hx-put", "hx-delete", "hx-patch"} & set(at):
                self.loose.append(self.get_starttag_text() or tag)
        else:
            self._part(self._open, tag, at)

    def _part(self, form: Form, tag: str, at: dict[str, str]) -> None:
        name, kind = at.get("name", ""), at.get("type", "text")
        if tag == "select":
            self._select = name
            form.chosen[name] = ""
        elif tag == "option" and self._select:
            form.chosen[self._select] = form.chosen[self._select] or at.get("value", "")
            if "selected" in at or self._select not in form.values:
                form.values[self._select] = at.get("value", "")
        elif tag == "textarea":
            self._area = name
            form.typed[name], form.values[name] = "text", ""
        elif tag == "button" or (tag == "input" and kind == "submit"):
            if at.get("type", "submit") == "submit":
                self._button = tag == "button"
                if at.get("formaction"):
                    form.elsewhere[len(form.buttons)] = at["formaction"]
                form.buttons.append("" if self._button else at.get("value", ""))
            if name:
                form.values.setdefault(name, at.get("value", ""))
        elif tag == "input" and kind == "file":
            form.files.append(name)
        elif tag == "input" and kind in _LETS_TYPE:
            figures = at.get("inputmode") in {"decimal", "numeric"}
            form.typed[name] = "figure" if figures else _BY_TYPE.get(kind, "text")
            form.values[name] = at.get("value", "")
        elif tag == "input" and (kind not in {"checkbox", "radio"} or "checked" in at):
            form.values[name] = at.get("value", "on")

    def _announced(self, tag: str, at: dict[str, str]) -> None:
        if tag in _VOID:
            return
        if self._inside:
            self._inside += 1
            if tag in {"li", "p"} and self.alarms[-1]:
                self.alarms.append("")
        elif at.get("role") == "alert" or {"errors", "error"} & set(at.get("class", "").split()):
            self._inside = 1
            self.alarms.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag not in _VOID:
            self._inside -= 1
        if tag == "form":
            self._open = None
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._area = ""
        elif tag == "button":
            self._button = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.alarms[-1] = " ".join(f"{self.alarms[-1]} {data}".split())
        if self._open is not None and self._area:
            self._open.values[self._area] += data
        if self._open is not None and self._button:
            self._open.buttons[-1] = " ".join(f"{self._open.buttons[-1]} {data}".split())
