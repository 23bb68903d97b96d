"""The `Retry-After` header of HTTP (RFC 9110, section 10.2.3), as a delay for `raise Retry(after=...)`."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from treadle.model.errors import InvalidDuration

_LONGEST = 30 * 86_400.0


def retry_after(response: object, *, now: datetime | None = None) -> float:
    """Seconds that a server asks to wait: from a response with `headers`, a mapping of headers, or the header's value.

    Takes whole seconds or an HTTP date (one in the past gives 0), and never returns more than 30 days.
    Raises `InvalidDuration` when the header is missing or is neither.
    """
    text = _text(response)
    if text is None:
        raise InvalidDuration("Retry-After", "the response has no such header", "Raise Retry() without a delay instead.")
    if text.isascii() and text.isdigit():
        return min(_LONGEST, float(text[:12]))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        raise InvalidDuration(
            text, "this is neither seconds nor an HTTP date", "Raise Retry() without a delay instead."
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(_LONGEST, max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()))


def _text(response: object) -> str | None:
    if isinstance(response, (str, int)):
        return str(response).strip()
    headers: Any = getattr(response, "headers", response)
    if not hasattr(headers, "get"):
        raise InvalidDuration(response, "this has no headers", "Pass a response, its headers, or the header's value.")
    value: Any = headers.get("Retry-After") or headers.get("retry-after")
    return None if value is None else str(value).strip()
