"""What an invariant says when it does not hold."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken invariant: its code (I1..I20), what is wrong in words, and the rows (at most twenty)."""

    code: str
    message: str
    rows: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """Return it as a command prints it in JSON."""
        return {"code": self.code, "message": self.message, "rows": list(self.rows)}
