"""The admin listener's start page: what runs and how to connect."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from mintmark import __version__
from mintmark.development import Endpoints
from mintmark.service import Service
from mintmark.settings import Settings
from mintmark.web.answer import HTML, NOT_KEPT, Answer
from mintmark.web.call import Call

# The page needs nothing from anywhere, so it may load nothing from anywhere.
_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class StartPage:
    """`GET /`, for one server."""

    def __init__(self, endpoints: Endpoints, variables: Mapping[str, str], settings: Settings, folder: Path) -> None:
        self._content = {
            "endpoints": endpoints,
            "variables": {name: shlex.quote(value) for name, value in variables.items()},
            "settings": settings,
            "folder": "temporary" if settings.ephemeral else str(folder),
            "version": __version__,
        }

    async def show(self, _service: Service, _call: Call) -> Answer:
        """The page."""
        # Imported when somebody looks: it would cost every start a tenth.
        from jinja2 import Environment, PackageLoader, StrictUndefined

        templates = Environment(loader=PackageLoader("mintmark.web"), autoescape=True, undefined=StrictUndefined)
        html = templates.get_template("start.html").render(self._content)
        headers = ((b"content-security-policy", _POLICY), *NOT_KEPT)
        return Answer(200, html.encode(), HTML, headers)
