"""The files in `packaging` and the page that installs them say the same, and what the server understands."""

import re
import tomllib

import msgspec
import pytest

from docs.markdown import DOCS, ROOT, blocks
from mintmark.settings import Settings, names
from mintmark.settings.load import load

PACKAGING = ROOT / "packaging"
CONFIGURATION = PACKAGING / "mintmark.toml"
PAGE = DOCS / "how-to" / "go-to-production.md"
SET_BY_OTHERS = {"https_port", "tls_certificate", "tls_key", "host", "bearer", "teams", "cors_origins"}


def commented() -> dict[str, str]:
    """The settings that stand in the configuration in comments, outside tables."""
    text = CONFIGURATION.read_text().partition("# [[bearer]]")[0]
    return dict(re.findall(r"^# (\w+) = ([^#\n]*)", text, re.MULTILINE))


def test_the_page_shows_the_packaged_configuration() -> None:
    (shown,) = [block.text for block in blocks(PAGE) if block.noted("file") == "mintmark.toml"]

    assert tomllib.loads(CONFIGURATION.read_text()) == tomllib.loads(shown)


def test_the_packaged_configuration_is_understood() -> None:
    loaded = load("serve", {}, {}, CONFIGURATION)

    assert (None, 12080) == (loaded.settings.https_port, loaded.settings.http_port)


@pytest.mark.parametrize("name", sorted(commented().keys() - SET_BY_OTHERS))
def test_a_setting_in_a_comment_has_its_default(name: str) -> None:
    loaded = load("serve", {}, {}, CONFIGURATION)

    assert tomllib.loads(f"x = {commented()[name]}")["x"] == getattr(loaded.settings, name)


def test_every_setting_in_a_comment_exists() -> None:
    text = re.sub(r"^# ((?:\[\[)?\w+(?:\]\]| = ))", r"\1", CONFIGURATION.read_text(), flags=re.MULTILINE)
    uncommented, _, tables = text.partition("[[bearer]]")
    every = {*re.findall(r"^(\w+) = ", uncommented, re.MULTILINE), *re.findall(r"\[\[(\w+)\]\]", f"[[bearer]]{tables}")}

    assert every <= set(names("serve"))
    assert every <= {field.name for field in msgspec.structs.fields(Settings)}
    assert {"bearer", "teams", "cors_origins", "tls_key", "limits"} <= every


def test_the_tables_in_comments_are_understood() -> None:
    tables = CONFIGURATION.read_text().partition("# [[bearer]]")
    examples = re.sub(r"^# (\[\[|\w+ = )", r"\1", "".join(tables[1:]), flags=re.MULTILINE)
    written = tomllib.loads(examples)

    loaded = load("serve", {name: written[name] for name in ("bearer", "teams")}, {}, CONFIGURATION)

    assert (1, 1) == (len(loaded.settings.bearer), len(loaded.settings.teams))


def test_the_page_names_files_that_exist_and_paths_that_the_unit_has() -> None:
    page, unit = PAGE.read_text(), (PACKAGING / "mintmark.service").read_text()

    for name in re.findall(r"packaging/([\w.]+)", page):
        assert (PACKAGING / name).is_file(), name
    for path in ("/opt/mintmark/bin/mintmark", "/etc/mintmark"):
        assert path in page
        assert path in unit
