"""HTTP between tapline and a search engine: it passes everything on to a real one, but for what a test wants answered
otherwise, as a healthy engine can't be asked to: 413, cut connections, failure stores, credentials refused, garbage.

What is answered in the engine's place is in the engine's own words, of either product. Items that "fail" are taken out of the
bulk before it is passed on, so that the engine and the answer agree.
SPDX-License-Identifier: Apache-2.0
"""
import gzip
import http.client
import http.server
import json
import ssl
import threading
import time

import rig


NO_ANSWER = object()  # the connection is cut instead


class Request:
    """One that came: what it was, and what it was told."""

    def __init__(self, handler, body):
        self.method, self.path, self.connection = handler.command, handler.path, id(handler)
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.is_gzip = self.headers.get("content-encoding") == "gzip"
        self.raw, self.body = body, gzip.decompress(body) if self.is_gzip else body
        self.at = time.monotonic()
        self.status, self.answer = None, None

    @property
    def is_bulk(self):
        return self.path.split("?")[0].endswith("/_bulk")

    @property
    def items(self):
        """Of a bulk: (action and its members, the document's bytes) each."""
        lines = self.body.split(b"\n")
        assert lines[-1] == b"", "a bulk ends with a newline"
        assert len(lines) % 2 == 1, "a bulk of creates has pairs of lines"
        return [(json.loads(lines[i]), lines[i + 1]) for i in range(0, len(lines) - 1, 2)]

    @property
    def ids(self):
        return [action["create"]["_id"] for action, _ in self.items]


def compact(document):
    """JSON as both engines write it, without blanks."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


# ---- what can be done with a request: f(proxy, request) -> (status, headers, body), or NO_ANSWER ------------------------------


def answer(status, document, **headers):
    body = document if isinstance(document, bytes) else compact(document)
    return lambda proxy, request: (status, {"content-type": "application/json", **headers}, body)


def error(status, kind, reason, **headers):
    """As both engines tell that a request as a whole is refused."""
    cause = {"type": kind, "reason": reason}
    return answer(status, {"error": {"root_cause": [cause], **cause}, "status": status}, **headers)


UNAUTHORIZED = error(401, "security_exception", "unable to authenticate user [tapline] for REST request [/_bulk]",
                     **{"www-authenticate": 'Basic realm="security" charset="UTF-8"'})
FORBIDDEN = error(403, "security_exception", "action [indices:data/write/bulk] is unauthorized for user [tapline]")
BUSY = error(429, "es_rejected_execution_exception", "rejected execution of coordinating operation")
AWAY = answer(503, b"<html><body><h1>503 Service Unavailable</h1></body></html>", **{"content-type": "text/html"})


def cut(proxy, request):
    """The engine never gets it."""
    return NO_ANSWER


def cut_behind(proxy, request):
    """The engine has done it; nobody hears of it."""
    proxy.pass_on(request)
    return NO_ANSWER


def cut_within(proxy, request):
    """The engine has done it; its answer ends in the middle."""
    status, headers, body = proxy.pass_on(request)
    return status, {**headers, "content-length": str(len(body))}, body[:len(body) // 2]


def too_large(bytes_max):
    """As a proxy before an engine, or http.max_content_length, has it."""
    return lambda proxy, request: (413, {"content-type": "text/plain"}, b"") if len(request.raw) > bytes_max else None


def slow(seconds):
    def late(proxy, request):
        time.sleep(seconds)
        return proxy.pass_on(request)
    return late


def items_lost(proxy, request):
    """All is done, and the answer has one item less."""
    status, headers, body = proxy.pass_on(request)
    document = json.loads(body)
    document["items"] = document["items"][:-1]
    return status, headers, compact(document)


def items(chosen, told):
    """Those items for which chosen(id, document) never reach the engine; told is what the answer has of them."""
    def some(proxy, request):
        mine = [chosen(action["create"]["_id"], json.loads(document)) for action, document in request.items]
        rest = b"".join(json.dumps(action).encode() + b"\n" + document + b"\n"
                        for (action, document), is_mine in zip(request.items, mine) if not is_mine)
        passed = []
        if rest:
            status, headers, body = proxy.pass_on(request, rest)
            if status != 200:
                return status, headers, body
            passed = json.loads(body)["items"]
        rows, others = [], iter(passed)
        for (action, _), is_mine in zip(request.items, mine):
            rows.append({"create": {"_index": action["create"]["_index"], "_id": action["create"]["_id"], **told}}
                        if is_mine else next(others))
        has_errors = any("error" in row["create"] for row in rows)
        return 200, {"content-type": "application/json"}, compact({"took": 1, "errors": has_errors, "items": rows})
    return some


def item_error(status, kind, reason, **more):
    return {"status": status, "error": {"type": kind, "reason": reason, **more}}


ITEM_BUSY = item_error(429, "es_rejected_execution_exception", "rejected execution of primary operation")
ITEM_AWAY = item_error(503, "unavailable_shards_exception", "[logs-x][0] primary shard is not active Timeout: [1m]")
ITEM_FORBIDDEN = item_error(403, "security_exception", "action [indices:data/write/bulk[s]] is unauthorized for user [tapline]")
ITEM_BLOCKED = item_error(403, "cluster_block_exception", "index [logs-x] blocked by: [FORBIDDEN/8/index write (api)];")
ITEM_SHARDS = item_error(400, "validation_exception", "Validation Failed: 1: this action would add [2] shards, but this cluster "
                         "currently has [1000]/[1000] maximum normal shards open;")
# Elasticsearch 8.19 and 9: the document did not fit, and went to the data stream's failure store, where no search sees it.
STORED_AS_FAILURE = {"status": 201, "result": "created", "failure_store": "used", "_version": 1}
FAILURE_STORE_FAILED = {**item_error(400, "document_parsing_exception", "[1:2] failed to parse field [x]"), "failure_store": "failed"}


class Proxy:
    """plan(request) says what is done with a request: one of the above, or None to pass it on. requests: all that came."""

    def __init__(self, target_port=None, plan=None, tls=None):
        self.target_port, self.plan, self.requests, self.lock = target_port, plan or (lambda request: None), [], threading.Lock()
        self.port = rig.free_port()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_any(self):
                proxy.handle(self)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_any

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_):
                pass  # a client that goes is no mistake of the test

            def finish_request(self, connection, address):
                if tls:  # here: a handshake that hangs is its own thread's
                    connection = tls.wrap_socket(connection, server_side=True)
                super().finish_request(connection, address)

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.scheme = "https" if tls else "http"
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def handle(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length", "0")))
        request = Request(handler, body)
        with self.lock:
            self.requests.append(request)
            what = self.plan(request)
        given = what(self, request) if what else None
        if given is None:
            given = self.pass_on(request)
        if given is NO_ANSWER:
            handler.close_connection = True
            return
        request.status, headers, request.answer = given
        handler.send_response_only(request.status)
        length = headers.pop("content-length", str(len(request.answer)))
        for name, value in {**headers, "content-length": length}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if request.method != "HEAD":
            handler.wfile.write(request.answer)
        if int(length) != len(request.answer):
            handler.close_connection = True

    def pass_on(self, request, body=None):
        """What the engine says to it, or to another body in its place."""
        hop = {"host", "connection", "content-length", "transfer-encoding", "authorization"}
        headers = {name: value for name, value in request.headers.items() if name not in hop}
        if body is not None:
            headers.pop("content-encoding", None)
        headers.pop("accept-encoding", None)
        engine = http.client.HTTPConnection("127.0.0.1", self.target_port, timeout=120)
        try:
            engine.request(request.method, request.path, body=request.raw if body is None else body, headers=headers)
            got = engine.getresponse()
            text = got.read()
            kept = {name.lower(): value for name, value in got.getheaders()
                    if name.lower() not in ("content-length", "transfer-encoding", "connection")}
            return got.status, kept, text
        except (OSError, http.client.HTTPException):
            return NO_ANSWER
        finally:
            engine.close()

    # ---- what came ---------------------------------------------------------------------------------------------------

    @property
    def bulks(self):
        with self.lock:
            return [request for request in self.requests if request.is_bulk]


def first(times, what, only=lambda request: request.is_bulk):
    """A plan: the first so many bulks."""
    left = [times]

    def plan(request):
        if not only(request) or left[0] <= 0:
            return None
        left[0] -= 1
        return what
    return plan


def always(what, only=lambda request: request.is_bulk):
    return lambda request: what if only(request) else None


def tls_context(folder, wants_client=False):
    """Of a server with redis_server.make_certificates()' files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "ca.crt")
    return context
