"""Why bytes are refused as an image."""

from __future__ import annotations

from streetseg.core.errors import StreetsegError


class BadImageError(StreetsegError):
    """The bytes are damaged, or no image of the expected kind."""

    def __init__(self, reason: str) -> None:
        """Store ``reason``, a predicate such as "is truncated", for messages that name the file."""
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the image {self.reason}"


class UnsupportedImageError(BadImageError):
    """The image is neither PNG, JPEG nor WebP."""


class TooLargeImageError(BadImageError):
    """The image has more pixels than allowed."""
