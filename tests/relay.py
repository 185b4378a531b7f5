"""Between a client and a server: answers take their time there, are lost, or nobody is there."""

import contextlib
import socket
import threading
import time

CHUNK = 2**16


class Relay:
    """Passes connections on to a server of this machine, as long as nothing is said here.

    Attributes:
        port: Where it listens, always the same.
        is_away: Whether nobody listens.
        num_slow: How many answers were delayed so far, or are being.
    """

    def __init__(self, server_port: int, port: int) -> None:
        self._server_port, self.port = server_port, port
        self._lock = threading.RLock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._to_lose: bytes | None = None
        self._losing: socket.socket | None = None  # of the server, whose next answer is lost
        self._num_to_delay, self._seconds = 0, 0.0
        self.num_slow, self.is_away = 0, True
        self._listen()

    def delay(self, count: int, seconds: float) -> None:
        """Has the next answers take so long each."""
        self._num_to_delay, self._seconds = count, seconds

    def lose_answer(self, request: bytes) -> None:
        """Is away from the answer to the next such request on, which is lost, until it comes back.

        The server has done what was asked then, and nobody was told.
        """
        self._to_lose = request

    def come_back(self) -> None:
        """Listens again, where nobody does."""
        if self.is_away:
            self._listen()

    def close(self) -> None:
        """Ends all connections, and listens no more."""
        with self._lock:
            self.is_away = True
            for each in (self._listener, *self._open):
                if each is not None:
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
                    each.close()
            self._open.clear()

    def _listen(self) -> None:
        with self._lock:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self.is_away = False
        self._start(self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                with self._lock:
                    self._open |= {client, server}
                    if self.is_away:  # since it was accepted
                        self.close()
                        return
                self._start(self._pass_requests, client, server)
                self._start(self._pass_answers, server, client)

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK):
                if self._to_lose is not None and self._to_lose in data:
                    self._to_lose, self._losing = None, server
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(CHUNK):
                if self._losing is server:
                    self._losing = None
                    self.close()
                    return
                if self._is_delayed():
                    time.sleep(self._seconds)
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    def _is_delayed(self) -> bool:
        with self._lock:
            is_delayed = self._num_to_delay > 0
            self._num_to_delay -= is_delayed
            self.num_slow += is_delayed
        return is_delayed

    @staticmethod
    def _start(work, *ends: socket.socket) -> None:
        threading.Thread(target=work, args=ends, daemon=True).start()
