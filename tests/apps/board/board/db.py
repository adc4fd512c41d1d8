"""The database: one connection for each request, and the command that makes the tables."""

import os
import sqlite3

import click
from flask import Flask, current_app, g


def get_db() -> sqlite3.Connection:
    if "db" not in g:
        g.db = sqlite3.connect(current_app.config["DATABASE"], detect_types=sqlite3.PARSE_DECLTYPES)
        g.db.row_factory = sqlite3.Row
    return g.db


def close_db(_error: BaseException | None = None) -> None:
    db = g.pop("db", None)
    if db is not None:
        db.close()


def make_tables() -> None:
    with current_app.open_resource("schema.sql") as stream:
        get_db().executescript(stream.read().decode())


@click.command("init-db")
def init_db_command() -> None:
    """Make the tables that are not there yet."""
    make_tables()
    click.echo("Initialized the database.")


def init_app(app: Flask) -> None:
    app.teardown_appcontext(close_db)
    app.cli.add_command(init_db_command)
    # Each host of the tests has a database of its own, but a release command runs on one host alone.
    if not os.path.exists(app.config["DATABASE"]):
        with app.app_context():
            make_tables()
