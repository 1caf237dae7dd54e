import os
from pathlib import Path

import pytest

from mintmark import data_folder
from mintmark.data_folder import LOCK_FILE, hold
from mintmark.errors import StartRefused
from store.backup_process import die_at


@pytest.mark.parametrize("left", [[], [LOCK_FILE]], ids=["after the folder", "after the lock file"])
def test_a_folder_whose_making_was_cut_short_is_made_complete(tmp_path: Path, left: list[str]) -> None:
    for name in left:
        (tmp_path / name).touch()
    tmp_path.chmod(0o755)

    with hold(str(tmp_path), ephemeral=False) as folder:
        made = {path.name for path in folder.path.iterdir()}

    assert {LOCK_FILE, ".gitignore"} == made
    assert "*\n" == (tmp_path / ".gitignore").read_text()
    assert 0o700 == tmp_path.stat().st_mode & 0o777


@pytest.mark.parametrize("line", range(1, 40))
def test_whenever_a_start_is_killed_the_next_one_takes_the_folder(tmp_path: Path, line: int) -> None:
    """Before each line of the code in turn."""
    path = tmp_path / "data"
    if (child := os.fork()) == 0:
        die_at(line, data_folder.__file__)
        with hold(str(path), ephemeral=False):
            os._exit(0)
    os.waitpid(child, 0)

    with hold(str(path), ephemeral=False) as folder:
        assert {LOCK_FILE, ".gitignore"} == {each.name for each in folder.path.iterdir()}


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").touch()

    with pytest.raises(StartRefused, match="holds no data"), hold(str(tmp_path), ephemeral=False):
        pass

    assert [".gitignore"] == [path.name for path in tmp_path.iterdir()]
