import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.data import corpora, download


@pytest.fixture
def time_machine():
    """The book as published; the tests of its facts download nothing."""
    path = download.data_folder() / corpora.TIME_MACHINE.name
    if not path.exists():
        pytest.skip("the Time Machine is not on this machine (HARNESS_DATA)")
    return path.read_bytes()


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """An empty folder that HARNESS_DATA names."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("HARNESS_DATA", str(folder))
    return folder


class Server(ThreadingHTTPServer):
    """A web server on this machine: `pages` is path -> (content, Content-Length), `requests` the
    paths asked for.
    """

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.pages: dict[str, tuple[bytes, int]] = {}
        self.requests: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            made.requests.append(self.path)
            if self.path not in made.pages:
                self.send_error(404)
                return
            content, length = made.pages[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format, *arguments):
            pass

    with Server(Handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()
