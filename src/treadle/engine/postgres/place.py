"""Where a PostgreSQL store is: what its URL says to libpq, what it says to us, and how it is written without its password."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from treadle.model.errors import InvalidURL


@dataclass(slots=True, frozen=True, kw_only=True)
class Settings:
    """What a URL may say about a PostgreSQL store: seconds that a call may take, and connections that a session may open."""

    timeout: float = 5.0
    connections: int = 10


@dataclass(slots=True, frozen=True)
class Address:
    """What libpq is told, the password with it, which is never shown; and how an operator sees it."""

    parameters: dict[str, Any] = field(repr=False)
    shown: str


def address(url: str, own: tuple[str, ...]) -> Address:
    """Read a URL; `own` names the parameters that are ours and not libpq's. Raises `InvalidURL`, which shows no password."""
    parts = urlsplit(url)
    pairs = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in own]
    query = urlencode(pairs, quote_via=quote)
    try:
        place = f"{parts.scheme}://{parts.netloc}{parts.path}"
        parameters: dict[str, Any] = dict(conninfo_to_dict(f"{place}?{query}" if query else place))
    except psycopg.ProgrammingError as error:
        reason = " ".join(str(error).split())
        for secret in (parts.password, *(value for name, value in pairs if "password" in name)):
            reason = reason.replace(secret, "***") if secret else reason
        cure = "Write postgresql://user:password@host:5432/database, with libpq's parameters behind a question mark if need be."
        raise InvalidURL(url, f"libpq does not take this ({reason})", cure) from None
    return Address(parameters, _shown(parameters))


def _shown(parameters: dict[str, Any]) -> str:
    hosts = str(parameters.get("host") or parameters.get("hostaddr") or "").split(",")
    ports = str(parameters.get("port") or "").split(",")
    if len(ports) < len(hosts):
        ports = ports * len(hosts)
    places = [
        f"{quote(host, safe='') if '/' in host else host}{':' + port if port else ''}"
        for host, port in zip(hosts, ports, strict=False)
    ]
    user = f"{quote(str(parameters['user']), safe='')}@" if parameters.get("user") else ""
    return f"postgresql://{user}{','.join(places)}/{parameters.get('dbname') or ''}"
