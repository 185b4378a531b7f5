import json
import re
from importlib.metadata import EntryPoint

import flask
import pytest

from harness.store import pages

PAGE = (
    '<!doctype html><html><head><meta name="viewport" content="width=device-width"/>'
    '<title>MLflow</title></head><body><div id="root"></div></body>'
)
TAGS = [{"key": "harness.note.texts", "value": "[{}]"}, {"key": "mine", "value": "kept"}]


@pytest.fixture
def client():
    """A server whose first page is as MLflow's, with what these pages add to it."""
    app = flask.Flask("served")
    app.before_request(pages._ask_whole)
    app.after_request(pages._prepared)
    app.after_request(pages._without_notes)

    @app.route("/")
    def first_page():
        response = flask.Response(PAGE, mimetype="text/html")
        response.set_etag("as-it-was")
        return response.make_conditional(flask.request)

    @app.route("/report")
    def another_page():
        return "<html><head></head></html>"

    @app.route("/ajax-api/2.0/mlflow/experiments/search")
    @app.route("/api/2.0/mlflow/experiments/search")
    def list_of_experiments():
        return {"experiments": [{"name": "small", "tags": TAGS}, {"name": "Default"}]}

    return app.test_client()


def test_the_first_page_notes_what_is_looked_at_before_mlflow_reads_it(client):
    text = client.get("/").get_data(as_text=True)
    assert text.startswith(PAGE.partition("<meta")[0] + pages.SCRIPT)
    assert text.endswith(PAGE[PAGE.index("<title>") :])
    assert pages.AS_WIDE_AS_A_SCREEN in text and "device-width" not in text
    noted = re.search(r"entries\((\{.*?\})\)", text)
    assert noted is not None and json.loads(noted[1]) == pages.FIRST_VISIT


def test_a_first_page_that_the_browser_kept_is_not_confirmed(client):
    answer = client.get("/", headers={"If-None-Match": '"as-it-was"'})
    assert answer.status_code == 200 and pages.SCRIPT in answer.get_data(as_text=True)
    assert answer.headers["Cache-Control"] == "no-store" and "ETag" not in answer.headers


def test_other_pages_are_left_alone(client):
    assert client.get("/report").get_data(as_text=True) == "<html><head></head></html>"


def test_a_list_of_studies_shows_a_persons_tags_and_no_notes(client):
    shown, default = client.get("/ajax-api/2.0/mlflow/experiments/search").json["experiments"]
    assert shown == {"name": "small", "tags": TAGS[1:]} and default["tags"] == []
    for_programs = client.get("/api/2.0/mlflow/experiments/search").json["experiments"]
    assert for_programs[0]["tags"] == TAGS


def test_the_server_is_asked_for_these_pages_where_the_package_names_them(monkeypatch):
    point = EntryPoint(pages.APP, "harness.store.pages:create_app", "mlflow.app")
    assert point.load() is pages.create_app
    monkeypatch.setattr(pages, "entry_points", lambda group, name: [point])
    assert pages.options() == ["--app-name", pages.APP]
    monkeypatch.setattr(pages, "entry_points", lambda group, name: [])
    assert pages.options() == []
