"""What a program in another environment did, as it printed it: a test takes the outcomes that it looks at."""

from typing import Any

from compat.support_matrix import Recorder


class Outcomes:
    """By name, what came of something and the requests that were sent for it."""

    def __init__(self, client: str, printed: dict[str, Any], recorder: Recorder) -> None:
        self._client = client
        self._printed = printed
        self._recorder = recorder

    def __getitem__(self, name: str) -> Any:
        """One outcome; its requests count for the test that takes it."""
        printed = self._printed[name]
        for method, url, status in printed["sent"]:
            self._recorder(self._client, method, url, status)
        return printed["outcome"]
