"""The posts of the board."""

from flask import Blueprint, abort, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from .db import get_db

bp = Blueprint("blog", __name__)


@bp.get("/")
def index() -> str:
    query = "SELECT title, username FROM post JOIN user ON author_id = user.id ORDER BY post.id"
    return render_template("blog/index.html", posts=get_db().execute(query).fetchall())


@bp.post("/create")
def create() -> Response:
    if g.user is None:
        abort(403)
    get_db().execute("INSERT INTO post (title, author_id) VALUES (?, ?)", (request.form["title"], g.user["id"]))
    get_db().commit()
    return redirect(url_for("blog.index"))
