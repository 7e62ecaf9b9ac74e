"""A table in parts: the rows come out in order, whoever wrote them and however often it stopped."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from antiphon.tables import Parts

SCHEMA = pa.schema([("name", pa.string())], metadata={"asked": "this"})


def test_the_table_is_in_the_order_of_the_numbers(tmp_path):
    out = tmp_path / "t.parquet"
    odd, even = Parts(out, SCHEMA, seconds=0.0), Parts(out, SCHEMA)
    for number in (5, 1, 3):
        odd.add(number, [{"name": f"{number}a"}, {"name": f"{number}b"}])
    for number in (0, 2, 4):
        even.add(number, [{"name": str(number)}])
    even.flush()
    assert even.done() == set(range(6))
    assert odd.finish({"more": "that"}) == 9
    table = pq.read_table(out)
    assert table["name"].to_pylist() == ["0", "1a", "1b", "2", "3a", "3b", "4", "5a", "5b"]
    assert table.schema.metadata == {b"asked": b"this", b"more": b"that"}
    assert not odd.folder.exists()


def test_failures_are_kept_until_they_succeed(tmp_path):
    parts = Parts(tmp_path / "t.parquet", SCHEMA)
    parts.fail(1, "broken")
    parts.fail(2, "broken too")
    parts.flush()
    again = Parts(tmp_path / "t.parquet", SCHEMA)
    assert again.done() == set()
    again.add(1, [{"name": "mended"}])
    again.flush()
    assert again.done() == {1}
    assert again.failed() == {2: "broken too"}


def test_parts_of_another_request_are_removed(tmp_path):
    parts = Parts(tmp_path / "t.parquet", SCHEMA)
    parts.add(0, [{"name": "x"}])
    parts.flush()
    other = Parts(tmp_path / "t.parquet", SCHEMA.with_metadata({"asked": "something else"}))
    assert other.done() == set()
    assert not list(parts.folder.glob("*"))
