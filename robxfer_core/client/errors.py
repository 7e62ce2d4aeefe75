"""What can go wrong between a client and the service."""

from robxfer_core.spec.wire.base import ProblemView


class ApiError(Exception):
    """The service refused: `problem` says why, field by field."""

    def __init__(self, problem: ProblemView) -> None:
        super().__init__(f"{problem.title}: {problem.detail}" if problem.detail else problem.title)
        self.problem = problem


class Unreachable(Exception):
    """No answer from the service, after all tries."""


class DownloadError(Exception):
    """A file that did not come as its manifest says, or that may not be written where it would go."""


class UploadError(Exception):
    """A file or folder that cannot be uploaded."""
