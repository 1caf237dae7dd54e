"""A small web server whose page loads the SDK's own files, as they are: no bundler, only an import map."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

FOLDER = Path(__file__).parent
NODE_MODULES = FOLDER.parent / "compat" / "node" / "node_modules"
MODULES = "/node_modules/"
TYPES = {"/": "text/html", "/settings.json": "application/json"}
PAGE = """<!doctype html>
<title>A page</title>
<script>
  const report = (event) => fetch("/outcomes", { method: "POST", body: JSON.stringify({ failed: explain(event) }) });
  const explain = ({ message, reason, target }) => String(reason ?? message ?? target.src);
  addEventListener("error", report, true);
  addEventListener("unhandledrejection", report);
</script>
<script type="importmap">IMPORT_MAP</script>
<script type="module" src="/page.mjs"></script>
"""
_CONDITIONS = ("browser", "import", "module", "default")


def import_map() -> dict[str, str]:
    """Where a browser finds what the SDK's files import by name (Node's `exports`, with the condition `browser`)."""
    imports = {}
    for package in [*NODE_MODULES.glob("[!@.]*"), *NODE_MODULES.glob("@*/*")]:
        about = json.loads((package / "package.json").read_bytes())
        entries = about.get("exports", {".": f"./{about.get('module', about.get('main'))}"})
        name = package.relative_to(NODE_MODULES).as_posix()
        for subpath, entry in ({".": entries} if isinstance(entries, str) else entries).items():
            target = _for_browsers(entry)
            if subpath.startswith(".") and target is not None:
                imports[name + subpath.removeprefix(".")] = f"{MODULES}{name}/{target.removeprefix('./')}"
    return imports


def _for_browsers(entry: Any) -> str | None:
    while isinstance(entry, dict):
        entry = next((entry[condition] for condition in _CONDITIONS if condition in entry), None)
    return entry if isinstance(entry, str) else None


class PageServer(ThreadingHTTPServer):
    """Serves the page and its settings, and keeps what the page reports."""

    request_queue_size = 64  # A browser asks for many files at once.

    def __init__(self, settings: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reports: Queue[Any] = Queue()
        page = PAGE.replace("IMPORT_MAP", json.dumps({"imports": import_map()}))
        self.made = {"/": page.encode(), "/settings.json": json.dumps(dict(settings)).encode()}
        self.address = f"http://localhost:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        content = self.server.made.get(self.path)
        if content is None:
            file = FOLDER / "page.mjs" if self.path == "/page.mjs" else NODE_MODULES / self.path.removeprefix(MODULES)
            completed = next((end for end in (".js", "/index.js") if Path(f"{file}{end}").is_file()), None)
            if completed:  # Some of the SDK's files import "./models" or "./operations", which bundlers complete.
                self._answer(302, location=self.path + completed)
                return
            if not file.is_file():
                self._answer(404)
                return
            content = file.read_bytes()
        self._answer(200, content, **{"content-type": TYPES.get(self.path, "text/javascript")})

    def do_POST(self) -> None:
        self.server.reports.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self._answer(204)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing."""

    def _answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(settings: Mapping[str, str]) -> Iterator[PageServer]:
    """A page server that runs, on a free port."""
    with PageServer(settings) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
