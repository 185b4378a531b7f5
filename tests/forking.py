"""`harness` in processes forked from one that has imported everything: what a kill meets is the
study's work.
"""

import json
import os
import signal
import subprocess
import sys

SERVER = """
import json
import os
import sys

import alembic.command
import matplotlib.backends.backend_svg
import mlflow.store.tracking.sqlalchemy_store
import optuna.storages

from harness import cli
from harness.runner import exchange, launch, publisher, runtime_phase, scheduler

while line := sys.stdin.readline():
    words, errors = json.loads(line)
    child = os.fork()
    if not child:
        for number, path in enumerate((os.devnull, os.devnull, errors)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        sys.argv[1:] = words
        sys.exit(cli.main())
    print(child, flush=True)
    # Until then an ended child keeps its number, which a late kill could else find given anew.
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forking:
    """Starts commands, one at a time."""

    def __enter__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.server = subprocess.Popen([sys.executable, "-c", SERVER], **pipes)
        self.start(["--help"], os.devnull)
        assert self.wait() == 0  # everything is imported
        return self

    def __exit__(self, *_):
        self.server.communicate(timeout=60)

    def start(self, words, errors):
        """Starts `harness`; what it says on standard error goes to the file `errors`."""
        self._say(json.dumps([[str(word) for word in words], str(errors)]))
        self.child = int(self.server.stdout.readline())

    def kill(self):
        """Ends the command at once, if it has not ended."""
        os.kill(self.child, signal.SIGKILL)

    def wait(self):
        """Returns the exit code, negative after a signal."""
        self._say("wait")
        return int(self.server.stdout.readline())

    def _say(self, line):
        self.server.stdin.write(line + "\n")
        self.server.stdin.flush()
