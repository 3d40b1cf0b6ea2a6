"""`nox`: the tests on every supported Python, and with the oldest dependencies allowed."""

import nox

PYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The everyday suite."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def plain(session: nox.Session) -> None:
    """Without the extra [fast]: urllib3's parser in place of httptools."""
    session.install(".[test]")
    session.run("pip", "uninstall", "-y", "httptools")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Lint, format and types."""
    session.install(".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
