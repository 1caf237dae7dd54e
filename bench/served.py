"""`mintmark serve` as the benchmark starts it: with keys of its own, plain HTTP on the place's port, no request log."""

import base64
import hashlib
import hmac
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from bench.environment import CHECKOUT
from bench.server import Command, Place, Request, Server, StartError, exchange, free_port
from mintmark.certificates import USUAL_NAMES, alternative_name, new_authority, new_certificate
from mintmark.data_folder import write_private
from mintmark.sources import system

ISSUER = "https://identity.example.com"


@dataclass(frozen=True)
class Resource:
    """A resource of a running server, and its primary access key in base64."""

    id: str
    key: str


def start(place: Place, *flags: str, module: str = "mintmark", tls: bool = False) -> Command:
    """The command for `module`, which takes Mintmark's own arguments; with `tls` it has HTTPS too, on a free port."""
    folder, given = place.folder, [*flags]
    for name in ("key-encryption-key", "admin-key"):
        if not (folder / name).exists():
            write_private(folder / name, base64.b64encode(os.urandom(32)))
        given += [f"--{name}-file", str(folder / name)]
    if tls:
        now = system().now()
        made = new_certificate(new_authority(now), [alternative_name(name) for name in USUAL_NAMES], now)
        write_private(folder / "tls.pem", made.certificate)
        write_private(folder / "tls-key.pem", made.private_key)
        given += ["--https-port", _choose_port(folder, "https")]
        given += ["--tls-certificate", str(folder / "tls.pem"), "--tls-key", str(folder / "tls-key.pem")]
    given += ["--data", str(folder / "data"), "--issuer", ISSUER, "--workers", str(place.workers), "--quiet"]
    given += ["--http-port", str(place.port), "--admin-port", _choose_port(folder, "admin")]
    return Command([sys.executable, "-m", module, "serve", *given], {"PYTHONPATH": str(CHECKOUT)})


def _choose_port(folder: Path, listener: str) -> str:
    chosen = str(free_port())
    (folder / f"{listener}-port").write_text(chosen)
    return chosen


def port(server: Server, listener: str) -> int:
    """The port of `https` or `admin`."""
    return int((server.place.folder / f"{listener}-port").read_text())


def ask_admin(server: Server, method: str, path: str, body: object = None) -> bytes:
    """The body of an answer of the admin API. Raises OSError before the server listens, StartError where it refuses."""
    key = (server.place.folder / "admin-key").read_text()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    content = b"" if body is None else json.dumps(body).encode()
    answer = exchange(Request(port(server, "admin"), method, f"/_mintmark/{path}", headers, content))
    if answer.status >= 300:
        raise StartError(f"{method} {path}: {answer.status} {answer.body.decode(errors='replace')}")
    return answer.body


def resource(server: Server) -> Resource:
    """The server's one resource, made when it is first asked for."""
    kept = server.place.folder / "resource.json"
    if not kept.exists():
        kept.write_bytes(ask_admin(server, "POST", "resources", {"name": "bench"}))
    made = json.loads(kept.read_bytes())
    return Resource(made["id"], made["accessKeys"][0]["key"])


def signed(port: int, access_key: str, method: str, target: str, body: bytes = b"") -> Request:
    """A request signed by HMAC as the SDKs sign it; the server takes it for about 15 minutes."""
    host = f"127.0.0.1:{port}"
    return Request(port, method, target, signature(host, access_key, method, target, body), body)


def signature(host: str, access_key: str, method: str, target: str, body: bytes = b"") -> Mapping[str, str]:
    """The headers that such a request has."""
    date = formatdate(usegmt=True)
    body_hash = base64.b64encode(hashlib.sha256(body).digest()).decode()
    text = f"{method}\n{target}\n{date};{host};{body_hash}"
    proof = base64.b64encode(hmac.digest(base64.b64decode(access_key), text.encode(), "sha256")).decode()
    headers = {
        "Host": host,
        "x-ms-date": date,
        "x-ms-content-sha256": body_hash,
        "Authorization": f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={proof}",
    }
    return {"Content-Type": "application/json", **headers} if body else headers
