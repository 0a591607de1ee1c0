"""The platform's doors as a person's browser meets them: sign in, then ask for pages."""

import contextlib
import re
import threading
import time

import httpx

from deploy.run.crawl import Answer

_CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class UnableToSignIn(RuntimeError):
    """The sign-in page did not let a person of the demo desk in."""


class Visitor:
    """One signed-in person."""

    def __init__(self, base: str, email: str, password: str) -> None:
        self.email = email
        self._client = httpx.Client(base_url=base, follow_redirects=True, timeout=10.0)
        form = self._client.get("/sign-in/")
        token = _CSRF.search(form.text)
        if token is None:
            raise UnableToSignIn(f"{base}/sign-in/ shows no form: {form.status_code}")
        answer = self._client.post(
            "/sign-in/",
            data={"csrfmiddlewaretoken": token[1], "username": email, "password": password},
            headers={"Referer": f"{base}/sign-in/"},
        )
        if answer.is_error or str(answer.url).endswith("/sign-in/"):
            raise UnableToSignIn(f"{email} was not let in: {answer.status_code}")

    def page(self, path: str) -> str:
        """Return the HTML of a page; empty while the web process is being restarted or does not know it yet."""
        with contextlib.suppress(httpx.TransportError):
            answer = self._client.get(path)
            if answer.is_success:
                return answer.text
            if answer.status_code != httpx.codes.NOT_FOUND and answer.status_code < 500:
                raise UnableToSignIn(f"{self.email} may not see {path}: {answer.status_code}")
        return ""

    def post(self, path: str, **data: str) -> None:
        """Send a form, and raise what the platform answers to a bad one."""
        token = self._client.cookies.get("csrftoken") or ""
        headers = {"X-CSRFToken": token, "Referer": str(self._client.base_url)}
        self._client.post(path, data=data, headers=headers).raise_for_status()

    def fetch(self, path: str) -> Answer:
        """Return what an address gives, whatever that is."""
        answer = self._client.get(path)
        return Answer(answer.status_code, answer.headers.get("Content-Type", ""), answer.text)

    def paper(self, path: str) -> bytes:
        """Return a file that an address gives, and raise what the platform answers where it gives none."""
        return self._client.get(path).raise_for_status().content

    def listen(self, path: str, heard: list[float]) -> threading.Thread:
        """Follow a page's live line in a thread of its own, noting when each event came."""

        def follow() -> None:
            with (
                contextlib.suppress(httpx.TransportError),
                self._client.stream("GET", path, timeout=httpx.Timeout(10.0, read=None)) as line,
            ):
                heard.extend(time.monotonic() for text in line.iter_lines() if text.startswith("data:"))

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        return thread
