# SPDX-License-Identifier: MIT
"""A daemon that says what a test tells it to: raw HTTP over a Unix socket.

For what the real one does not do on request: cut connections, single bytes, wrong answers.
"""

import contextlib
import json
import os
import socket
import threading


class Request:
    def __init__(self, method, target, headers, body, connection):
        self.method, self.target, self.headers = method, target, headers
        self.body, self.connection = body, connection

    @property
    def json(self):
        return json.loads(self.body)


class Connection:
    """One accepted connection, with what answers are made of."""

    def __init__(self, sock):
        self.sock = sock
        self.input = sock.makefile("rb")

    def read_request(self):
        line = self.input.readline().decode()
        if not line:
            return None
        method, target, _ = line.split(" ", 2)
        headers = {}
        while (line := self.input.readline().decode().strip()):
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        body = self.input.read(int(headers.get("content-length", 0)))
        return Request(method, target, headers, body, self)

    def raw(self, data):
        self.sock.sendall(data)

    def head(self, status=200, *headers):
        lines = [f"HTTP/1.1 {status} Reason", *headers, "", ""]
        self.raw("\r\n".join(lines).encode())

    def bytes(self, data, status=200):
        self.head(status, f"Content-Length: {len(data)}")
        self.raw(data)

    def json(self, value, status=200):
        self.bytes(json.dumps(value).encode(), status)

    def error(self, status, code, message, target=None):
        self.json({"error": {"code": code, "message": message, "target": target}}, status)

    def chunk(self, data):
        self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    def chunked(self, *pieces, end=True):
        self.head(200, "Transfer-Encoding: chunked")
        for piece in pieces:
            self.chunk(piece)
        if end:
            self.raw(b"0\r\n\r\n")

    def cut(self):
        self.sock.shutdown(socket.SHUT_RDWR)


class FakeDaemon:
    """`handle(request)` answers on request.connection; all requests are kept in `requests`.

    But for /healthz, which amlctl asks for when an answer is late: that is answered here, unless `lives` is False.
    """

    def __init__(self, path):
        self.path = str(path)
        self.requests, self.failures = [], []
        self.left = []  # sockets that are shut down and open
        self.lives = True
        self.unread = []  # how the next connections end before their request is read: "close", or "shutdown" first
        self.handle = None
        self.listener = None
        self.listen()

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self):
        listener = self.listener  # who sees that the path is gone may listen again
        os.unlink(self.path)
        with contextlib.suppress(OSError):  # a test has closed it
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for sock in self.left:
            sock.close()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(Connection(sock),), daemon=True).start()

    def _leave(self, connection, how):
        connection.sock.recv(1, socket.MSG_PEEK)
        if how == "shutdown":  # as libmicrohttpd ends what it has open: closed later
            connection.sock.shutdown(socket.SHUT_RDWR)
            self.left.append(connection.sock.dup())

    def _serve(self, connection):
        try:
            if self.unread:
                self._leave(connection, self.unread.pop(0))
                return
            while request := connection.read_request():
                if self.lives and request.target == "/healthz":
                    connection.json({"status": "ok"})
                    continue
                self.requests.append(request)
                self.handle(request)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except Exception as fault:  # shown by the test, which would only see a cut otherwise
            self.failures.append(fault)
        finally:
            connection.sock.close()


def record(run_id="exp_1_00000001", status="Completed", **fields):
    """A run record as the daemon sends it."""
    made = {
        "run_id": run_id, "experiment_name": "exp", "display_name": None, "status": status,
        "target": "local", "submitted_by": "ana", "created_utc": "2026-11-22T20:00:00.000000Z",
        "queued_utc": "2026-11-22T20:00:00.000000Z", "start_time_utc": "2026-11-22T20:00:01.000000Z",
        "end_time_utc": "2026-11-22T20:03:21.000000Z", "exit_code": 0, "signal": None, "error": None,
        "warnings": [], "snapshot_id": "sha256:" + "0" * 64, "tags": {}, "properties": {},
        "run_definition": {}, "resources_used": None, "interpreter": None, "log_files": {},
        "parent_run_id": None,
    }
    made.update(fields)
    return made
