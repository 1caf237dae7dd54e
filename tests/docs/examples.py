"""Runs the examples of a page as a reader would: in order, in one folder, and looks at what comes out.

| block | what happens |
|---|---|
| `python`, `js`, `sh` | run; the status must be 0 |
| `console` | the lines after `$ ` run in one shell; the other lines are what they print, standard error included |
| `text`, `json` | what the block before it printed |
| any, after `<!-- file: NAME -->` | written to that file, for later blocks to use |
| any, after `<!-- not run: REASON -->` | left alone |
| any, after `<!-- needs: PROGRAM ... -->` | left alone where a program is missing, except in CI |
| `http` | see `test_http_exchanges` |

Where a page shows `…` or `...`, anything may stand. A status other than 0 passes if the next command is `echo $?`.

All pages share one server, except one that says in a comment `<!-- server: its own, REASON -->` why it must not: it
moves the clock, for one.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from docs.markdown import PAGES, ROOT, Block, blocks

NODE_MODULES = ROOT / "tests" / "compat" / "node" / "node_modules"
PROGRAMS = {"python": ("python", "example.py"), "js": ("node", "example.mjs"), "sh": ("sh", "example.sh")}
OUTPUTS = ("text", "json")
LONGEST = 60  # seconds
_MARK = "\x1e"
_STATUS = "echo $?"


def is_left_alone(block: Block) -> bool:
    """Whether a reason says why the block is not run."""
    return block.note.startswith("not run")


def has_its_own_server(page: Path) -> bool:
    """Whether a page says that its examples must not share a server."""
    return "\n<!-- server: its own, because " in page.read_text()


BLOCKS = [block for page in PAGES for block in blocks(page)]
_WITH_EXAMPLES = sorted({block.page for block in BLOCKS if not is_left_alone(block)})
APART = [page for page in _WITH_EXAMPLES if has_its_own_server(page)]
SHARING = [page for page in _WITH_EXAMPLES if page not in APART]


def follow(page: Path, folder: Path, environ: Mapping[str, str]) -> None:
    """Runs the examples of a page in an empty folder, beside the server that the environment names."""
    reader = Reader(folder, environ)
    for block in blocks(page):
        reader.follow(block)


class Reader:
    """Somebody who follows a page, in a folder and an environment of their own."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        (folder / "node_modules").symlink_to(NODE_MODULES)  # Node looks for packages beside a module, in no variable.
        path = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
        own = {name: value for name, value in environ.items() if not name.startswith("PYTEST_")}
        # A reader's pytest has not the plugins that are installed here, and some take seconds to load.
        self._environ = {**own, "PATH": path, "HOME": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        self._printed: str | None = None

    def follow(self, block: Block) -> None:
        """Runs one block, or compares it with what was printed."""
        if is_left_alone(block) or block.language == "http" or self._lacks(block):
            self._printed = None
        elif name := block.noted("file"):
            (self._folder / name).write_text(block.text)
        elif block.language == "console":
            self._console(block)
        elif block.language in OUTPUTS:
            assert self._printed is not None, f"{block.place}: no block before it printed anything"
            _compare(block, block.text, self._printed)
        else:
            self._printed = self._program(block)

    def _lacks(self, block: Block) -> bool:
        missing = [program for program in block.noted("needs").split() if not shutil.which(program)]
        assert not (missing and "CI" in self._environ), f"{block.place}: CI has to install {missing}"
        return bool(missing)

    def _program(self, block: Block) -> str:
        assert block.language in PROGRAMS, f"{block.place}: '{block.language}' is not run; say why not"
        program, file = PROGRAMS[block.language]
        (self._folder / file).write_text(block.text)
        ended = self._run([program, file])
        assert ended.returncode == 0, f"{block.place}: status {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def _console(self, block: Block) -> None:
        steps = _steps(block)
        script = "".join(
            f"{{ {command}\n}} 2>&1; status=$?; printf '{_MARK}%d{_MARK}' $status; (exit $status)\n"
            for command, _ in steps
        )
        printed = self._run(["sh", "-c", script]).stdout.split(_MARK)
        assert len(printed) == 2 * len(steps) + 1, f"{block.place}: the shell ended early\n{printed}"
        for number, (command, expected) in enumerate(steps):
            output, status = printed[2 * number : 2 * number + 2]
            looked_at = steps[number + 1 :] and steps[number + 1][0] == _STATUS
            assert status == "0" or looked_at, f"{block.place}: '{command}' ended with {status}\n{output}"
            _compare(block, expected, output)

    def _run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self._folder,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def _steps(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it shall print."""
    steps: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], ""))
            continue
        assert steps, f"{block.place}: output before a command"
        command, expected = steps[-1]
        steps[-1] = (f"{command}\n{line}", "") if command.endswith("\\") else (command, f"{expected}{line}\n")
    return steps


def _compare(block: Block, expected: str, printed: str) -> None:
    assert matches(expected, printed), f"{block.place}: expected\n{expected}\nbut there came\n{printed}"


def matches(expected: str, printed: str) -> bool:
    """Whether a text is what a page shows; blanks at the ends of lines do not count."""
    pattern = "".join(
        ".*" if part in ("…", "...") else re.escape(part) for part in re.split(r"(…|\.\.\.)", _trim(expected))
    )
    return re.fullmatch(pattern, _trim(printed), re.DOTALL) is not None


def _trim(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
