"""Which data sets workers can read."""

from robxfer_core.ledger import workers
from robxfer_core.spec.datasets import DatasetInfo, scan

from .context import ApiContext


def readable_datasets(ctx: ApiContext) -> dict[str, DatasetInfo] | None:
    """Lists the data sets by name, with what is known of their shape.

    Returns:
        What workers have reported; None where no worker ever has. On the embedded default, where the API and the
        worker read one folder, the folder is read while no worker lives.
    """
    if ctx.settings.database_url.startswith("sqlite") and not workers.list_live(ctx.engine):
        return scan(ctx.settings.data_root)
    return workers.known_datasets(ctx.engine)
