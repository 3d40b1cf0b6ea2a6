"""How OpenAI words what is wrong with a field."""

from __future__ import annotations

from .checks import Path, VendorError, bracketed


class _Voice:
    """See `Voice`."""

    def unknown(self, path: Path) -> VendorError:
        """See `Voice`."""
        name = bracketed(path)
        return VendorError(
            400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter"
        )

    def missing(self, path: Path) -> VendorError:
        """See `Voice`."""
        name = bracketed(path)
        message = f"Missing required parameter: '{name}'."
        return VendorError(400, message, param=name, code="missing_required_parameter")

    def wrong(self, path: Path, expected: str) -> VendorError:
        """See `Voice`."""
        name = bracketed(path)
        message = f"Invalid value for '{name}': expected {expected}."
        return VendorError(400, message, param=name or None, code="invalid_value")


VOICE = _Voice()
