"""Tokens, projects and the trail, on both databases."""

from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from robxfer_core.ledger import audit, projects, tables, tokens
from robxfer_core.ledger.engine import Conflict, NotFound, now, read, write

pytestmark = pytest.mark.servers


def test_an_error_of_the_database_tells_no_values(ledger: Any) -> None:
    with pytest.raises(IntegrityError) as refused, write(ledger.engine) as connection:
        connection.execute(update(tables.projects).values(id=None, name="hush"))
    assert "hush" not in str(refused.value).partition("DETAIL")[0]


def test_a_token_is_found_by_its_secret_while_it_holds(ledger: Any) -> None:
    made, secret = tokens.create(ledger.engine, "default", "anna", "submit")
    assert secret.startswith("rbx_")
    assert len(secret) == 4 + 43
    found = tokens.find(ledger.engine, secret)
    assert found is not None
    assert (found.id, found.name, found.scope, found.expires_at) == (made.id, "anna", "submit", None)
    for wrong in ("", "rbx_", secret[:-1], secret + "a", secret[4:], "rbx_" + "a" * 43, made.id):
        assert tokens.find(ledger.engine, wrong) is None
    assert tokens.revoke(ledger.engine, "default", "anna").revoked_at is not None
    assert tokens.find(ledger.engine, secret) is None

    _, short = tokens.create(ledger.engine, "default", "short", "read", expires_s=60.0)
    assert tokens.find(ledger.engine, short) is not None
    with write(ledger.engine) as connection:
        connection.execute(update(tables.tokens).values(expires_at=now() - 0.001))
    assert tokens.find(ledger.engine, short) is None


def test_only_the_hash_of_a_secret_is_kept(ledger: Any) -> None:
    _, secret = tokens.create(ledger.engine, "default", "anna", "submit")
    with read(ledger.engine) as connection:
        row = connection.execute(select(tables.tokens)).one()
    assert secret not in map(str, row)
    assert secret[4:] not in map(str, row)


def test_that_a_token_is_used_is_written_once_a_minute(ledger: Any) -> None:
    made, secret = tokens.create(ledger.engine, "default", "anna", "read")

    def used() -> float | None:
        return tokens.page(ledger.engine, "default").items[0].used_at

    assert made.used_at is None
    tokens.find(ledger.engine, secret)
    first = used()
    assert first is not None
    with ledger.statements() as sent:
        tokens.find(ledger.engine, secret)
    assert used() == first
    assert not [each for each in sent if each.startswith("UPDATE")]
    with write(ledger.engine) as connection:
        connection.execute(update(tables.tokens).values(used_at=now() - 61))
    tokens.find(ledger.engine, secret)
    assert (used() or 0) >= first


def test_a_name_is_given_once_in_a_project(ledger: Any, together: Any) -> None:
    projects.create(ledger.engine, "lab")
    tokens.create(ledger.engine, "lab", "anna", "read")

    def make() -> str:
        try:
            return tokens.create(ledger.engine, "default", "anna", "read")[1]
        except Conflict:
            return ""

    assert len(list(filter(None, together(*[make] * 4)))) == 1
    tokens.revoke(ledger.engine, "default", "anna")
    with pytest.raises(Conflict, match="has, or had, a token anna"):
        tokens.create(ledger.engine, "default", "anna", "read")
    with pytest.raises(NotFound, match="no project none"):
        tokens.create(ledger.engine, "none", "anna", "read")
    for name in ("", "a b", "tok_a", "-a", "a" * 61, "a\n"):
        with pytest.raises(ValueError, match="a token's name is"):
            tokens.create(ledger.engine, "default", name, "read")


def test_a_token_is_revoked_in_its_own_project_alone(ledger: Any) -> None:
    projects.create(ledger.engine, "lab")
    made, secret = tokens.create(ledger.engine, "lab", "anna", "admin")
    for token in (made.id, "anna"):
        with pytest.raises(NotFound):
            tokens.revoke(ledger.engine, "default", token)
    assert tokens.find(ledger.engine, secret) is not None
    first = tokens.revoke(ledger.engine, "lab", made.id)
    assert tokens.revoke(ledger.engine, "lab", made.id) == first
    assert tokens.page(ledger.engine, "default").items == []


def test_projects_have_names_and_quotas(ledger: Any) -> None:
    assert projects.create(ledger.engine, "lab", 3) == projects.Project("lab", 3)
    with pytest.raises(Conflict, match="there is a project lab"):
        projects.create(ledger.engine, "lab")
    for name in ("", "Lab", "a b", "-a", "a_b", "a" * 41, "lab\n"):
        with pytest.raises(ValueError, match="a project's name is"):
            projects.create(ledger.engine, name)
    projects.set_quota(ledger.engine, "default", 2)
    projects.set_quota(ledger.engine, "lab", None)
    assert projects.list_all(ledger.engine) == [projects.Project("default", 2), projects.Project("lab", None)]
    for ask in (projects.get, lambda engine, id: projects.set_quota(engine, id, 1)):
        with pytest.raises(NotFound, match="no project none"):
            ask(ledger.engine, "none")


def test_the_trail_is_kept_by_project_and_in_order(ledger: Any) -> None:
    projects.create(ledger.engine, "lab")
    line = audit.begin(ledger.engine, audit.Actor("anna", "lab", "tok_1", "::1"), "POST /x")
    assert audit.page(ledger.engine, "lab")[0].status is None
    audit.end(ledger.engine, line, 202, "exp_1")
    audit.begin(ledger.engine, audit.Actor("unknown"), "POST /y")
    with pytest.raises(Conflict), audit.by_operator(ledger.engine, "project create", "lab", "lab"):
        projects.create(ledger.engine, "lab")
    with audit.by_operator(ledger.engine, "project set", "lab", "lab"):
        projects.set_quota(ledger.engine, "lab", 1)
    mine = audit.page(ledger.engine, "lab")
    assert [(each.action, each.subject, each.status) for each in mine] == [
        ("project set", "lab", 200),
        ("project create", "lab", 400),
        ("POST /x", "exp_1", 202),
    ]
    assert audit.page(ledger.engine, "lab", 1, mine[0].id) == mine[1:2]
    assert audit.page(ledger.engine, "default") == []
    assert len(audit.page(ledger.engine, None)) == 4
