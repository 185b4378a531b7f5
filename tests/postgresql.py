"""A PostgreSQL server of the tests' own: no network, no durability, gone with its folder."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

USER = "harness"
NO_SERVER = "no PostgreSQL"


def binaries() -> Path | None:
    """Returns the folder of PostgreSQL's programs; Debian's lie beside the path. None: no such."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((each for each in reversed(folders) if (each / "pg_ctl").exists()), None)


class PostgreSQL:
    """A server that listens in a folder of its own."""

    def __init__(self, programs: Path) -> None:
        """Makes it and starts it."""
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
        self._data = self.folder / "data"
        self._as: dict[str, object] = {}
        if os.getuid() == 0:  # it refuses to run as root
            owner = pwd.getpwnam("postgres")
            self._as = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "--auth=trust", "--no-sync", f"--username={USER}", "--locale=C.UTF-8")
        # A commit must be in the log before it is confirmed, as a stop in the middle loses what is
        # not; it need not be on the disk, as the machine itself goes on.
        with open(self._data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\n"
                "fsync = off\nfull_page_writes = off\n"
            )
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        self._run("pg_ctl", "--wait", f"--log={self.folder}/log", "start")

    def stop(self) -> None:
        """Ends it as a power cut would: every session is lost in the middle of what it does."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")

    def remove(self) -> None:
        """Ends it and removes its folder."""
        self.stop()
        shutil.rmtree(self.folder)

    def reload(self) -> None:
        """Has it read its settings again, and waits until who comes next is let in by them."""
        loaded = self.execute("postgres", "SELECT pg_conf_load_time(), pg_reload_conf()")[0][0]
        while self.execute("postgres", "SELECT pg_conf_load_time()")[0][0] == loaded:
            time.sleep(0.01)

    def url(self, name: str, password: str = "") -> str:
        """Returns the address of a database."""
        secret = f":{password}" if password else ""
        return f"postgresql://{USER}{secret}@/{name}?host={self.folder}"

    def make(self, *names: str) -> None:
        """Makes databases."""
        for name in names:
            self.execute("postgres", f"CREATE DATABASE {name}")

    def execute(self, name: str, statement: str) -> list[tuple[object, ...]]:
        """Executes a statement in a database, and returns the rows that it gives."""
        import psycopg

        with psycopg.connect(f"host={self.folder} user={USER} dbname={name}", autocommit=True) as c:
            cursor = c.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self._programs / program, f"--pgdata={self._data}", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PGCTLTIMEOUT": "600"},
            **self._as,
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"
