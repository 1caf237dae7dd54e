"""What a server can be told, as one frozen record; from flags first, then the environment, then the defaults here."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from mintmark.errors import StartRefused
from mintmark.model import SigningAlgorithm

PREFIX = "MINTMARK_"

Port = Annotated[int, Meta(ge=0, le=65535)]
Workers = Annotated[int, Meta(ge=1, le=64)]
# Without the characters that a claim must not have: clients read it with plain base64 (contract section 4).
Issuer = Annotated[str, Meta(pattern=r"^(?:https?://[!-;=@-}]*[!-.0-;=@-}])?\Z")]


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of `mintmark dev`.

    Attributes:
        host: where the public listeners listen; localhost is 127.0.0.1 and ::1.
        https_port: of the HTTPS listener; 0 for any free one.
        http_port: of the plain HTTP listener; 0 for any free one.
        admin_host: where the admin listener listens.
        admin_port: of the admin listener; 0 for any free one.
        data: the data folder.
        ephemeral: keep data in a temporary folder instead, and remove it in the end.
        workers: how many processes serve.
        signing_algorithm: what new tokens are signed with.
        issuer: the `iss` of tokens; empty for `https://localhost:` and the HTTPS port.
        tls_names: names and addresses that the certificate is for, besides the usual ones.
        quiet: print no line for each request.
        strict_versions: refuse api-versions later than all known, instead of serving them as the newest.
    """

    host: str = "localhost"
    https_port: Port = 12443
    http_port: Port = 12080
    admin_host: str = "localhost"
    admin_port: Port = 12090
    data: str = ".mintmark"
    ephemeral: bool = False
    workers: Workers = 1
    signing_algorithm: SigningAlgorithm = "ES256"
    issuer: Issuer = ""
    tls_names: tuple[str, ...] = ()
    quiet: bool = False
    strict_versions: bool = False


_ALLOWED = {
    "https_port": "a port from 0 to 65535",
    "http_port": "a port from 0 to 65535",
    "admin_port": "a port from 0 to 65535",
    "ephemeral": "true or false",
    "quiet": "true or false",
    "strict_versions": "true or false",
    "workers": "a number from 1 to 64",
    "signing_algorithm": "ES256 or RS256",
    "issuer": "an address that begins with https:// or http://, without '?', '<', '>' or '~' and no slash at its end",
}


def load(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """The settings that flags and environment ask for.

    Args:
        flags: values by setting; None where a flag was not given.
        environ: variables, of which those named `MINTMARK_` and a setting count.

    Raises:
        StartRefused: names every bad value at once.
    """
    values: dict[str, Any] = {}
    complaints = []
    for field in msgspec.structs.fields(Settings):
        variable = PREFIX + field.name.upper()
        source, value = f"--{field.name.replace('_', '-')}", flags.get(field.name)
        if value is None and environ.get(variable):
            source, value = variable, _from_text(environ[variable], field.default)
        if value is None:
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError:
            complaints.append(f"{source} is '{value}', but must be {_ALLOWED.get(field.name, 'text')}.")
    if not complaints:
        settings = Settings(**values)
        ports = [port for port in (settings.https_port, settings.http_port, settings.admin_port) if port]
        if len(set(ports)) == len(ports):
            return settings
        complaints.append("--https-port, --http-port and --admin-port must differ from one another.")
    raise StartRefused("\n".join(complaints))


def _from_text(text: str, default: object) -> object:
    return tuple(part.strip() for part in text.split(",")) if isinstance(default, tuple) else text
