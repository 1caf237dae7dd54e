"""What a server can be told, as one frozen record for both doors, and what there is to say of each setting."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from mintmark.bearer import TrustedIssuer
from mintmark.model import Secret, SigningAlgorithm
from mintmark.teams import TeamsIssuer

PREFIX = "MINTMARK_"
OFF = "off"

Door = Literal["dev", "serve"]
Port = Annotated[int, Meta(ge=0, le=65535)]
Workers = Annotated[int, Meta(ge=1, le=64)]
Days = Annotated[int, Meta(ge=1, le=3650)]
Connections = Annotated[int, Meta(ge=512, le=1_000_000)]
# Without the characters that a claim must not have: clients read it with plain base64 (contract section 4).
Issuer = Annotated[str, Meta(pattern=r"^(?:https?://[!-;=A-}]*[!-.0-;=A-}])?\Z")]
LogFormat = Literal["text", "json"]


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of `mintmark dev` and `mintmark serve`; `ABOUT` says what each means."""

    host: str = "localhost"
    https_port: Port | None = 12443
    http_port: Port | None = 12080
    admin_host: str = "localhost"
    admin_port: Port = 12090
    data: str = ".mintmark"
    database: str = ""
    ephemeral: bool = False
    workers: Workers = 1
    issuer: Issuer = ""
    signing_algorithm: SigningAlgorithm = "ES256"
    signing_key_days: Days = 90
    key_encryption_key: Secret = Secret(b"")
    key_encryption_key_file: str = ""
    admin_key: Secret = Secret(b"")
    admin_key_file: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_names: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    bearer: tuple[TrustedIssuer, ...] = ()
    teams: tuple[TeamsIssuer, ...] = ()
    limits: str = OFF
    connections: Connections = 8192
    strict_versions: bool = False
    log_format: LogFormat = "text"
    quiet: bool = False


class About(Struct, frozen=True):
    """What there is to say of a setting.

    Attributes:
        meaning: one sentence.
        allowed: the values that it can have.
        metavar: what stands for the value in a command's help; empty for a switch.
        flag: its flag; empty for none.
        door: the one that has it; None for both.
        default: how the default is shown, where the value itself does not say it.
        serve_default: its default in `serve`, where that is another.
        is_secret: whether its value must never be shown.
    """

    meaning: str
    allowed: str
    metavar: str = ""
    flag: str = ""
    door: Door | None = None
    default: str = ""
    serve_default: object = None
    is_secret: bool = False


_PORT = "a port from 0 to 65535"
_SWITCH = "true or false"
_ISSUERS = "a list of trusted issuers; as a variable it is JSON"
_ADDRESS = "a name or address of this machine; `0.0.0.0` or `::` for all"

ABOUT: Mapping[str, About] = {
    "host": About("Where HTTPS and HTTP listen.", _ADDRESS, "HOST", "--host"),
    "https_port": About(
        "Port of HTTPS; 0 for any free one. In serve it needs a certificate.", f"{_PORT}, or off", "PORT",
        "--https-port",
    ),
    "http_port": About(
        "Port of plain HTTP; 0 for any free one. In serve it is off where there is a certificate.",
        f"{_PORT}, or off", "PORT", "--http-port",
    ),
    "admin_host": About("Where the admin listener listens.", _ADDRESS, "HOST", "--admin-host"),
    "admin_port": About("Port of the admin listener; 0 for any free one.", _PORT, "PORT", "--admin-port"),
    "data": About("Data folder. To be given in serve.", "a folder", "DIR", "--data"),
    "database": About(
        "A PostgreSQL database for the data, instead of a file in the data folder. Its password comes from PGPASSFILE, "
        "PGPASSWORD or the variable.",
        "an address such as `postgresql://mintmark@db1,db2/mintmark?sslmode=verify-full&sslrootcert=FILE`",
        "URL",
        "--database",
        default="a file in the data folder",
    ),
    "ephemeral": About(
        "Keep data in a temporary folder and remove it in the end.", _SWITCH, flag="--ephemeral", door="dev"
    ),
    "workers": About("Processes that serve; they share the data.", "a number from 1 to 64", "N", "--workers"),
    "issuer": About(
        "The iss of tokens. To be given in serve: the public address of the service.",
        "an address that begins with https:// or http://, without '?', '<', '>', '~' or '@' and no slash at its end",
        "URL", "--issuer", default="the HTTPS address",
    ),
    "signing_algorithm": About("What new tokens are signed with.", "ES256 or RS256", "ALG", "--signing-algorithm"),
    "signing_key_days": About(
        "How long a key signs before the next one takes over.", "a number of days from 1 to 3650", "DAYS",
        "--signing-key-days",
    ),
    "key_encryption_key": About(
        "The key that seals secrets in the database; further ones open what they sealed before.",
        "32 bytes in base64, or several of them with commas between", door="serve", is_secret=True,
    ),
    "key_encryption_key_file": About(
        "A file with the key-encryption keys, one a line, instead of the variable.",
        "a file that only its owner and group can read", "FILE", "--key-encryption-key-file", door="serve",
    ),
    "admin_key": About(
        "What the admin listener asks for; any of several is accepted.",
        "at least 32 characters, or several such keys with commas between", door="serve", is_secret=True,
    ),
    "admin_key_file": About(
        "A file with the admin keys, one a line, instead of the variable.",
        "a file that only its owner and group can read", "FILE", "--admin-key-file", door="serve",
    ),
    "tls_certificate": About(
        "The certificate for HTTPS, with those that lead to its authority.", "a PEM file", "FILE",
        "--tls-certificate", door="serve",
    ),
    "tls_key": About("The certificate's private key.", "a PEM file", "FILE", "--tls-key", door="serve"),
    "tls_names": About(
        "Another name for the certificate; may be repeated.",
        "host names or addresses; the flag once for each, the variable with commas between", "NAME", "--tls-name",
        door="dev",
    ),
    "trusted_proxies": About(
        "A proxy whose X-Forwarded-For is believed; may be repeated.",
        "addresses or networks, such as 10.0.0.0/8; the flag once for each, the variable with commas between",
        "ADDRESS", "--trusted-proxy", door="serve",
    ),
    "cors_origins": About(
        "An origin whose pages may call; may be repeated.",
        "origins such as https://app.example.com; the flag once for each, the variable with commas between",
        "ORIGIN", "--cors-origin", door="serve",
    ),
    "bearer": About("Issuers whose bearer tokens may act for a resource.", _ISSUERS),
    "teams": About("Issuers whose tokens of Teams users can be exchanged.", _ISSUERS),
    "limits": About(
        "How many requests of a kind a resource may make in 30 seconds.",
        "off, acs, or own numbers such as create=100,issue=200", "LIMITS", "--limits",
    ),
    "connections": About(
        "How many connections may be open at once.", "a number from 512 to 1000000", "N", "--connections"
    ),
    "strict_versions": About(
        "Refuse api-versions later than all that are known.", _SWITCH, flag="--strict-versions"
    ),
    "log_format": About("How the log is written.", "text or json", "FORMAT", "--log-format", serve_default="json"),
    "quiet": About("Print no line for each request.", _SWITCH, flag="--quiet"),
}  # fmt: skip


def names(door: Door) -> list[str]:
    """The settings that a door has, in their order."""
    return [name for name, about in ABOUT.items() if about.door in (None, door)]
