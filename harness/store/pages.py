"""MLflow's pages as `harness ui` serves them: they open where a study is, and show it first.

MLflow keeps in the browser whether a person looks at language models or at training, and whether
its assistant has opened by itself. A first visit has neither, so that every way in led to an empty
list of traces with the assistant over a quarter of the width; and every free port is a first visit.
The server therefore serves the first page with a script that notes both before MLflow reads them.
A person who chooses otherwise has chosen: what the browser keeps is left alone.

Three more things keep a study from sight. On the home page a note on the usage data that MLflow
collects, which `harness ui` has it not do, and an introduction to language models stand above all
studies. A phone is told that the page is as wide as itself, where its side bar then takes half.
And lists of studies show all of an experiment's tags, most of which are notes of this bench.

MLflow finds :func:`create_app` by the entry point of its documented group ``mlflow.app``.
"""

import json
import re
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from harness.store.notes import PREFIX

if TYPE_CHECKING:
    from fastapi import FastAPI
    from flask import Response

APP = "recurrent-bench"
"""The name of the entry point."""
FIRST_VISIT = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "mlflow.telemetry.info.alert.dismissed_v1": True,
    "mlflow.home.getting-started.collapsed_v1": True,
}
"""Key of the browser's storage -> what a first visit finds there."""
SCRIPT = (
    "<script>try{for(const[k,v]of Object.entries("
    + json.dumps(FIRST_VISIT)
    + "))localStorage.getItem(k)??localStorage.setItem(k,JSON.stringify(v))}catch{}</script>"
)
HEAD = "<head>"
PHONE = re.compile(r'<meta name="viewport"[^>]*>')
AS_WIDE_AS_A_SCREEN = '<meta name="viewport" content="width=1280"/>'
"""A phone then draws the whole page and lets a person zoom in; a computer knows no such line."""
LISTED = re.compile(r"/ajax-api/[0-9.]+/mlflow/experiments/search")
"""Where MLflow's pages ask for lists of experiments; its clients ask elsewhere."""


def options() -> list[str]:
    """Returns the options by which ``mlflow server`` serves these pages.

    They are none where the package's entry points are those of an earlier version, until it is
    installed again.
    """
    is_known = any(entry_points(group="mlflow.app", name=APP))
    return ["--app-name", APP] if is_known else []


def create_app() -> "FastAPI":
    """Returns MLflow's server with what these pages are for."""
    from mlflow.server import app as flask_app
    from mlflow.server.fastapi_app import app

    flask_app.before_request(_ask_whole)
    flask_app.after_request(_prepared)
    flask_app.after_request(_without_notes)
    served: FastAPI = app
    return served


def _ask_whole() -> None:
    """Forgets that the browser has a page: it may be one without the script."""
    from flask import request

    if request.path == "/":
        for name in ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE"):
            request.environ.pop(name, None)


def _prepared(response: "Response") -> "Response":
    """Returns MLflow's first page with the script, as wide as a screen; any other as it is."""
    if response.status_code == 200 and response.mimetype == "text/html":
        response.direct_passthrough = False
        text = response.get_data(as_text=True)
        if 'id="root"' in text and HEAD in text:
            text = PHONE.sub(AS_WIDE_AS_A_SCREEN, text.replace(HEAD, HEAD + SCRIPT, 1))
            response.set_data(text)
            for name in ("ETag", "Last-Modified"):
                response.headers.pop(name, None)
            response.headers["Cache-Control"] = "no-store"
    return response


def _without_notes(response: "Response") -> "Response":
    """Returns a list of experiments for a page without this bench's notes; others as they are."""
    from flask import request

    if response.status_code == 200 and LISTED.fullmatch(request.path):
        listed = response.get_json()
        for experiment in listed.get("experiments", ()):
            tags = experiment.get("tags", ())
            experiment["tags"] = [tag for tag in tags if not tag["key"].startswith(PREFIX)]
        response.set_data(json.dumps(listed))
    return response
