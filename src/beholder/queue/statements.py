"""The table of a queue's SQLite file, the statements on it, and the migration of earlier files."""

import sqlite3

__all__ = [
    "ACK",
    "BACKLOG",
    "DUE",
    "EXTEND",
    "HIDDEN",
    "HIDE",
    "INSERT",
    "NACK",
    "REDRIVE",
    "VISIBLE",
    "make_tables",
]

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
# For a file of a version without classes: its messages count as asynchronous.
_ADD_PRIORITY = "alter table message add column priority integer not null default 0"
_INDEX = """
create index if not exists message_by_class on message(queue, priority, visible_at_s);
drop index if exists message_by_time;
"""
INSERT = "insert into message(queue, visible_at_s, priority, body) values(?, ?, ?, ?)"
DUE = "select min(visible_at_s) from message where queue = ? and priority = ?"
VISIBLE = (
    "select id, receive_count, body from message where queue = ? and priority = ? and visible_at_s <= ?"
    " order by visible_at_s, id"
)
HIDE = "update message set visible_at_s = ?, token = ?, receive_count = receive_count + 1 where id = ?"
REDRIVE = "update message set queue = ?, visible_at_s = ?, token = null, receive_count = 0 where id = ?"
EXTEND = "update message set visible_at_s = ? where id = ? and token = ? and queue = ? and visible_at_s > ?"
NACK = (
    "update message set visible_at_s = ?, token = null"
    " where id = ? and token = ? and queue = ? and visible_at_s > ?"
)
ACK = "delete from message where id = ? and token = ? and queue = ?"
BACKLOG = "select count(*) from message where queue = ? and priority = ? and visible_at_s <= ?"
HIDDEN = (
    "select count(*) from message indexed by message_by_class"
    " where queue = ? and priority = ? and visible_at_s > ?"
)


def make_tables(db: sqlite3.Connection) -> None:
    """Make the table and the index if they are missing; the caller keeps other processes away meanwhile.

    Raises:
        sqlite3.Error: The file is no database, or cannot be written.
    """
    db.executescript(_SCHEMA)
    columns = {name for (name,) in db.execute(_COLUMNS)}
    if "priority" not in columns and "visible_at_s" in columns:  # a table of another program is left alone
        db.execute(_ADD_PRIORITY)
    db.executescript(_INDEX)
