"""Servers of indicators for tests, over real HTTP(S) on a free port of 127.0.0.1, written from their public documentation
and sources: plain files, CIF versions 3, 4 and 5, TAXII 2.1, MISP (a feed's folder, and the search of attributes).

    server = FeedServer().start()               # FeedServer(tls=folder of redis_server.make_certificates())
    server.site = Files({"/a.txt": b"…"})       # or Cif3(rows), Cif4(rows), Cif5(rows), Taxii(…), MispFeed(…), Misp(…)
    server.fault(Fault(status=429, headers={"Retry-After": "1"}), times=2)
    server.requests                             # all that came: .method .path .query .headers .body
    server.close()

A fault is what the next requests get instead, or what is done to their answers: a status, a body that is cut off or slow, a
type that is wrong, a redirect, a connection that is closed without a word.
SPDX-License-Identifier: Apache-2.0
"""
import base64
import datetime
import gzip
import hashlib
import http.server
import json
import ssl
import threading
import time
import urllib.parse


class Request:
    def __init__(self, handler, body):
        parts = urllib.parse.urlsplit(handler.path)
        self.method = handler.command
        self.path = parts.path
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.headers = handler.headers
        self.body = body
        self.at = time.monotonic()
        self.connection = handler.client_address

    def __repr__(self):
        return f"{self.method} {self.path} {self.query}"


class Answer:
    def __init__(self, body=b"", status=200, headers=None):
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status = status
        self.headers = {"Content-Type": "application/json", **(headers or {})}


class Fault:
    """status: answer with it · cut: only so many bytes of the body, then the connection closes · slow: seconds before the body
    · drop: close without an answer · headers, body: of the answer · change: a function of the right Answer."""

    def __init__(self, status=None, headers=None, body=b"", cut=None, slow=0, drop=False, change=None):
        self.status, self.headers, self.body = status, headers or {}, body
        self.cut, self.slow, self.drop, self.change = cut, slow, drop, change


class FeedServer:
    def __init__(self, tls=None, tls_clients=False, site=None):
        self.tls, self.site = tls, site
        self.requests, self.faults = [], []
        self.lock = threading.Lock()
        self.hold = threading.Event()  # a slow answer ends when the server closes
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{tls}/server.crt", f"{tls}/server.key")
            if tls_clients:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(f"{tls}/ca.crt")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]

    @property
    def url(self):
        return f"https://localhost:{self.port}" if self.tls else f"http://127.0.0.1:{self.port}"

    def start(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def close(self):
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()

    def fault(self, fault, times=1, after=0):
        """after: so many requests are answered well first."""
        with self.lock:
            self.faults += [None] * after + [fault] * times

    def asked(self, path=None):
        return [r for r in self.requests if path is None or r.path == path]

    def handler(outer):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self):
                request = Request(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                with outer.lock:
                    outer.requests.append(request)
                    fault = outer.faults.pop(0) if outer.faults else None
                    try:
                        answer = outer.site.answer(request)
                    except Exception as error:  # a mistake of the test's own: seen as a 599
                        answer = Answer(repr(error).encode(), 599)
                self.write(request, answer, fault)

            def write(self, request, answer, fault):
                cut = None
                if fault:
                    if fault.drop:
                        self.close_connection = True
                        return
                    if fault.status:
                        answer = Answer(fault.body, fault.status, fault.headers)
                    if fault.change:
                        answer = fault.change(answer)
                    cut = fault.cut
                body = answer.body
                if "gzip" in (request.headers.get("Accept-Encoding") or "") and len(body) > 1000:
                    body = gzip.compress(body)
                    answer.headers["Content-Encoding"] = "gzip"
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 304:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if fault and fault.slow:
                    outer.hold.wait(fault.slow)
                try:
                    if answer.status != 304:
                        self.wfile.write(body if cut is None else body[:cut])
                    if cut is not None:
                        self.wfile.flush()
                        self.close_connection = True
                        self.connection.close()
                except OSError:
                    pass  # the client went away, as it may

            do_GET = do_POST = do_PUT = answer

        return Handler


# ---- files ---------------------------------------------------------------------------------------------------------------------

class Files:
    """path -> bytes; with ETag and Last-Modified, and 304 for who has it."""

    def __init__(self, files, authorization=None, has_marks=True):
        self.files, self.authorization, self.has_marks = files, authorization, has_marks

    def answer(self, request):
        if self.authorization and request.headers.get("Authorization") != self.authorization:
            return Answer({"message": "no"}, 401)
        if request.path not in self.files:
            return Answer(b"not here", 404)
        body = self.files[request.path]
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        marks = {"ETag": etag, "Last-Modified": "Sat, 21 Nov 2026 03:04:05 GMT"} if self.has_marks else {}
        if self.has_marks and request.headers.get("If-None-Match") == etag:
            return Answer(b"", 304, marks)
        return Answer(body, headers={"Content-Type": "text/plain", **marks})


# ---- CIF -----------------------------------------------------------------------------------------------------------------------

def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Cif:
    """Rows {"indicator", "itype", "confidence", time_key …}; newest first, at most the limit, before rows are put together."""
    accept, time_key, own_limit, path = "application/vnd.cif.v3+json", "reporttime", 50000, "/feed"
    itypes = ("ipv4", "ipv6", "fqdn", "url", "email", "md5", "sha1", "sha256", "sha512")
    is_aggregated = True
    default_confidence = None

    def __init__(self, rows, token="sesame", limit=None, pack=None):
        self.rows, self.token, self.pack = rows, token, pack
        self.reports = []  # what was submitted
        self.own_limit = limit or self.own_limit

    def may(self, request):
        return request.headers.get("Authorization") == f"Token token={self.token}"

    def select(self, query):
        start, _, end = query.get(self.time_key, "").partition(",")
        confidence = float(query.get("confidence", self.default_confidence or 0))
        rows = [r for r in self.rows if r["itype"] == query["itype"]]
        rows = [r for r in rows if not start or seconds(r[self.time_key]) >= seconds(start)]
        rows = [r for r in rows if not end or seconds(r[self.time_key]) <= seconds(end)]
        rows = [r for r in rows if r.get("confidence", 0) >= confidence]
        rows.sort(key=lambda r: r[self.time_key], reverse=True)
        rows = rows[:min(int(query.get("limit") or self.own_limit), self.own_limit)]
        if not self.is_aggregated:
            return rows
        kept = {}
        for row in sorted(rows, key=lambda r: r.get("confidence", 0), reverse=True):
            kept.setdefault(row["indicator"], row)
        return sorted(kept.values(), key=lambda r: r[self.time_key], reverse=True)

    def wrap(self, rows):
        if self.pack:
            rows = self.pack(rows)
        return {"message": "success", "data": rows}

    def refuse(self, message, status):
        return Answer({"message": message, "data": []}, status)

    submit = ("POST", "/indicators", 201)

    def answer(self, request):
        if not self.may(request):
            return self.refuse("unauthorized", 401)
        if (request.method, request.path) == self.submit[:2]:
            reports = json.loads(request.body)
            for report in reports:
                assert all(report.get(key) for key in ("provider", "indicator", "tags", "group", "itype"))
            self.reports += reports
            return Answer({"message": "success", "data": len(reports)}, self.submit[2])
        if request.path != self.path:
            return Answer(b"<html>Not Found</html>", 404, {"Content-Type": "text/html"})
        if request.query.get("itype") not in self.itypes:
            return self.refuse("invalid feed itype", 400)
        return Answer(self.wrap(self.select(request.query)))


class Cif3(Cif):
    pass


class Cif4(Cif):
    """The token alone in the header, a bare list, nothing below confidence 3 unless it is asked for."""
    time_key, path, default_confidence = "reported_at", "/indicators/", 3
    submit = ("POST", "/indicators/", 201)

    def may(self, request):
        return request.headers.get("Authorization") == self.token

    def wrap(self, rows):
        return rows

    def refuse(self, message, status):
        return Answer({"message": message}, status)


class Cif5(Cif4):
    """Confidence from 0 to 4; text for people unless Accept ends in json."""
    path, own_limit = "/indicators", 500
    submit = ("PUT", "/indicators", 200)

    def answer(self, request):
        if not request.headers.get("Accept", "").endswith("json"):
            return Answer(b"indicator,itype\n", headers={"Content-Type": "text/plain"})
        return super().answer(request)


def packed(rows):
    """base64 of gzip of JSON, as feeds of version 2 were."""
    return base64.b64encode(gzip.compress(json.dumps(rows).encode())).decode()


def elastic(rows):
    """What a server hands through of its search engine."""
    return json.dumps({"hits": {"hits": [{"_source": row} for row in rows]}}, separators=(",", ":"))


# ---- TAXII 2.1 -----------------------------------------------------------------------------------------------------------------

class Taxii:
    """collections: {id: {"title": …, "objects": [(date_added, object)]}}; paging: next, date (only the header), none."""
    MEDIA = "application/taxii+json;version=2.1"

    def __init__(self, collections, authorization, page_max=1000, paging="next", roots=("api1/",)):
        self.collections, self.authorization, self.page_max, self.paging = collections, authorization, page_max, paging
        self.roots = list(roots)

    def reply(self, body, headers=None):
        return Answer(body, headers={"Content-Type": self.MEDIA, **(headers or {})})

    def answer(self, request):
        if request.headers.get("Authorization") != self.authorization:
            return Answer({"title": "Unauthorized"}, 401, {"Content-Type": self.MEDIA})
        if self.MEDIA not in (request.headers.get("Accept") or ""):
            return Answer({"title": "Not Acceptable"}, 406, {"Content-Type": self.MEDIA})
        parts = [part for part in request.path.split("/") if part]
        if parts == ["taxii2"]:
            return self.reply({"title": "A server", "api_roots": self.roots})
        if parts in (["taxii2", "api1"], ["api1"]):
            return self.reply({"title": "A root", "versions": [self.MEDIA], "max_content_length": 10485760})
        at = parts.index("collections") if "collections" in parts else None
        if at is None:
            return Answer({"title": "Not Found"}, 404, {"Content-Type": self.MEDIA})
        if len(parts) == at + 1:
            return self.reply({"collections": [{"id": key, "title": one["title"], "can_read": one.get("can_read", True),
                                                "can_write": False} for key, one in self.collections.items()]})
        if parts[at + 1] not in self.collections or parts[at + 2:] != ["objects"]:
            return Answer({"title": "Not Found"}, 404, {"Content-Type": self.MEDIA})
        return self.objects(self.collections[parts[at + 1]]["objects"], request.query)

    def objects(self, objects, query):
        after = query.get("added_after", "")
        found = sorted((o for o in objects if o[0] > after), key=lambda o: o[0])
        start = int(query.get("next", 0))
        page = found[start:start + min(int(query.get("limit", self.page_max)), self.page_max)]
        if not page:
            return self.reply({})
        envelope = {"more": start + len(page) < len(found), "objects": [o[1] for o in page]}
        if envelope["more"] and self.paging == "next":
            envelope["next"] = str(start + len(page))
        dates = {} if self.paging == "none" else {"X-TAXII-Date-Added-First": page[0][0],
                                                  "X-TAXII-Date-Added-Last": page[-1][0]}
        return self.reply(envelope, dates)


# ---- MISP ----------------------------------------------------------------------------------------------------------------------

def misp_event(uuid, timestamp, attributes, info="An event", org="ORG"):
    return {"Event": {"uuid": uuid, "info": info, "date": "2026-11-20", "timestamp": str(timestamp), "published": True,
                      "Orgc": {"name": org, "uuid": "c" * 8 + "-0000-4000-8000-000000000000"}, "Attribute": attributes}}


def misp_attribute(uuid, kind, value, timestamp=1, to_ids=True, deleted=False, **more):
    return {"uuid": uuid, "type": kind, "value": value, "timestamp": str(timestamp), "to_ids": to_ids, "deleted": deleted,
            "category": "Network activity", "comment": "", **more}


class MispFeed(Files):
    """A folder: manifest.json and UUID.json."""

    def __init__(self, events, folder="/feed", missing=()):
        super().__init__({})
        self.folder, self.missing = folder, missing
        self.set(events)

    def set(self, events):
        manifest = {e["Event"]["uuid"]: {"timestamp": e["Event"]["timestamp"], "info": e["Event"]["info"],
                                         "Orgc": e["Event"]["Orgc"], "Tag": [], "date": e["Event"]["date"],
                                         "analysis": 2, "threat_level_id": 1} for e in events}
        self.files = {f"{self.folder}/manifest.json": json.dumps(manifest).encode()}
        for event in events:
            if event["Event"]["uuid"] not in self.missing:
                self.files[f"{self.folder}/{event['Event']['uuid']}.json"] = json.dumps(event).encode()


class Misp:
    """POST /attributes/restSearch and /sightings/add with a key."""

    def __init__(self, attributes, key="misp-key"):
        self.attributes, self.key = attributes, key
        self.sightings = []

    def sighting(self, request):
        said = json.loads(request.body)
        named = request.path.split("/")[3:]
        found = [a for a in self.attributes if a["uuid"] in named or a["value"] in said.get("values", [])]
        if not found:
            return Answer({"saved": False, "name": "Could not add Sighting",
                           "errors": "No valid attributes found that match the criteria"}, 403)
        self.sightings += [(a["value"], said["timestamp"], said["source"]) for a in found]
        return Answer({"saved": True})

    def answer(self, request):
        if request.headers.get("Authorization") != self.key:
            return Answer({"name": "Authentication failed.", "message": f"not {request.headers.get('Authorization')}"}, 403)
        if request.path.startswith("/sightings/add") and request.method == "POST":
            return self.sighting(request)
        if request.path != "/attributes/restSearch" or request.method != "POST":
            return Answer({"name": "Not Found"}, 404)
        asked = json.loads(request.body)
        assert asked["returnFormat"] == "json"
        deleted = asked.get("deleted", 0)
        deleted = deleted if isinstance(deleted, list) else [deleted]
        rows = [a for a in self.attributes if int(a["deleted"]) in [int(d) for d in deleted]]
        rows = [a for a in rows if not asked.get("to_ids") or a["to_ids"]]
        rows = [a for a in rows if int(a["timestamp"]) >= int(asked.get("timestamp", 0))]
        start = (asked["page"] - 1) * asked["limit"]
        page = [{**a, "Event": {"info": "An event", "Orgc": {"name": "ORG"}}} for a in rows[start:start + asked["limit"]]]
        return Answer({"response": {"Attribute": page}}, headers={"X-Result-Count": str(len(page))})
