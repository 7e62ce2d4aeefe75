"""Errors between a client and the service."""

import httpx2
from pydantic import ValidationError

from robxfer_core.spec.wire.base import ProblemView


class ApiError(Exception):
    """The service refuses the request; `problem` says why, field by field."""

    def __init__(self, problem: ProblemView) -> None:
        super().__init__(f"{problem.title}: {problem.detail}" if problem.detail else problem.title)
        self.problem = problem


class Unreachable(Exception):
    """The service does not answer, after all tries."""


class DownloadError(Exception):
    """A file does not match its manifest, or its path would lie outside the folder for downloads."""


class UploadError(Exception):
    """A file or folder cannot be uploaded."""


def api_error(response: httpx2.Response) -> ApiError:
    """Reads a response that is not a success, which may come from a proxy in front of the service."""
    content = response.read()
    try:
        return ApiError(ProblemView.model_validate_json(content))
    except ValidationError:
        return ApiError(ProblemView(title=response.reason_phrase or "Error", status=response.status_code))
