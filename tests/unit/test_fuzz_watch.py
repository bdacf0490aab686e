"""The operator's fuzz targets notice what a refused call writes, but for its arrival."""

import sqlite3
from contextlib import closing

import pytest
from tests.fuzz.operator import Desk

from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Ingress, Note, Traffic

ARRIVED = Ingress(
    purpose="federated-training",
    sender=InstitutionId("inst-01"),
    jurisdiction="DE",
    traffic=Traffic.CONTROL,
    message="fetch-plan",
    size_bytes=40,
    digest=Digest("a" * 64),
    round=None,
    nonce=b"",
)


@pytest.fixture
def desk(tmp_path):
    return Desk("collecting", tmp_path)


def write(desk, *bodies):
    store = desk._operator.store
    with store.write() as tx:
        for body in bodies:
            store.ledger.append(tx, body)


def test_nothing_and_an_arrival_are_no_change(desk):
    assert not desk.changed()
    for _ in range(2):
        write(desk, ARRIVED)
        assert not desk.changed()


@pytest.mark.parametrize("bodies", [(ARRIVED, ARRIVED), (Note(text="a remark", about=None),)])
def test_more_than_an_arrival_is_a_change(desk, bodies):
    write(desk, *bodies)
    assert desk.changed()


@pytest.mark.parametrize(
    "deed",
    [
        "update institutions set state = 'revoked' where id = 'inst-01'",
        "delete from institutions where id = 'inst-01'",
        "update entries set raw = x'00' where sequence = 0",
        "delete from entries where sequence = 0",
    ],
)
def test_a_row_of_any_table_is_a_change(desk, deed):
    with closing(sqlite3.connect(desk._operator.home.database)) as database:
        assert database.execute(deed).rowcount == 1
        database.commit()
    assert desk.changed()
