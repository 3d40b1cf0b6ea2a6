"""The sandbox fixture, here too."""

from tests.conftest import sandbox

__all__ = ["sandbox"]
