"""What is built is what runs: wheel, sdist, editable install and bare checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = (
    "from deluge_sync import Client; print(Client('sandbox/echo').complete('hello').completion)"
)


def run(*command: object, cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that building leaves nothing behind in it."""
    target = tmp_path_factory.mktemp("source") / "checkout"
    skip = shutil.ignore_patterns(
        ".*", "build", "dist", "*.egg-info", "__pycache__", ".venvs", "tests", "benchmarks"
    )
    shutil.copytree(ROOT, target, ignore=skip)
    return target


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist, built without fetching anything."""
    target = tmp_path_factory.mktemp("dist")
    pytest.importorskip("build")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", target, ".", cwd=source)
    return {path.suffix: path for path in target.iterdir()}


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment's Python."""
    target = tmp_path_factory.mktemp("environment")
    venv.create(target, with_pip=True)
    return target / ("Scripts" if os.name == "nt" else "bin") / "python"


def test_the_wheel_runs_a_call_in_an_empty_environment_from_another_folder(
    built: dict[str, Path], empty_environment: Path, tmp_path: Path
) -> None:
    run(empty_environment, "-m", "pip", "install", "-q", built[".whl"], cwd=tmp_path)
    assert run(empty_environment, "-c", SCRIPT, cwd=tmp_path) == "hello\n"
    script = empty_environment.with_name("deluge-sync")
    assert "sandbox/echo" in run(script, "models", "--provider", "sandbox", cwd=tmp_path)


def test_wheel_and_sdist_hold_the_catalog_and_the_type_marker(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built[".whl"]) as wheel:
        names = set(wheel.namelist())
    assert {"deluge_sync/config/models.yaml", "deluge_sync/config/providers.yaml"} <= names
    assert "deluge_sync/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "config/"))]
    with tarfile.open(built[".gz"]) as sdist:
        paths = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"config/models.yaml", "config/providers.yaml", "README.md", "setup.py"} <= paths


def test_an_editable_install_finds_the_catalog(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "environment"
    venv.create(target, with_pip=True, system_site_packages=False)
    python = target / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "-q", "-e", source, cwd=tmp_path)
    assert run(python, "-c", SCRIPT, cwd=tmp_path) == "hello\n"


def test_a_bare_checkout_finds_the_catalog(source: Path, tmp_path: Path) -> None:
    assert run(sys.executable, "-c", SCRIPT, cwd=tmp_path, PYTHONPATH=str(source)) == "hello\n"
