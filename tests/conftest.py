"""Fixtures of the whole suite.

The plugin's names are taken over by import, so that the tests run the same from a bare checkout as
where the package, and with it the plugin, is installed. Property tests try the same examples every
time; `pytest --hypothesis-profile=default` looks for new ones.
"""

from __future__ import annotations

from hypothesis import settings

from deluge_sync.testing.pytest_plugin import pytest_configure, sandbox

__all__ = ["pytest_configure", "sandbox"]

settings.register_profile("everyday", derandomize=True)
settings.load_profile("everyday")
