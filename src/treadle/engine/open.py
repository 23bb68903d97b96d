"""From a URL to a store: the only file that names engines. They are imported when a URL asks for them."""

import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from treadle.engine.session import Store
from treadle.model.errors import CannotOpen, InvalidOption, InvalidURL, without_password
from treadle.model.kind import is_a

_NAMESPACE = re.compile(r"[a-z_][a-z0-9_]{0,40}")
_TAKEN = re.compile(r"public|information_schema|pg_.*|sqlite(_.*)?")
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:\d{0,5})?")
_NO_PORT = "its port is not a number from 1 to 65535"
_SCHEMES = "sqlite:///FILE, postgresql://HOST/DATABASE, redis://HOST and memory://NAME"


def open_store(url: str, *, namespace: str = "treadle", allow_volatile: bool = False) -> Store:
    """Open the store that a URL names. Nothing is touched before the first use.

    `sqlite:///jobs.db` is relative to the working directory, `sqlite:////var/lib/jobs.db` absolute; it takes the parameters
    `synchronous` (FULL, NORMAL, OFF), `driver` (apsw, sqlite3) and `timeout` (seconds). `memory://name` lives and dies
    with the process and wants `allow_volatile=True`. `postgresql://user:password@host:port/database` (or `postgres://`)
    takes `timeout` (seconds a call may take) and `connections` (that one session may open), and libpq's own parameters
    (sslmode, target_session_attrs, ...). `redis://user:password@host:port/db` (`valkey://` is the same,
    `rediss://` and `valkeys://` with TLS, `unix:///path/to.sock?db=0` a local socket) takes `timeout` (seconds) and
    `replicas` (how many must confirm a write); TLS takes `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` and `ssl_cert_reqs`
    (required, none). Raises `InvalidURL`, `InvalidOption` and `VolatileStore`.
    """
    if not is_a(namespace, str) or _NAMESPACE.fullmatch(namespace) is None:
        raise InvalidOption(
            namespace,
            "a namespace is a lower-case word of at most 41 letters, digits and underscores that begins with no digit",
            'Choose one such as "treadle" or "shop_jobs".',
        )
    if _TAKEN.fullmatch(namespace):
        # On every engine alike: a namespace that the one would take must not stand in the way of a move to another.
        raise InvalidOption(
            namespace,
            "PostgreSQL keeps public, information_schema and pg_..., SQLite keeps sqlite_... for itself",
            'Choose another namespace, such as "treadle" or "shop_jobs".',
        )
    parts = _split(url)
    parameters = _parameters(url, parts.query)
    if parts.fragment:
        raise InvalidURL(url, "a store URL has no fragment", "Write # as %23.")
    match parts.scheme:
        case "sqlite":
            return _open_sqlite(url, parts.netloc, unquote(parts.path), namespace, parameters)
        case "memory":
            return _open_memory(url, parts.netloc + parts.path, namespace, parameters, allow_volatile=allow_volatile)
        case "postgresql" | "postgres":
            _check_server(url, parts, parameters)
            return _open_postgres(url, parts, namespace, parameters)
        case "redis" | "rediss" | "valkey" | "valkeys" | "unix":
            _check_server(url, parts, parameters)
            return _open_redis(url, parts, namespace, parameters, allow_volatile=allow_volatile)
        case scheme:
            cure = f"Write sqlite:///{without_password(url)} for this file." if url and not scheme else f"Use {_SCHEMES}."
            raise InvalidURL(url, f"the scheme {scheme!r} names no engine", cure)


def _split(url: str) -> SplitResult:
    if not is_a(url, str) or not url.isprintable() or url != url.strip():
        raise InvalidURL(repr(url), "a store URL is printable text without spaces around it", f"Use {_SCHEMES}.")
    try:
        return urlsplit(url)
    except ValueError as error:
        reason = "" if "@" in url else f" ({error})"  # it may quote the password
        raise InvalidURL(url, f"this does not read as a URL{reason}", f"Use {_SCHEMES}.") from None


def _check_server(url: str, parts: SplitResult, parameters: dict[str, str]) -> None:
    """Refuse a server's URL of which a part of the password would be read as something else, and shown."""
    if not url[len(parts.scheme) :].startswith("://"):
        raise InvalidURL(url, "two slashes belong behind its scheme", f"Use {_SCHEMES}.")
    user, _, host = parts.netloc.rpartition("@")
    place = host + parts.path
    cure = "Write @ in a user or a password as %40, / as %2F, ? as %3F and # as %23."
    if "@" in user:
        raise InvalidURL(url, "a raw @ stands in its user or its password", cure)
    # The path of a socket may hold one.
    astray = "@" in place and (parts.scheme != "unix" or ":" in place.rpartition("@")[0])
    if astray or any("@" in name for name in parameters):
        raise InvalidURL(url, "its @ stands behind a raw / or ?", cure)
    # A driver quotes a value that it does not take.
    values = [unquote(parts.path), *(value for name, value in parameters.items() if "password" not in name.lower())]
    if any("password=" in value.lower() for value in values):
        cure = "Write ? in front of the first parameter and & between them."
        raise InvalidURL(url, "a password stands within something else", cure)


def _parameters(url: str, query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidURL(url, "a parameter is given twice", "Keep one of them.")
    return found


def _choice(url: str, parameters: dict[str, str], name: str, choices: tuple[str, ...]) -> str:
    given = parameters.pop(name, choices[0])
    for choice in choices:
        if given.lower() == choice.lower():
            return choice
    raise InvalidURL(url, f"its {name} is not one of {', '.join(choices)}", f"Leave {name} out for {choices[0]}.")


def _seconds(url: str, parameters: dict[str, str], name: str, default: float) -> float:
    given = parameters.pop(name, None)
    if given is None:
        return default
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 3600:
        raise InvalidURL(url, f"its {name} is not a number of seconds up to 3600", f"Leave {name} out for {default:g}.")
    return seconds


def _nothing_left(url: str, parameters: dict[str, str], known: str) -> None:
    for name in parameters:
        raise InvalidURL(url, f"{name} is not a parameter of this engine", f"It takes {known}.")


def _open_sqlite(url: str, host: str, path: str, namespace: str, parameters: dict[str, str]) -> Store:
    from treadle.engine.sqlite.driver import Settings
    from treadle.engine.sqlite.store import SqliteStore

    if host:
        relative = without_password(f"sqlite:///{host}{path}")
        cure = f"Write {relative} for a path relative to the working directory, sqlite:////... for an absolute one."
        raise InvalidURL(url, "a SQLite URL names no host", cure)
    file = path.removeprefix("/")
    if not file or file.endswith("/"):
        raise InvalidURL(url, "it names no file", "Write for example sqlite:///treadle.db.")
    if file == ":memory:":
        raise InvalidURL(url, "several connections cannot share this", "Use memory://NAME for a store without a file.")
    if "\0" in file:
        raise InvalidURL(url, "a file name holds no NUL", "Correct the path.")
    settings = Settings(
        driver=_choice(url, parameters, "driver", ("apsw", "sqlite3")),
        synchronous=_choice(url, parameters, "synchronous", ("FULL", "NORMAL", "OFF")),
        timeout=_seconds(url, parameters, "timeout", 5.0),
    )
    _nothing_left(url, parameters, "synchronous, driver and timeout")
    return SqliteStore(Path(file).absolute(), namespace=namespace, settings=settings)


def _open_memory(url: str, name: str, namespace: str, parameters: dict[str, str], *, allow_volatile: bool) -> Store:
    from treadle.engine.memory.session import MemoryStore

    _nothing_left(url, parameters, "no parameters")
    return MemoryStore(name.strip("/"), namespace=namespace, allow_volatile=allow_volatile)


def _open_postgres(url: str, parts: SplitResult, namespace: str, parameters: dict[str, str]) -> Store:
    try:
        from treadle.engine.postgres.place import Settings, address
        from treadle.engine.postgres.store import PostgresStore
    except ImportError as error:
        missing = error.name or "psycopg"
        raise CannotOpen(f"The PostgreSQL engine needs {missing}. Install it: pip install 'treadle[postgres]'") from None

    timeout = _seconds(url, parameters, "timeout", 5.0)
    connections = parameters.pop("connections", "10")
    if not connections.isdecimal() or not 1 <= int(connections) <= 1000:
        raise InvalidURL(url, "its connections are not a number from 1 to 1000", "Leave connections out for 10.")
    if not all(_HOST.fullmatch(host) for host in parts.netloc.rpartition("@")[2].split(",")):
        raise InvalidURL(url, _NO_PORT, "Write for example postgresql://localhost:5432/shop.")
    settings = Settings(timeout=timeout, connections=int(connections))
    return PostgresStore(address(url, ("timeout", "connections")), namespace=namespace, settings=settings)


def _open_redis(url: str, parts: SplitResult, namespace: str, parameters: dict[str, str], *, allow_volatile: bool) -> Store:
    try:
        from treadle.engine.redis.address import Address, Tls
        from treadle.engine.redis.store import RedisStore
    except ImportError as error:
        shown = f"{parts.scheme}://{parts.hostname or ''}"
        raise CannotOpen(f"{shown}: the Redis engine needs {error.name}. Install it: pip install 'treadle[redis]'") from None

    tls = None
    if parts.scheme in ("rediss", "valkeys"):
        verify = _choice(url, parameters, "ssl_cert_reqs", ("required", "none")) == "required"
        ca_certs, certfile, keyfile = (parameters.pop(f"ssl_{name}", None) for name in ("ca_certs", "certfile", "keyfile"))
        tls = Tls(ca_certs, certfile, keyfile, verify)
    local = parts.scheme == "unix"
    if local and not parts.path.strip("/"):
        raise InvalidURL(url, "it names no socket", "Write for example unix:///run/valkey/valkey.sock.")
    try:
        port = parts.port
    except ValueError:
        raise InvalidURL(url, _NO_PORT, "Write for example redis://localhost:6379.") from None
    database = parameters.pop("db", None) if local else parts.path.strip("/")
    address = Address(
        scheme=parts.scheme,
        host=parts.hostname or "localhost",
        port=port or 6379,
        path=unquote(parts.path) if local else None,
        database=_whole(url, "its database", database or "0", 1_000_000),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password is not None else None,
        tls=tls,
        timeout=_seconds(url, parameters, "timeout", 5.0),
    )
    replicas = _whole(url, "its number of replicas", parameters.pop("replicas", "0"), 100)
    _nothing_left(
        url,
        parameters,
        "timeout and replicas, db with unix://, and with TLS ssl_ca_certs, ssl_certfile, ssl_keyfile and ssl_cert_reqs",
    )
    return RedisStore(address, namespace=namespace, replicas=replicas, allow_volatile=allow_volatile)


def _whole(url: str, name: str, given: str, most: int) -> int:
    if not given.isascii() or not given.isdigit() or int(given) > most:
        raise InvalidURL(url, f"{name} is not a whole number up to {most}", "Write for example 0.")
    return int(given)
