"""What no package registry has, and so stands in for the real one: the life-cycle modules of the search engines (ILM, ISM)
before a real engine, and Kibana with OpenSearch Dashboards. They check what they are sent as the real ones do, and as strictly:
unknown members, headers, versions, references and sequence numbers are refused with the status and words of the real ones.
SPDX-License-Identifier: Apache-2.0
"""
import base64
import collections
import email.parser
import http.server
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request

TIME = re.compile(r"^[0-9]+(d|h|m|s|ms|micros|nanos)$")
SIZE = re.compile(r"^[0-9]+(b|kb|mb|gb|tb|pb)$")


class Refused(Exception):
    def __init__(self, status, document):
        super().__init__(status, document)
        self.status, self.document = status, document


def must(is_so, kind, reason, status=400):
    """As the engines refuse a request."""
    if not is_so:
        cause = {"type": kind, "reason": reason}
        raise Refused(status, {"error": {"root_cause": [cause], **cause}, "status": status})


class Server:
    """An HTTP server whose answers are answer(method, path, query, body, headers) -> (status, document, headers)."""

    def __init__(self):
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 20  # head and body leave together, or the body waits for the client's late acknowledgement
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def any_method(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path, _, query = self.path.partition("?")
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.command, self.path))
                try:
                    status, document, more = outer.answer(self.command, path, urllib.parse.parse_qs(query), body, headers)
                except Refused as refused:
                    status, document, more = refused.status, refused.document, {}
                raw = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", **more}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = any_method

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        self.thread = threading.Thread(target=self.httpd.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()

    def writes(self):
        """How many requests could have changed something, since this was last asked."""
        count = sum(method != "GET" and not path.endswith("/_export") for method, path in self.requests)
        self.requests.clear()
        return count


# ---- a search engine with a life-cycle module ------------------------------------------------------------------------------------


class Modules(Server):
    """A real engine, and before it what it lacks. The engine refuses templates that name a policy: that setting is kept here,
    and put back into what is read."""

    def __init__(self, engine):
        super().__init__()
        self.engine = engine
        self.policies = {}
        self.named = {}  # template -> policy
        self.sequence = 10
        self.in_use = set()
        self.refuses = {}  # (method, start of a path) -> status
        self.credentials = None  # of header Authorization, which every request must have

    def answer(self, method, path, query, body, headers):
        must(self.credentials in (None, headers.get("authorization")), "security_exception", "missing authentication credentials", 401)
        for (which, start), status in self.refuses.items():
            must(method != which or not path.startswith(start), "security_exception",
                 f"action is unauthorized for user [tapline], {path}", status)
        if path.startswith("/_ilm/policy/") and self.engine.product == "elasticsearch":
            return self.ilm(method, path.removeprefix("/_ilm/policy/"), body)
        if path.startswith("/_plugins/_ism/policies/") and self.engine.product == "opensearch":
            return self.ism(method, path.removeprefix("/_plugins/_ism/policies/"), query, body)
        is_template = path.startswith("/_index_template/")
        name = path.removeprefix("/_index_template/")
        if method == "PUT" and is_template:
            document = json.loads(body)
            settings = document["template"]["settings"]
            self.named[name] = settings.pop("index.lifecycle.name", None)
            must(self.named[name] is None or self.engine.product == "elasticsearch", "illegal_argument_exception",
                 "unknown setting [index.lifecycle.name]")
            body = json.dumps(document).encode()
        status, document, more = self.pass_on(method, path, query, body)
        if method == "GET" and is_template and status == 200:
            for one in document["index_templates"]:
                if self.named.get(one["name"]) is not None:
                    one["index_template"]["template"]["settings"]["index.lifecycle.name"] = self.named[one["name"]]
        return status, document, more

    def pass_on(self, method, path, query, body):
        text = urllib.parse.urlencode(query, doseq=True)
        request = urllib.request.Request(self.engine.url + path + ("?" + text if text else ""), data=body or None, method=method,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, raw, headers = answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            status, raw, headers = error.code, error.read(), error.headers
        product = headers.get("X-Elastic-Product")
        return status, json.loads(raw or b"null"), {"X-Elastic-Product": product} if product else {}

    # ---- Elasticsearch: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/ilm-put-lifecycle.html

    def ilm(self, method, name, body):
        if method == "GET":
            must(name in self.policies, "resource_not_found_exception", f"Lifecycle policy not found: {name}", 404)
            have = self.policies[name]
            return 200, {name: {"version": have["version"], "modified_date": "2026-11-22T00:00:00.000Z", "policy": have["policy"],
                                "in_use_by": {"indices": [], "data_streams": [], "composable_templates": []}}}, {}
        if method == "DELETE":
            must(name in self.policies, "resource_not_found_exception", f"Lifecycle policy not found: {name}", 404)
            must(name not in self.in_use, "illegal_argument_exception",
                 f"Cannot delete policy [{name}]. It is in use by one or more indices: [logs-zeek.dns-default-2026.11.22]")
            del self.policies[name]
            return 200, {"acknowledged": True}, {}
        assert method == "PUT"
        document = json.loads(body)
        must(set(document) == {"policy"}, "x_content_parse_exception", "[put_lifecycle_request] unknown field")
        policy = document["policy"]
        must(set(policy) <= {"phases", "_meta", "deprecated"}, "x_content_parse_exception", "[lifecycle_policy] unknown field")
        for phase, what in policy["phases"].items():
            must(phase in ("hot", "warm", "cold", "frozen", "delete"), "illegal_argument_exception", f"no phase {phase}")
            must(set(what) <= {"min_age", "actions"}, "x_content_parse_exception", f"[{phase}] unknown field")
            must(TIME.match(what.get("min_age", "0ms")), "illegal_argument_exception", "failed to parse setting [min_age]")
            for action, members in what["actions"].items():
                if action == "delete":
                    must(phase == "delete" and set(members) <= {"delete_searchable_snapshot"}, "illegal_argument_exception", action)
                elif action == "rollover":
                    must(phase == "hot" and members and set(members) <= {"max_age", "max_primary_shard_size", "max_docs", "max_size"},
                         "illegal_argument_exception", "At least one max_* rollover condition must be set.")
                    must(TIME.match(members.get("max_age", "1d")), "illegal_argument_exception", "max_age")
                    must(SIZE.match(members.get("max_primary_shard_size", "1gb")), "illegal_argument_exception", "max_primary…")
                else:
                    must(False, "illegal_argument_exception", f"unknown action {action}")
            if phase == "delete":
                members = what["actions"].setdefault("delete", {})
                members.setdefault("delete_searchable_snapshot", True)
            what.setdefault("min_age", "0ms")
        version = self.policies.get(name, {"version": 0})["version"] + 1
        self.policies[name] = {"version": version, "policy": policy}
        return 200, {"acknowledged": True}, {}

    # ---- OpenSearch: https://docs.opensearch.org/2.19/im-plugin/ism/api/

    def ism(self, method, name, query, body):
        have = self.policies.get(name)
        if method == "GET":
            must(have is not None, "status_exception", "Policy not found", 404)
            policy = json.loads(json.dumps(have["policy"]))
            policy.update(policy_id=name, last_updated_time=1763769600000, schema_version=21, error_notification=None)
            for state in policy["states"]:
                for action in state["actions"]:
                    action["retry"] = {"count": 3, "backoff": "exponential", "delay": "1m"}
            for one in policy["ism_template"]:
                one["last_updated_time"] = 1763769600000
            return 200, {"_id": name, "_version": have["version"], "_seq_no": have["seq"], "_primary_term": 1, "policy": policy}, {}
        if method == "DELETE":
            must(have is not None, "status_exception", "Policy not found", 404)
            del self.policies[name]
            return 200, {"_index": ".opendistro-ism-config", "_id": name, "_version": have["version"] + 1, "result": "deleted",
                         "_seq_no": self.sequence, "_primary_term": 1}, {}
        assert method == "PUT"
        if have is None:
            must(not query, "version_conflict_engine_exception", f"[{name}]: version conflict, document does not exist", 409)
        else:
            must(query.get("if_seq_no") == [str(have["seq"])] and query.get("if_primary_term") == ["1"],
                 "version_conflict_engine_exception", f"[{name}]: version conflict, document already exists", 409)
        document = json.loads(body)
        must(set(document) == {"policy"}, "parsing_exception", "unknown field")
        self.ism_policy_judge(name, document["policy"])
        self.sequence += 1
        self.policies[name] = {"version": 1 if have is None else have["version"] + 1, "seq": self.sequence, "policy": document["policy"]}
        return 201 if have is None else 200, {"_id": name, "_version": self.policies[name]["version"], "_primary_term": 1,
                                             "_seq_no": self.sequence, "policy": {"policy": document["policy"]}}, {}

    def ism_policy_judge(self, name, policy):
        must(set(policy) <= {"description", "default_state", "states", "ism_template", "error_notification"},
             "illegal_argument_exception", f"Invalid field: {sorted(policy)} found in Policy.")
        names = [state["name"] for state in policy["states"]]
        must(policy["default_state"] in names and len(set(names)) == len(names), "illegal_argument_exception",
             "Policy must have a default state")
        for state in policy["states"]:
            must(set(state) == {"name", "actions", "transitions"}, "illegal_argument_exception", "Invalid field found in State.")
            for action in state["actions"]:
                must(list(action) in (["delete"], ["rollover"]), "illegal_argument_exception", f"Invalid action {action}")
                must(set(action.get("rollover", {})) <= {"min_index_age", "min_primary_shard_size", "min_doc_count", "min_size"},
                     "illegal_argument_exception", "rollover")
            for transition in state["transitions"]:
                must(transition["state_name"] in names, "illegal_argument_exception", "no such state")
                conditions = transition["conditions"]
                must(len(conditions) == 1 and set(conditions) <= {"min_index_age", "min_rollover_age", "min_doc_count", "min_size", "cron"},
                     "illegal_argument_exception", "Cannot provide more than one Transition condition")
                must(all(TIME.match(age) for age in conditions.values()), "illegal_argument_exception", "failed to parse")
        for one in policy.get("ism_template", []):
            must(set(one) == {"index_patterns", "priority"} and one["index_patterns"] and one["priority"] >= 0,
                 "validation_exception", "index_patterns is missing")
            for pattern in one["index_patterns"]:
                must(pattern == pattern.lower() and not set(pattern) & set(' "\\<>|,?#:'), "validation_exception", pattern)
            for other, have in self.policies.items():
                for theirs in have["policy"].get("ism_template", []) if other != name else []:
                    must(theirs["priority"] != one["priority"] or not set(theirs["index_patterns"]) & set(one["index_patterns"]),
                         "illegal_argument_exception", f"new policy {name} has an ism template that matches that of {other}")


# ---- Kibana, OpenSearch Dashboards -------------------------------------------------------------------------------------------


class Kibana(Server):
    """The saved objects' API. is_dashboards: OpenSearch's, of Kibana 7.10's line."""

    TYPES = {"dashboard", "visualization", "search", "index-pattern"}

    def __init__(self, version="8.0.0", is_dashboards=False, credentials=None, spaces=("default",), path=""):
        super().__init__()
        self.version, self.is_dashboards, self.credentials, self.path = version, is_dashboards, credentials, path
        self.objects = {space: {} for space in spaces}
        self.url += path

    def answer(self, method, path, query, body, headers):
        assert path.startswith(self.path)
        path = path[len(self.path):]
        named = {"osd-name" if self.is_dashboards else "kbn-name": "test"}
        if self.credentials is not None and headers.get("authorization") != self.credentials:
            raise Refused(401, {"statusCode": 401, "error": "Unauthorized", "message": "Unauthorized"})
        if path == "/api/status":
            return 200, {"name": "test", "uuid": "5b2de169", "version": {"number": self.version, "build_hash": "a", "build_number": 1,
                                                                         "build_snapshot": False}, "status": {}}, named
        xsrf = "osd-xsrf" if self.is_dashboards else "kbn-xsrf"
        if method != "GET" and xsrf not in headers:
            raise Refused(400, {"statusCode": 400, "error": "Bad Request", "message": f"Request must contain a {xsrf} header."})
        space, match = "default", re.match(r"^/s/([a-z0-9_-]+)(/.*)$", path)
        if match and not self.is_dashboards:
            space, path = match.groups()
        if space not in self.objects or not path.startswith("/api/saved_objects/"):
            raise Refused(404, {"statusCode": 404, "error": "Not Found", "message": "Not Found"})
        what = path.removeprefix("/api/saved_objects/")
        if method == "POST" and what == "_export":
            return 200, self.export(self.objects[space], json.loads(body)), {**named, "content-type": "application/ndjson"}
        if method == "POST" and what == "_import":
            assert query == {"overwrite": ["true"]}
            return 200, self.take(self.objects[space], body, headers["content-type"]), named
        if method == "DELETE" and what.count("/") == 1:
            assert query == ({} if self.is_dashboards else {"force": ["true"]})
            key = tuple(urllib.parse.unquote(what).split("/"))
            if self.objects[space].pop(key, None) is None:
                raise Refused(404, {"statusCode": 404, "error": "Not Found", "message": f"Saved object [{'/'.join(key)}] not found"})
            return 200, {}, named
        raise Refused(404, {"statusCode": 404, "error": "Not Found", "message": "Not Found"})

    @staticmethod
    def bad(message, **more):
        raise Refused(400, {"statusCode": 400, "error": "Bad Request", "message": message, **more})

    def export(self, objects, asked):
        if not set(asked) <= {"objects", "type", "search", "hasReference", "includeReferencesDeep", "excludeExportDetails"}:
            self.bad(f"[request body.{sorted(asked)}]: definition for this key is missing")
        keys = [(one["type"], one["id"]) for one in asked["objects"]]
        lacking = [{"type": kind, "id": name, "error": {"statusCode": 404, "error": "Not Found"}}
                   for kind, name in keys if (kind, name) not in objects]
        if lacking:
            self.bad("Error fetching objects to export", attributes={"objects": lacking})
        lines = [json.dumps({**objects[key], "updated_at": "2026-11-22T00:00:00.000Z", "version": "WzEsMV0="}) for key in keys]
        if not asked.get("excludeExportDetails"):
            lines.append(json.dumps({"exportedCount": len(lines), "missingRefCount": 0, "missingReferences": []}))
        return "\n".join(lines).encode()

    def take(self, objects, body, kind):
        message = email.parser.BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        if not message.is_multipart():
            self.bad("[request body.file]: expected value of type [Stream] but got [undefined]")
        (part,) = message.get_payload()
        assert part.get_param("name", header="content-disposition") == "file"
        if not (part.get_filename() or "").endswith(".ndjson"):
            self.bad(f"Invalid file extension {part.get_filename()}")
        new, errors = {}, []
        for line in filter(None, part.get_payload(decode=True).decode().splitlines()):
            one = json.loads(line)
            if not {"type", "id", "attributes", "references"} <= set(one):
                self.bad(f"not an object: {line[:100]}")
            new[one["type"], one["id"]] = one
        for (kind, name), one in new.items():
            missing = [ref for ref in one["references"] if (ref["type"], ref["id"]) not in new | objects]
            error = None
            if kind not in self.TYPES:
                error = {"type": "unsupported_type"}
            elif missing:
                error = {"type": "missing_references", "references": missing}
            elif any(self.is_newer(version) for version in [*one.get("migrationVersion", {}).values(), one.get("coreMigrationVersion", "0")]):
                error = {"type": "unknown", "message": "Document belongs to a more recent version", "statusCode": 422}
            if error:
                errors.append({"type": kind, "id": name, "title": one["attributes"].get("title"), "error": error})
        if errors:
            return {"success": False, "successCount": len(new) - len(errors), "errors": errors}
        objects.update(new)
        return {"success": True, "successCount": len(new), "successResults": [{"type": t, "id": i, "overwrite": True} for t, i in new]}

    def is_newer(self, version):
        mine = "7.10.2" if self.is_dashboards else self.version
        return [int(n) for n in version.split(".")] > [int(n) for n in mine.split(".")]

    def kinds(self, space="default"):
        return collections.Counter(kind for kind, _ in self.objects[space])


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
