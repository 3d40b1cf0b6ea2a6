"""The pytest fixture `sandbox`: a fresh `Sandbox` for each test that asks for it.

A marker gives it settings, those of `Sandbox`: `@pytest.mark.sandbox(requests_per_minute=5)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .sandbox import Sandbox


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "sandbox(**settings): settings of the `sandbox` fixture")


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A running `Sandbox`, closed after the test."""
    # Imported when first used: collecting tests must not load the library.
    from .sandbox import Sandbox

    marker = request.node.get_closest_marker("sandbox")
    with Sandbox(**(marker.kwargs if marker else {})) as running:
        yield running
