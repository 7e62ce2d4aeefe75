"""Which data sets can be read."""

from robxfer_core.ledger import workers
from robxfer_core.planning.plan import Catalog
from robxfer_core.spec.datasets import scan

from .context import Context


def catalog_of(ctx: Context) -> Catalog | None:
    """The data sets that can be read, as workers say; on the embedded default while none lives, as seen from here."""
    if ctx.settings.database_url.startswith("sqlite") and not workers.live(ctx.engine):
        return {name: dict(facts) for name, facts in scan(ctx.settings.data_root).items()}
    return workers.known_datasets(ctx.engine)
