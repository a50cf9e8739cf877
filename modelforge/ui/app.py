"""Puts the tabs together and opens the app."""

from __future__ import annotations

import os
import signal
import webbrowser
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported: nothing leaves the machine unasked

import gradio as gr

from modelforge import hardware, paths, warmup
from modelforge.compute.memory import share_one_arena
from modelforge.errors import AccessError
from modelforge.forge import Forge, shared_forge
from modelforge.ui import hardware as hardware_tab
from modelforge.ui import header, hub
from modelforge.ui.access import Access, decide_access
from modelforge.ui.dataset import preview
from modelforge.ui.dataset import tab as dataset
from modelforge.ui.dataset.library import show_library
from modelforge.ui.look import html
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.models import tab as models
from modelforge.ui.playground import tab as playground
from modelforge.ui.single_instance import alone_on_home, tell_address
from modelforge.ui.train import form as train_form
from modelforge.ui.train import tab as train

LARGEST_UPLOAD = "1gb"
LEAVES_WITHIN = 8.0  # seconds that runs have to save themselves when the app is closed
FORGOTTEN_AFTER_SECONDS = 24 * 3600  # uploads that were looked at and not saved


def build(forge: Forge, access: Access) -> gr.Blocks:
    """The whole page."""
    with gr.Blocks(
        title="ModelForge",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(3600, FORGOTTEN_AFTER_SECONDS),
    ) as page:
        top = header.build(forge)
        if said := _warnings(forge, access):
            gr.HTML(said)
        with gr.Tabs(selected="train", elem_id="tabs", overflow_behavior="wrap") as tabs:
            with gr.Tab("Hardware", id="hardware") as hardware_place:
                machine = hardware_tab.build(forge)
            with gr.Tab("Dataset", id="dataset") as dataset_place:
                data = dataset.build(forge)
            with gr.Tab("Train", id="train") as train_place:
                training = train.build(forge)
            with gr.Tab("Models", id="models") as models_place:
                library = models.build(forge)
            with gr.Tab("Playground", id="playground") as playground_place:
                chat = playground.build(forge)
            with gr.Tab("Hub", id="hub") as hub_place:
                push = hub.build(forge)

        def open_train(chosen: str | None = None) -> Any:
            return train_form.offer_datasets(forge, chosen)

        def offer_more(dataset_now: str | None, parent: str, run_now: str | None) -> list[Any]:
            """Coming back to the Train tab keeps what was chosen there."""
            return [train_form.offer_datasets(forge, dataset_now, parent), *training.list_runs(run_now or "")]

        def model_of(run_id: str) -> str | None:
            return forge.runs.get(run_id).model_id if run_id else None

        go = {
            name: (lambda name=name: gr.Tabs(selected=name))
            for name in ("dataset", "train", "models", "playground", "hub")
        }
        form = training.form

        # What a page shows when it is opened or reloaded: the truth as it is now, whoever started what.
        listen(page.load, open_train, None, [form.dataset])
        listen(page.load, training.refresh, [training.run_id, training.seen], training.shown)
        listen(page.load, lambda: header.show(forge), None, [top.machine, top.run])
        listen_all(
            [page.load, hardware_place.select],
            lambda: (
                [hardware_tab.describe_machine(), hardware_tab.describe_speeds()]
                if warmup.is_done()
                else [hardware_tab.describe_machine(), gr.skip()]
            ),
            None,
            [machine.facts, machine.speeds],
        )
        listen_all(
            [page.load, dataset_place.select],
            lambda chosen: show_library(forge, chosen),
            data.library.chosen,
            data.library.outputs,
        )
        listen(
            train_place.select,
            offer_more,
            [form.dataset, form.parent, training.earlier],
            [form.dataset, training.earlier],
        )
        listen_all(
            [page.load, models_place.select],
            lambda chosen: models.show_models(forge, chosen),
            library.chosen,
            library.shown,
        )
        listen_all(
            [page.load, playground_place.select], lambda chosen: playground.offer(forge, chosen), chat.model, chat.model
        )
        listen_all([page.load, hub_place.select], lambda chosen: hub.offer(forge, chosen), push.model, push.model)

        # Each step's end offers the next with its choice made.
        listen(top.run.click, go["train"], None, tabs)
        listen(machine.next.click, go["dataset"], None, tabs)
        saved = listen(data.saved.success, open_train, data.library.chosen, [form.dataset])
        listen(saved.success, go["train"], None, tabs)
        for button, place, target in (
            (training.chat, "playground", chat.model),
            (training.look, "models", library.chosen),
        ):
            chosen = listen(
                button.click, lambda run_id: playground.offer(forge, model_of(run_id)), training.run_id, target
            )
            listen(chosen.success, go[place], None, tabs)
        further = listen(
            library.further.click, lambda model_id: models.check_usable(forge, model_id), library.chosen, form.parent
        )
        listen(further.success, go["train"], None, tabs)
        for button, place, target in ((library.chat, "playground", chat.model), (library.push, "hub", push.model)):
            chosen = listen(button.click, lambda model_id: playground.offer(forge, model_id), library.chosen, target)
            listen(chosen.success, go[place], None, tabs)
    page.queue(default_concurrency_limit=16, api_open=False)
    page._queue.sleep_when_free = 0.02  # seconds; Gradio's millisecond takes a tenth of a core away from training
    return page


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    auth: str | None = None,
    open_browser: bool = True,
) -> None:
    """Open the app and stay until Ctrl-C or SIGTERM; runs in progress save themselves then, to go on another time.

    Raises AccessError, before anything listens, for an unsafe way to open it and for a home that another app has.
    """
    access = decide_access(host=host, port=port, share=share, auth=auth)
    with alone_on_home():
        _open(access, open_browser=open_browser)


def _open(access: Access, *, open_browser: bool) -> None:
    share_one_arena()
    forge = shared_forge()
    page = build(forge, access)
    try:
        _, url, _ = page.launch(
            server_name=access.host,
            server_port=access.port,
            share=access.share,
            auth=access.check_login,
            root_path=access.root_path or None,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            enable_monitoring=False,
            run_history=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            max_file_size=LARGEST_UPLOAD,
            blocked_paths=[str(paths.home())],
            footer_links=[],
            theme=_theme(),
            css_paths=[paths.asset("style.css")],
            favicon_path=paths.asset("icon.png"),
        )
    except OSError as error:
        raise AccessError(
            f"The app cannot listen on port {access.port or 'any of 7860 to 7959'}.",
            where=access.host,
            fix="Another program uses it; choose another one with --port.",
        ) from error
    tell_address(url)
    print(f"ModelForge is open at {page.share_url or url}", flush=True)
    print("Press Ctrl-C to close it.", flush=True)
    if open_browser and not access.on_space:
        webbrowser.open(url)
    warmup.start(
        after_seconds=1.0, first=preview.load_starters_tokenizer, probe=hardware.probe, then=forge.runs.take_up
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    page.block_thread()
    forge.runs.leave(LEAVES_WITHIN)


def _theme() -> Any:
    return gr.themes.Base(
        primary_hue="orange",
        neutral_hue="stone",
        radius_size="md",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(body_text_color_subdued="*neutral_500")  # the lighter default is hard to read on white


def _warnings(forge: Forge, access: Access) -> str:
    said = [forge.store.message] if forge.store.message else []
    if access.on_space and access.auth is None:
        said.append(
            "Everybody who can open this Space can train, chat with and delete its models. "
            "Set the secret MODELFORGE_AUTH to user:password to ask for a login."
        )
    return "".join(html.note(sentence, "warning") for sentence in said)
