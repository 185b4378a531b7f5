"""Messages as a worker writes them: what tests compare whole."""

import json


def kind_of(message):
    return json.loads(message.to_json())["kind"]


def info_of(message):
    return json.loads(message.to_json())["info"]


def update_of(message):
    return json.loads(message.to_json())["update"]
