"""What is served: headers, refusals in words, probes, and files that need no other host."""

import asyncio
import hashlib
import json
import re
import socket

import pytest
from aiohttp import ClientSession, web

from farthing.config import Settings
from farthing.errors import ConfigError, StartError
from farthing.ledger.client import ask
from farthing.ledger.first_event import first_events
from farthing.ledger.web import FILES, PAGE, Pages
from farthing.process.access import Access
from farthing.process.http import bind
from tests.ledger.cases import MadeUp, book
from tests.ledger.test_statement_json import FIRST_EVENT, HISTORY, STATEMENT

TERMS = book()


class Served:
    """Pages on a free port, and a client."""

    def __init__(self, made, *, hosts=(), ready=(True, "keeping the books")):
        self.ready = ready
        self.pages = Pages(made.books, TERMS, ready=lambda: self.ready, metrics=lambda: b"farthing 1\n", hosts=hosts)

    async def __aenter__(self):
        self.host, self.port = await self.pages.listen("127.0.0.1", 0)
        self.client = ClientSession(f"http://{self.host}:{self.port}")
        return self

    async def __aexit__(self, *_):
        await self.client.close()
        await self.pages.close()

    async def get(self, path, **more):
        async with self.client.get(path, **more) as response:
            return response.status, response.headers, await response.text()


@pytest.fixture(scope="module")
def made():
    return MadeUp(1_000, hours=1)


@pytest.fixture
async def served(made):
    async with Served(made) as one:
        yield one


PATHS = [*FILES, "/api/statement", "/api/history", "/api/accounts", "/api/routes", "/live", "/ready", "/metrics"]


@pytest.mark.parametrize("path", [*PATHS, "/no/such/page", "/api/statement?window=week", "/vendor/../web.py"])
async def test_every_answer_has_the_headers(served, path):
    _, headers, _ = await served.get(path)
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


async def test_types_of_the_files(served):
    for path, (name, kind) in FILES.items():
        status, headers, text = await served.get(path)
        assert status == 200
        assert headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert text == (PAGE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["/", "/api/statement", "/metrics"])
async def test_nothing_can_be_written(served, path):
    for method in ("post", "put", "delete", "patch"):
        async with served.client.request(method, path) as response:
            assert response.status == 405


@pytest.mark.parametrize("page", ["statement", "history"])
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("window=week", "window 'week' is not known; one of minute, hour, day, all\n"),
        ("mode=free", "mode 'free' is not known; one of cheapest, naive, cached, batch, packed, combined\n"),
        ("model=openai:gpt-99", "model 'openai:gpt-99' is not compared with; one of openai:gpt-5-nano, "),
        ("model=<script>", "model '<script>' is not compared with"),
    ],
)
async def test_what_is_unknown_is_refused_in_words(served, page, query, said):
    status, headers, text = await served.get(f"/api/{page}?{query}")
    assert status == 400
    assert headers["Content-Type"].startswith("text/plain")
    assert text.startswith(said)


async def test_answers_are_as_the_schema_says(served):
    for window in ("minute", "hour", "day", "all"):
        for model in TERMS.meter.compare_with[:2]:
            query = {"window": window, "model": model, "mode": "naive"}
            status, headers, text = await served.get("/api/statement", params=query)
            assert status == 200
            assert headers["Content-Type"].startswith("application/json")
            body = json.loads(text)
            STATEMENT.validate(body)
            assert (body["window"], body["model"], body["mode"]) == (window, model, "naive")
            _, _, text = await served.get("/api/history", params=query)
            drawn = json.loads(text)
            HISTORY.validate(drawn)
            assert drawn["at_s"]
    _, _, text = await served.get("/api/statement")
    assert (json.loads(text)["window"], json.loads(text)["mode"]) == ("all", "cheapest")


async def test_what_is_not_there_is_answered_with_what_is(served):
    for path in ("/no/such/page", "/api", "/statement", "/metricsx/"):
        status, headers, text = await served.get(path)
        assert status == 404
        assert headers["Content-Type"].startswith("text/plain")
        assert "the ledger" in text
        assert all(known in text for known in ("/api/statement", "/live", "/ready", "/metrics", "/openapi.json"))


@pytest.mark.parametrize("path", PATHS[1:])
async def test_a_slash_at_the_end_and_head_change_nothing(served, path):
    _, _, text = await served.get(path)
    status, headers, slashed = await served.get(f"{path}/?window=day")
    assert status == 200
    assert headers["Content-Type"] == (await served.get(path))[1]["Content-Type"]
    assert path.startswith("/api/") or slashed == text
    async with served.client.head(path) as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_a_stranger_is_not_let_in_by_a_slash(made):
    async with Served(made) as served:
        for path in ("/api/statement/", "/no/such/page"):
            assert (await served.get(path, headers={"Host": "stranger.example"}))[0] == 403
        assert (await served.get("/live/", headers={"Host": "stranger.example"}))[0] == 200


async def test_routes_are_as_the_schema_says(made):
    route = {"bundle": "moderation", "source": "events.m", "sink": "s", "dead_letters": "d"}
    found = first_events(Settings(kafka={"bootstrap_servers": ["a:1", "b:2"]}, route=[route]))
    pages = Pages(made.books, TERMS, ready=lambda: (True, ""), metrics=bytes, first_events=found)
    host, port = await pages.listen("127.0.0.1", 0)
    try:
        async with ClientSession(f"http://{host}:{port}") as client, client.get("/api/routes") as response:
            (body,) = await response.json()
    finally:
        await pages.close()
    FIRST_EVENT.validate(body)
    assert (body["topic"], body["bootstrap_servers"]) == ("events.m", ["a:1", "b:2"])
    assert "'a:1,b:2'" in body["command"]


async def test_nothing_is_told_while_the_books_are_restored(made):
    async with Served(made, ready=(False, "restoring the books")) as served:
        for path in ("/api/statement", "/api/history", "/api/accounts", "/ready"):
            status, _, text = await served.get(path)
            assert (status, text) == (503, "restoring the books\n")
        for path in ("/", "/live", "/metrics"):
            assert (await served.get(path))[0] == 200
        served.ready = (True, "keeping the books")
        assert (await served.get("/ready"))[::2] == (200, "keeping the books\n")
        assert (await served.get("/api/statement"))[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("ledger.example", 200), ("ledger.example:8080", 200), ("LEDGER.example", 200), ("[::1]", 200),
        ("[::1]:9465", 200), ("evil.example", 403), ("ledger.example.evil.example", 403), ("[::2]:9465", 403),
        ("127.0.0.1", 403), ("", 403),
    ],
)  # fmt: skip
async def test_only_the_allowed_names_are_served(made, host, status):
    async with Served(made, hosts=("ledger.example", "::1")) as served:
        for path in ("/", "/page.js", "/api/statement", "/api/accounts", "/openapi.json"):
            assert (await served.get(path, headers={"Host": host}))[0] == status
        for path in ("/live", "/ready", "/metrics"):  # probes come by a pod's address, Prometheus by a service's name
            assert (await served.get(path, headers={"Host": host}))[0] == 200


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost", 200), ("LOCALHOST:9465", 200), ("farthing.localhost:1", 200), ("127.0.0.1:80", 200),
        ("[::1]:9465", 200), ("10.2.3.4:9465", 200), ("rebound.example", 403), ("localhost.example:9465", 403),
        ("127.0.0.1.example", 403), ("ledger", 403), ("127.0.0.1@evil.example", 403), ("0x7f000001", 403),
    ],
)  # fmt: skip
async def test_unless_told_no_name_is_served_that_a_stranger_could_point_here(served, host, status):
    for path in ("/", "/api/statement"):
        assert (await served.get(path, headers={"Host": host}))[0] == status
    assert (await served.get("/ready", headers={"Host": host}))[0] == 200


async def test_any_name_may_be_served_where_a_proxy_checks(made):
    async with Served(made, hosts=("*",)) as served:
        assert (await served.get("/", headers={"Host": "whatever.example"}))[0] == 200


async def test_the_token_opens_the_page_for_programs_and_for_a_browsers_login(made, tmp_path):
    file = tmp_path / "token"
    file.write_text("canary-81fe-token\n")
    pages = Pages(made.books, TERMS, ready=lambda: (True, ""), metrics=bytes)
    _, port = await pages.listen("0.0.0.0", 0, Access(file))
    address = f"http://127.0.0.1:{port}"
    try:
        async with ClientSession(address) as client:
            for path in ("/", "/page.js", "/api/statement", "/metrics"):
                async with client.get(path) as response:
                    assert response.status == 401
                    assert "ledger.token_file" in await response.text()
                    assert [c.split()[0] for c in response.headers.getall("WWW-Authenticate")] == ["Bearer", "Basic"]
            async with client.get("/ready") as response:
                assert response.status == 200
        assert isinstance(await asyncio.to_thread(ask, address, "/api/accounts", file), list)
        with pytest.raises(ConfigError, match=r"it asks for a token; set ledger\.token_file"):
            await asyncio.to_thread(ask, address, "/api/accounts")
    finally:
        await pages.close()


async def test_the_token_is_sent_to_no_other_address(tmp_path):
    (tmp_path / "token").write_text("canary-81fe-token")
    seen = []

    async def elsewhere(request):
        seen.append(request.headers.get("Authorization"))
        raise web.HTTPFound("http://localhost:9/elsewhere")

    app = web.Application()
    app.router.add_get("/{any:.*}", elsewhere)
    endpoint = await bind(app, "127.0.0.1", 0, section="ledger")
    try:
        with pytest.raises(ConfigError, match="returned 302"):
            await asyncio.to_thread(ask, f"http://127.0.0.1:{endpoint.port}", "/api/x", tmp_path / "token")
    finally:
        await endpoint.close()
    assert seen == ["Bearer canary-81fe-token"]


async def test_a_statement_is_made_once_for_many_pages(served, monkeypatch):
    from farthing.ledger import web as module

    made, real = [], module.make_statement
    monkeypatch.setattr(module, "STATEMENT_KEPT_MS", 60_000)
    monkeypatch.setattr(module, "make_statement", lambda *given: made.append(given[2]) or real(*given))
    for _ in range(5):
        assert (await served.get("/api/statement?window=hour"))[0] == 200
        assert (await served.get("/api/history?window=hour"))[0] == 200
    assert made == ["hour"]


async def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        pages = Pages(lambda: None, TERMS, ready=lambda: (True, ""), metrics=lambda: b"")
        with pytest.raises(StartError, match=rf"ledger.port = {port}: cannot listen there .*set ledger.port"):
            await pages.listen("127.0.0.1", port)


async def test_the_openapi_file_names_every_path_that_is_served(served):
    described = json.loads((PAGE / "openapi.json").read_text(encoding="utf-8"))["paths"]
    files = {path for path in FILES}
    routes = {r.resource.canonical for r in served.pages.application().router.routes()}
    assert described.keys() == routes - files
    assert web  # the router's own names are used above


# --- The files of the page.


def test_no_file_names_another_host():
    ours = [path for path in PAGE.rglob("*") if path.suffix in (".html", ".css", ".js", ".json")]
    assert {path.name for path in ours} >= {"index.html", "page.js", "page.css", "openapi.json", "uPlot.iife.min.js"}
    for path in ours:
        text = path.read_text(encoding="utf-8")
        # The licence comment of the vendored file names its home; nothing is loaded from a comment.
        text = re.sub(r"/\*!.*?\*/", "", text, flags=re.DOTALL)
        assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]{2,}|\bwss?:|@import|\burl\(", text), path.name


def test_every_file_that_the_page_names_is_served():
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    named = {f"/{name}" for name in re.findall(r'(?:src|href)="([^"#:]+)"', html)}
    assert {name for name in named if not name.startswith(("/api", "/metrics"))} == FILES.keys() - {"/"}


def test_nothing_is_inline_that_the_policy_forbids():
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", html)
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script)


def test_the_vendored_library_is_what_was_checked_in():
    sums = dict(reversed(line.split()) for line in (PAGE / "vendor/SHA256SUMS").read_text().splitlines())
    code = {path.name for path in (PAGE / "vendor").iterdir() if path.suffix in (".js", ".css")}
    assert code == sums.keys() == {"uPlot.iife.min.js", "uPlot.min.css"}
    for name, digest in sums.items():
        assert hashlib.sha256((PAGE / "vendor" / name).read_bytes()).hexdigest() == digest
    licence = (PAGE / "vendor/uPlot.LICENSE").read_text()
    assert "MIT License" in licence and "Permission is hereby granted" in licence
    assert re.search(r"\d+\.\d+\.\d+", (PAGE / "vendor/uPlot.VERSION").read_text())
