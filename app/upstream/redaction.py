"""Foreign text for errors and logs."""

import json
from urllib.parse import quote, quote_plus

EXCERPT_LENGTH = 200
"""Characters quoted at most."""


class Redactor:
    """Makes of any text one short printable line without the key."""

    def __init__(self, secret: str) -> None:
        forms = {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret)}
        self._forms = sorted(filter(None, forms), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The line; the key is hidden before it is cut."""
        for form in self._forms:
            text = text.replace(form, "***")
        line = " ".join(
            "".join(
                char if char.isprintable() else " " for char in text[: 4 * EXCERPT_LENGTH]
            ).split()
        )
        return line if len(line) <= EXCERPT_LENGTH else f"{line[:EXCERPT_LENGTH]}…"

    def cause(self, error: BaseException) -> BaseException | None:
        """The error to chain; None if its text holds the key."""
        return None if any(form in repr(error) for form in self._forms) else error


def answered(status: int, body: bytes, redact: Redactor) -> str:
    """A sentence that quotes the response."""
    # More than is quoted: escapes and the key may be longer than what is shown of them.
    said = redact(body[: 64 * EXCERPT_LENGTH].decode(errors="replace"))
    return f"The API answered {status}" + (
        f" ({said})." if said else ", without a word." if not body.strip() else "."
    )
