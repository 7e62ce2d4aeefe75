"""Why an upload is refused."""

from robxfer_core.spec.errors import show


class BadUpload(ValueError):
    """An upload that cannot be taken. The message names the place in it, what was got, and what is taken."""

    def __init__(self, at: str, got: str, takes: str) -> None:
        # A name in an archive is its maker's: it is shown as a piece of JSON, without control characters.
        super().__init__(f"{show(at)[1:-1]}: got {got}; takes {takes}")
