"""A server on loopback that serves bytes as it is told, wrongly if need be."""

import contextlib
import http.server
import threading
import time


class Reply:
    """What the server sends for one path.

    Attributes:
      body: the bytes.
      status: of the answer.
      length: the stated length; None for the true one, "" for none.
      cut: bytes after which the connection is dropped; None for not at all.
      hold: waited for in the middle of the body.
      location: where to look instead.
    """

    def __init__(
        self, body=b"", status=200, *, length=None, cut=None, hold=None, location=None
    ):
        self.body, self.status, self.length = body, status, length
        self.cut, self.hold, self.location = cut, hold, location
        self.requests = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        reply = self.server.replies.get(self.path, Reply(b"not here", 404))
        reply.requests += 1
        if reply.cut is not None and reply.cut < 0:
            return  # not even a header
        self.send_response(reply.status)
        length = len(reply.body) if reply.length is None else reply.length
        if length != "":
            self.send_header("Content-Length", str(length))
        if reply.location:
            self.send_header("Location", reply.location)
        self.end_headers()
        body = reply.body[: reply.cut]
        half = len(body) // 2
        # Those who ask may be killed.
        with contextlib.suppress(OSError):
            self.wfile.write(body[:half])
            self.wfile.flush()
            if reply.hold is not None:
                reply.hold.wait(30)
            self.wfile.write(body[half:])

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served():
    """A server's address, and the replies by path, which may be changed."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.replies = {}
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.replies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def eventually(condition, seconds=30):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never held"
        time.sleep(0.01)
