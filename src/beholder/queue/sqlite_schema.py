"""The tables of a queue's SQLite file, and how files of earlier versions come to them."""

import sqlite3

__all__ = ["make_tables"]

# The body stands last, so that the small columns are read without it. The index ends with the id by itself.
_SCHEMA = """
create table if not exists message(
  id integer primary key,
  queue text not null,
  visible_at_s real not null,
  receive_count integer not null default 0,
  token integer,
  priority integer not null default 0,
  body blob not null
);
"""
_COLUMNS = "select name from pragma_table_info('message')"
# A file from before there were classes: what waits in it counts as asynchronous.
_ADD_PRIORITY = "alter table message add column priority integer not null default 0"
_INDEX = """
create index if not exists message_by_class on message(queue, priority, visible_at_s);
drop index if exists message_by_time;
"""


def make_tables(db: sqlite3.Connection) -> None:
    """Make what is missing in a file; the caller keeps other processes away meanwhile.

    Raises:
        sqlite3.Error: The file is no database, or cannot be written.
    """
    db.executescript(_SCHEMA)
    columns = {name for (name,) in db.execute(_COLUMNS)}
    if "priority" not in columns and "visible_at_s" in columns:  # a table of somebody else is left alone
        db.execute(_ADD_PRIORITY)
    db.executescript(_INDEX)
