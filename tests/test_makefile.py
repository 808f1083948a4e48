"""`make` installs what is missing and mends what was cut off, with a Python that only writes down what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIM = """\
#!/bin/sh
echo "$*" >> {log}
case "$*" in *venv*)
  mkdir -p .venv/bin && cp "$0" .venv/bin/python
  test -e {cut} || touch .venv/bin/pip
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="misses make")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with our Makefile and a Python of its own; a file `cut` makes its venv end half-way."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements").mkdir()
    for name in ("pyproject.toml", "requirements/run.txt", "requirements/dev.txt"):
        (tmp_path / name).touch()
    shim = tmp_path / "python3.12"
    shim.write_text(SHIM.format(log=tmp_path / "asked", cut=tmp_path / "cut"))
    shim.chmod(0o755)
    return tmp_path


def make(place: Path, target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *(arguments or (f"PYTHON={place / 'python3.12'}",)), target],
        cwd=place,
        env={**os.environ, "PATH": f"{place}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def asked(place: Path) -> str:
    return (place / "asked").read_text()


def age(path: Path, seconds: float) -> None:
    path.touch()
    changed = path.stat().st_mtime - seconds
    os.utime(path, (changed, changed))


def test_packages_new_in_the_lock_are_installed_though_those_of_the_tests_are_there(place: Path) -> None:
    assert make(place, ".venv/.dev").returncode == 0
    assert "-r requirements/dev.txt" in asked(place)
    for name, seconds in (("requirements/run.txt", 10.0), (".venv/.run", 20.0), (".venv/.dev", 15.0)):
        age(place / name, seconds)
    (place / "asked").unlink()
    assert make(place, ".venv/.run").returncode == 0
    assert "-r requirements/run.txt" in asked(place)
    age(place / ".venv" / ".run", 20.0)
    age(place / ".venv" / ".dev", 5.0)
    (place / "asked").unlink()
    assert make(place, ".venv/.run").returncode == 0
    assert "-r requirements/run.txt" not in asked(place), "the tests' packages hold them"
    assert "-e ." in asked(place)


def test_an_environment_that_was_cut_off_is_made_again(place: Path) -> None:
    (place / "cut").touch()
    make(place, ".venv/.run")
    (place / "cut").unlink()
    assert (place / ".venv" / "bin" / "python").exists()
    assert not (place / ".venv" / "bin" / "pip").exists()
    (place / "asked").unlink()
    assert make(place, ".venv/.run").returncode == 0
    assert "-m venv --clear .venv" in asked(place)


def test_a_python_that_does_not_start_is_passed_over_in_silence(place: Path) -> None:
    broken = place / "python3.13"
    broken.write_text("#!/bin/sh\necho 'command not found in this version' >&2\nexit 127\n")
    broken.chmod(0o755)
    result = make(place, ".venv/bin/pip", "-n")
    assert (result.returncode, result.stderr) == (0, "")
    assert "python3.12 -m venv" in result.stdout
