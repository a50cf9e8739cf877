"""Pages of others, and texts that want to be code, in Chromium: nothing of the app is read, changed or run by them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from modelforge import Forge, paths
from modelforge.recipe import Recipe
from modelforge.store import RunRecord, RunState, utc_now
from tests import tiny
from tests.browser.chromium import find_chromium
from tests.browser.drive import CHROMIUM_OPTIONS, TABS, App, Witness, open_app, open_tab
from tests.machine import base as tiny_base

__all__ = ["tiny_base"]

RUN = "window.__hit=1;fetch('http://evil.example/')"
PAYLOADS = (
    f"<script>{RUN}</script>", f"<img src=x onerror=\"{RUN}\">", f"<svg onload=\"{RUN}\">", f"<svg/onload={RUN}>",
    f"<body onload=\"{RUN}\">", "<iframe srcdoc=\"<script>parent.__hit=1</script>\"></iframe>",
    "<iframe src=\"javascript:parent.__hit=1\"></iframe>", f"<a href=\"javascript:{RUN}\">a</a>",
    f"[a](javascript:{RUN})", "![a](http://evil.example/x.png)", f"<details open ontoggle=\"{RUN}\">",
    f"<input autofocus onfocus=\"{RUN}\">", f"<video><source onerror=\"{RUN}\"></video>",
    f"<audio src=x onerror=\"{RUN}\">", f"<marquee onstart=\"{RUN}\">", f"<object data=\"javascript:{RUN}\">",
    "<embed src=\"http://evil.example/\">", "<link rel=stylesheet href=\"http://evil.example/x.css\">",
    "<style>@import 'http://evil.example/x.css';</style>", "<meta http-equiv=refresh content=\"0;url=http://evil.example/\">",
    "<base href=\"http://evil.example/\">", f"<form action=\"javascript:{RUN}\"><button>x</button></form>",
    f"\"><script>{RUN}</script>", f"'><img src=x onerror=\"{RUN}\">", f"</textarea><script>{RUN}</script>",
    f"</style></script><script>{RUN}</script>", f"{{{{constructor.constructor(\"{RUN}\")()}}}}", f"${{{RUN}}}",
    f"<math><mtext></mtext><mglyph><svg><mtext><img src=x onerror=\"{RUN}\">", f"&lt;script&gt;{RUN}&lt;/script&gt;",
    "<div style=\"background:url(http://evil.example/)\">b</div>", "<img srcset=\"http://evil.example/x.png 1x\">",
)  # fmt: skip


class Attacker(BaseHTTPRequestHandler):
    """A page of another origin, on this machine."""

    target = ""

    def do_GET(self) -> None:
        page = f"""<!doctype html><title>other</title><iframe id=f src="{self.target}"></iframe>
        <form id=g method=post enctype="multipart/form-data" action="{self.target}gradio_api/upload" target=f></form>
        <script>
        const target = {json.dumps(self.target)}, got = [];
        async function ask(path, options) {{
          try {{ const answer = await fetch(target + path, {{credentials: "include", ...options}});
                 got.push(path + " " + answer.type + " " + answer.status); }}
          catch (error) {{ got.push(path + " refused"); }}
        }}
        const file = new FormData(); file.append("files", new Blob(["planted"]), "planted.txt");
        const event = JSON.stringify({{data: [], fn_index: 1, session_hash: "planted"}});
        (async () => {{
          await ask("config"); await ask("gradio_api/info"); await ask("", {{mode: "no-cors"}});
          await ask("gradio_api/upload", {{method: "POST", body: file}});
          await ask("gradio_api/upload", {{method: "POST", body: file, mode: "no-cors"}});
          await ask("gradio_api/queue/join", {{method: "POST", body: event, mode: "no-cors"}});
          const json = {{"content-type": "application/json"}};
          await ask("gradio_api/queue/join", {{method: "POST", body: event, headers: json}});
          document.title = JSON.stringify(got);
        }})();
        </script>"""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other_site(app: App) -> Iterator[str]:
    handler = type("Handler", (Attacker,), {"target": app.url})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}/"
    server.shutdown()


@pytest.fixture
def deceived(chromium: Browser) -> Iterator[Page]:
    """A page in a browser for which evil.example is this machine, as after a rebinding of its name."""
    options = [*CHROMIUM_OPTIONS, "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    browser = chromium.browser_type.launch(executable_path=find_chromium(), args=options)
    yield browser.new_page()
    browser.close()


@pytest.mark.slow
def test_page_of_another_origin_reads_changes_and_frames_nothing(app: App, other_site: str, chromium: Browser) -> None:
    before = sorted(str(file) for file in app.home.parent.rglob("*planted*"))
    context = chromium.new_context()
    page = context.new_page()
    page.goto(app.url)  # the victim has the app open, with whatever cookies it gives
    page.goto(other_site)
    page.wait_for_function("document.title.startsWith('[')")
    got = json.loads(page.title())
    assert len(got) == 7
    assert all(each.endswith((" refused", " opaque 0", " cors 403")) for each in got), got
    frame = page.frames[1]
    assert frame.url.startswith("chrome-error:") or "ModelForge" not in frame.content()
    assert sorted(str(file) for file in app.home.parent.rglob("*planted*")) == before
    context.close()


@pytest.mark.slow
def test_a_name_that_was_bound_to_this_machine_gets_a_sentence_and_nothing_else(app: App, deceived: Page) -> None:
    port = urlsplit(app.url).port
    answer = deceived.goto(f"http://evil.example:{port}/")
    assert answer is not None and answer.status == 403
    assert "does not answer to the name" in deceived.inner_text("body")
    for path in ("config", "gradio_api/info"):
        found = deceived.evaluate(f"async () => (await fetch('/{path}')).status")
        assert found == 403


@pytest.fixture
def poisoned_home(home: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which every text that a user can choose is one that wants to be code."""
    monkeypatch.setenv("MODELFORGE_HOME", str(home))
    forge, bad = Forge(), iter(PAYLOADS * 3)
    column, answer = next(bad), next(bad)
    rows = [{column: payload, answer: f"{payload} {number}"} for number, payload in enumerate(PAYLOADS)]
    file = tiny.write_jsonl(home.parent / "rows.jsonl", rows)
    recipe = Recipe(columns={"prompt": column, "response": answer})
    for number in range(4):
        rows[0][column] = f"{number} {next(bad)}"
        dataset = forge.datasets.resolve(str(tiny.write_jsonl(file, rows)), recipe)
        forge.datasets.rename(dataset.id, next(bad)[:120])
    for number in range(4):
        model = tiny.finish_model(forge, tiny_base, name=next(bad)[:120])
        forge.store.models.update(model.id, dataset_name=next(bad), description=next(bad))
        add_run(forge, next(bad)[:120], dataset.id, model.id, RunState.finished if number else RunState.failed)
    return home


def add_run(forge: Forge, text: str, dataset_id: str, model_id: str, state: RunState) -> None:
    run = RunRecord(
        id=paths.new_id("run"), state=state, created=utc_now(), dataset_id=dataset_id, dataset_name=text,
        model_id=model_id, recipe=Recipe(name=text, dataset=dataset_id).model_dump(mode="json"), step=2, total_steps=2,
        error={"kind": "data", "what": text, "where": text, "fix": text} if state is RunState.failed else None,
    )  # fmt: skip
    forge.store.runs.add(run)
    folder = paths.run_dir(run.id)
    folder.mkdir(parents=True)
    events = [{"type": "warning", "message": payload} for payload in PAYLOADS] + [
        {"type": "sampled", "step": step, "prompt": p, "answer": p, "expected": p} for p in PAYLOADS for step in (0, 2)
    ]
    lines = [json.dumps({"time": utc_now(), "run_id": run.id, **event}) for event in events]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "log.txt").write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_no_text_of_a_user_becomes_code_wherever_it_is_shown(poisoned_home: Path, witness: Witness) -> None:
    with open_app(poisoned_home) as app:
        page = witness.open(app)
        for name in TABS:
            open_tab(page, name)
            page.wait_for_timeout(700)
        for elem_id in ("train-dataset", "train-earlier", "models-chosen", "chat-model", "hub-model", "dataset-chosen"):
            choose_each(page, elem_id)
        open_tab(page, "Train")
        type_everywhere(page)
        page.wait_for_timeout(3000)
        assert page.evaluate("window.__hit === undefined")
        assert (
            page.locator("#tabs script, #tabs iframe, #tabs object, #tabs embed, #tabs base, #tabs meta").count() == 0
        )
        assert (
            page.locator("#tabs img[src=x], #tabs [onerror], #tabs [onload], #tabs a[href^='javascript']").count() == 0
        )
        page.context.close()
        witness.forget_errors("status of 4")
    # at the end of the witness: no dialog was opened, and no request has left the machine


def choose_each(page: Page, elem_id: str) -> None:
    """Every option of a list, in its tab."""
    field = page.locator(f"#{elem_id} input")
    if not field.count():
        return
    tab = page.locator(f"[role=tabpanel]:has(#{elem_id})").first
    open_tab(page, next(name for name in TABS if name.lower() == _tab_of(elem_id)))
    expect(tab).to_be_visible()
    field.click()
    count = page.get_by_role("option").count()
    for number in range(min(count, 5)):
        field.evaluate("field => field.blur()")
        field.click()
        page.get_by_role("option").nth(number).click()
        page.wait_for_timeout(600)


def _tab_of(elem_id: str) -> str:
    return {"chat": "playground"}.get(name := elem_id.partition("-")[0], name)


def type_everywhere(page: Page) -> None:
    """Into every field of texts that the Train and Playground tabs show."""
    for tab in ("Train", "Playground"):
        open_tab(page, tab)
        fields = page.locator("[role=tabpanel] textarea:visible, [role=tabpanel] input[type=text]:visible")
        for number in range(min(fields.count(), 8)):
            field = fields.nth(number)
            if field.is_editable():
                field.fill(PAYLOADS[number % len(PAYLOADS)])
                field.press("Tab")
        page.wait_for_timeout(500)
