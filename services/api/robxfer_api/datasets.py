"""Which data sets can be read."""

from robxfer_core.ledger import workers
from robxfer_core.spec.datasets import DatasetInfo, scan

from .context import Context


def readable_datasets(ctx: Context) -> dict[str, DatasetInfo] | None:
    """The data sets that can be read, as workers say; on the embedded default while none lives, as seen from here."""
    if ctx.settings.database_url.startswith("sqlite") and not workers.live(ctx.engine):
        return scan(ctx.settings.data_root)
    return workers.known_datasets(ctx.engine)
