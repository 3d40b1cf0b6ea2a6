"""How Anthropic words what is wrong with a field."""

from __future__ import annotations

from .checks import Path, VendorError


class _Voice:
    """See `Voice`."""

    def unknown(self, path: Path) -> VendorError:
        """See `Voice`."""
        return VendorError(400, f"{dotted(path)}: Extra inputs are not permitted")

    def missing(self, path: Path) -> VendorError:
        """See `Voice`."""
        return VendorError(400, f"{dotted(path)}: Field required")

    def wrong(self, path: Path, expected: str) -> VendorError:
        """See `Voice`."""
        return VendorError(400, f"{dotted(path) or 'body'}: Input should be {expected}")


VOICE = _Voice()


def dotted(path: Path) -> str:
    """`path` as Anthropic writes it: messages.0.role."""
    return ".".join(map(str, path))
