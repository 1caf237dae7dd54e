"""The work that Create with a token cannot avoid, and nothing else: what Mintmark is held against in the same run.

A request has its HMAC checked and its JSON parsed, gets an id and an ES256 token with every claim, is committed
durably to SQLite together with whoever else waits, and is answered. No routing, no api-versions, no resources, no
error answers.

uvicorn serves it. `DATA` in the environment names the data folder, which holds the signing key as `key.pem`;
`ACCESS_KEY` is the access key in base64.
"""

import asyncio
import fcntl
import os
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256
from hmac import compare_digest, digest
from pathlib import Path
from typing import Any, cast

import apsw
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

DATA = Path(os.environ["DATA"])
ACCESS_KEY = b64decode(os.environ["ACCESS_KEY"])
RESOURCE = "6a1f4c0e-8d2b-4b57-9c36-0f5e7d1a2b94"
EPOCH = 1_577_865_600_000  # 2020-01-01 08:00 UTC in milliseconds: ids start with the time since then


class Create(msgspec.Struct, rename="camel"):
    create_token_with_scopes: list[str] | None = None
    expires_in_minutes: int | None = None


def base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


read, write = msgspec.json.Decoder(Create).decode, msgspec.json.Encoder().encode
signing_key = cast("EllipticCurvePrivateKey", load_pem_private_key((DATA / "key.pem").read_bytes(), None))
HEADER = base64url(write({"alg": "ES256", "kid": "k" * 43, "typ": "JWT"}))
ES256 = ECDSA(SHA256())


class Store:
    """Group commit: while one batch commits in a thread the next one collects."""

    def __init__(self, folder: Path) -> None:
        self.connection = apsw.Connection(str(folder / "bare.db"))
        self.connection.set_busy_timeout(10_000)
        self.connection.pragma("journal_mode", "wal")
        self.connection.pragma("synchronous", "full")
        columns = "suffix BLOB PRIMARY KEY, created INTEGER, generation INTEGER"
        self.connection.execute(f"CREATE TABLE IF NOT EXISTS identity ({columns}) WITHOUT ROWID")
        self.turn = (folder / "turn").open("w")
        self.waiting: list[tuple[bytes, int, asyncio.Future[None]]] = []
        self.committer: asyncio.Task[None] | None = None

    async def add(self, suffix: bytes, created: int) -> None:
        durable = asyncio.get_running_loop().create_future()
        self.waiting.append((suffix, created, durable))
        if self.committer is None:
            self.committer = asyncio.create_task(self.commit_all())
        await durable

    async def commit_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self.waiting:
            batch, self.waiting = self.waiting, []
            await loop.run_in_executor(None, self.commit, [(suffix, created, 0) for suffix, created, _ in batch])
            for _, _, durable in batch:
                durable.set_result(None)
        self.committer = None

    def commit(self, rows: list[tuple[bytes, int, int]]) -> None:
        fcntl.flock(self.turn, fcntl.LOCK_EX)  # Workers wait for their turn here: SQLite's busy handler would sleep.
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany("INSERT INTO identity (suffix, created, generation) VALUES (?, ?, ?)", rows)
            self.connection.execute("COMMIT")
        finally:
            fcntl.flock(self.turn, fcntl.LOCK_UN)


store = Store(DATA)


def authenticate(scope: dict[str, Any], body: bytes) -> None:
    headers = dict(scope["headers"])
    target = scope["raw_path"] + b"?" + scope["query_string"]
    signed = b";".join((headers[b"x-ms-date"], headers[b"host"], b64encode(sha256(body).digest())))
    text = b"\n".join((scope["method"].encode(), target, signed))
    signature = headers[b"authorization"].rpartition(b"Signature=")[2]
    if not compare_digest(signature, b64encode(digest(ACCESS_KEY, text, "sha256"))):
        raise PermissionError


def sign(user: str, asked: Create, now: int) -> str:
    claims = {
        "skypeid": user, "scp": 1792, "csi": str(now), "exp": now + (asked.expires_in_minutes or 1440) * 60,
        "rgn": "local", "acsScope": ",".join(asked.create_token_with_scopes or ()), "resourceId": RESOURCE,
        "resourceLocation": "local", "iat": now, "iss": "https://localhost:12443", "sub": "8:" + user, "aud": RESOURCE,
        "jti": os.urandom(16).hex(), "nbf": now, "gen": 0, "akg": "p0",
    }  # fmt: skip
    signed = HEADER + b"." + base64url(write(claims))
    r, s = decode_dss_signature(signing_key.sign(signed, ES256))
    return (signed + b"." + base64url(r.to_bytes(32) + s.to_bytes(32))).decode()


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    body = (await receive())["body"]
    authenticate(scope, body)
    asked, now = read(body), time.time()
    suffix = (int(now * 1000) - EPOCH).to_bytes(8) + os.urandom(8)
    name = suffix.hex()
    user = f"acs:{RESOURCE}_{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}"
    token = sign(user, asked, int(now))
    await store.add(suffix, int(now))
    expires_on = time.strftime(
        "%Y-%m-%dT%H:%M:%S.0000000+00:00", time.gmtime(now + (asked.expires_in_minutes or 1440) * 60)
    )
    answer = write({"identity": {"id": "8:" + user}, "accessToken": {"token": token, "expiresOn": expires_on}})
    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
