"""`harness` in processes forked from one that has imported what it needs: starting costs a few
milliseconds, and what a kill meets is the study's work.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

NOTHING = "from harness import cli\n"
"""What `harness` itself imports, whatever it is told to do."""
EVERYTHING = f"""
import sys

import alembic.command
import matplotlib.backends.backend_svg
import mlflow.store.tracking.sqlalchemy_store
import optuna.storages
import torch

{NOTHING}
from harness.runner import exchange, launch, publisher, runtime_phase, scheduler

sys.path.append({str(Path(__file__).parent)!r})
import unsynced

sys.path.pop()  # a command finds none of the tests' modules
unsynced.begin()
"""

SERVER = """
import atexit
import gc
import json
import os
import sys

gc.freeze()
while line := sys.stdin.readline():
    words, files, folder, variables = json.loads(line)
    child = os.fork()
    if not child:
        for number, path in enumerate((os.devnull, *files)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        os.chdir(folder)
        os.environ.update(variables)
        sys.argv[1:] = words
        try:
            code = cli.main()
        except SystemExit as end:
            code = end.code
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)  # to take apart all that was imported takes longer than the command
    print(child, flush=True)
    # Until then an ended child keeps its number, which a late kill could else find given anew.
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forking:
    """Starts commands, one at a time.

    ``prepared`` is what the process has done from which all are forked.
    """

    def __init__(self, prepared=EVERYTHING):
        self.code = prepared + SERVER

    def __enter__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.server = subprocess.Popen([sys.executable, "-c", self.code], **pipes)
        self.start(["--help"], os.devnull)
        assert self.wait() == 0  # everything is imported
        return self

    def __exit__(self, *_):
        self.server.communicate(timeout=600)

    def start(self, words, errors, output=os.devnull, folder=".", **variables):
        """Starts `harness`; what it says goes to the files `output` and, of errors, `errors`."""
        files = [str(output), str(errors)]
        self._say(json.dumps([[str(word) for word in words], files, str(folder), variables]))
        self.child = int(self.server.stdout.readline())

    def kill(self):
        """Ends the command at once, if it has not ended."""
        os.kill(self.child, signal.SIGKILL)

    def wait(self):
        """Returns the exit code, negative after a signal."""
        self._say("wait")
        return int(self.server.stdout.readline())

    def run(self, *words, cwd, **variables):
        """Runs a command in the folder `cwd`, and returns how it ended and what it said."""
        with tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            self.start(words, errors, output, cwd, **variables)
            code = self.wait()
            return subprocess.CompletedProcess(words, code, output.read_text(), errors.read_text())

    def _say(self, line):
        self.server.stdin.write(line + "\n")
        self.server.stdin.flush()
