"""What is handed on has the wall in it: the wheel, and the sdist of which others make theirs."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Our build settings over one file a room, with a front end that is built and, as ours, ignored by git."""
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    for room in ("app", "streams", "nlp", "alerts"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    (tmp_path / "app" / "static").mkdir()
    (tmp_path / "app" / "static" / "index.html").touch()
    return tmp_path


def test_sdist_and_wheel_have_the_wall(project: Path) -> None:
    sdist = pytest.importorskip("hatchling.builders.sdist").SdistBuilder(str(project))
    (made,) = sdist.build(directory=str(project / "dist"))
    with tarfile.open(made) as archive:
        assert any(name.endswith("/app/static/index.html") for name in archive.getnames())
    wheel = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(project))
    (made,) = wheel.build(directory=str(project / "dist"), versions=["standard"])
    with zipfile.ZipFile(made) as archive:
        assert "app/static/index.html" in archive.namelist()
