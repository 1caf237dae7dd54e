"""The tests of this folder need Debian's packages; `make test-all` has them, `make test` leaves them out."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: needs Debian's packages chromium and libnss3-tools")
