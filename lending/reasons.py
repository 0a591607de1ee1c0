"""Why somebody does something, as they typed it: kept whole, or refused in words."""

LENGTH = 400


def kept(typed: str, error: type[Exception], *, missing: str = "", most: int = LENGTH) -> str:
    """Return what was typed without blanks around it; raise `error` where too much is said, or what must be is not."""
    said = typed.strip()
    if missing and not said:
        raise error(missing)
    if len(said) > most:
        raise error(f"the reason has {len(said)} characters, and {most} are kept")
    return said
