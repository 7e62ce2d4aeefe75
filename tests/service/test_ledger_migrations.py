"""The migrations: up, down, the same as the tables, one at a time."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select

from robxfer_core.ledger import migrate
from robxfer_core.ledger.engine import connect, read
from robxfer_core.ledger.tables import metadata, projects

pytestmark = pytest.mark.servers


def test_up_gives_the_tables_that_the_code_knows(database_url):
    engine = connect(database_url)
    with read(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.scalars(select(projects.c.id)).all() == ["default"]
    engine.dispose()


def test_a_difference_would_be_seen(database_url):
    from sqlalchemy import Column, Integer, MetaData

    other = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(other)
    other.tables["workers"].append_column(Column("colour", Integer))
    engine = connect(database_url)
    with read(engine) as connection:
        assert len(compare_metadata(MigrationContext.configure(connection), other)) == 1
    engine.dispose()


def test_up_and_down_and_up(empty_url):
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == migrate.head()
    migrate.downgrade(empty_url, "base")
    assert migrate.current(empty_url) is None
    engine = connect(empty_url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()
    migrate.upgrade(empty_url)


def test_two_that_migrate_at_once_wait_for_each_other(empty_url, together):
    together(*[lambda: migrate.upgrade(empty_url)] * 3)
    assert migrate.current(empty_url) == migrate.head()
