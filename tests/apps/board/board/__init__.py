"""A message board in the layout of Flask's own tutorial: a factory, blueprints, a database in the instance folder."""

import os
import time

from flask import Flask, Response, jsonify, request

from . import auth, blog, db


def create_app(test_config: dict | None = None) -> Flask:
    app = Flask(__name__, instance_relative_config=True)
    app.config.from_mapping(
        SECRET_KEY=os.environ["SECRET_KEY"], DATABASE=os.path.join(app.instance_path, "board.sqlite")
    )
    app.config.from_mapping(test_config or {})
    os.makedirs(app.instance_path, exist_ok=True)
    db.init_app(app)
    app.register_blueprint(auth.bp)
    app.register_blueprint(blog.bp)
    app.add_url_rule("/", endpoint="index")

    @app.after_request
    def tell_release(response: Response) -> Response:
        response.headers["X-Release"] = os.environ["WEBAPP_RELEASE"]
        return response

    @app.get("/told")
    def told() -> Response:
        """The environment as it arrived, and how the visitor did."""
        env = {key: value for key, value in os.environ.items() if key.startswith(("TOLD_", "WEBAPP_"))}
        visitor = [request.scheme, request.host, request.remote_addr, request.script_root]
        return jsonify(env=env, visitor=visitor, pid=os.getpid())

    # The pages that tests/load/load.py requests.
    @app.post("/echo")
    def echo() -> Response:
        return Response(request.get_data(), mimetype="application/octet-stream")

    @app.get("/slow")
    def slow() -> str:
        time.sleep(min(float(request.args.get("seconds", "1")), 10))
        return "slow\n"

    return app
