"""The typed HTTP client. Knows the spec's words and nothing of the service's inside."""

from .client import Client
from .errors import ApiError, DownloadError, Unreachable, UploadError

__all__ = ["ApiError", "Client", "DownloadError", "Unreachable", "UploadError"]
