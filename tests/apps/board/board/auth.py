"""Accounts: who writes."""

import sqlite3

from flask import Blueprint, abort, g, redirect, render_template, request, session, url_for
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.wrappers import Response

from .db import get_db

bp = Blueprint("auth", __name__, url_prefix="/auth")


@bp.before_app_request
def load_logged_in_user() -> None:
    identity = session.get("user_id")
    g.user = get_db().execute("SELECT * FROM user WHERE id = ?", (identity,)).fetchone() if identity else None


@bp.route("/register", methods=("GET", "POST"))
def register() -> Response | str:
    if request.method == "GET":
        return render_template("auth/form.html", title="Register")
    try:
        values = (request.form["username"], generate_password_hash(request.form["password"]))
        get_db().execute("INSERT INTO user (username, password) VALUES (?, ?)", values)
        get_db().commit()
    except sqlite3.IntegrityError:
        abort(409)
    return redirect(url_for("auth.login"))


@bp.route("/login", methods=("GET", "POST"))
def login() -> Response | str:
    if request.method == "GET":
        return render_template("auth/form.html", title="Log in")
    user = get_db().execute("SELECT * FROM user WHERE username = ?", (request.form["username"],)).fetchone()
    if user is None or not check_password_hash(user["password"], request.form["password"]):
        abort(403)
    session["user_id"] = user["id"]
    return redirect(url_for("index"))
