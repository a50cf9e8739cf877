"""Puts the tabs together and opens the app."""

from __future__ import annotations

import signal
import webbrowser
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
from starlette.middleware import Middleware

from modelforge import hardware, paths, quotas, warmup
from modelforge.caller import OWNER, acting_as, current_caller, refuse_unknown_callers
from modelforge.compat.gradio import poll_queue_less_often
from modelforge.compute.kernels.build import build_ahead
from modelforge.compute.memory import share_one_arena
from modelforge.connections import limit_silent_connections
from modelforge.errors import AccessError
from modelforge.forge import Forge, shared_forge
from modelforge.runs.worker import load_training
from modelforge.threads import share_processor
from modelforge.ui import hardware as hardware_tab
from modelforge.ui import header, space
from modelforge.ui.access import GUEST, Access
from modelforge.ui.dataset import preview
from modelforge.ui.dataset import tab as dataset
from modelforge.ui.hub.tab import HubTab
from modelforge.ui.look import html
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.look.files import keep_uploads_in_home
from modelforge.ui.middleware import RequestChecks
from modelforge.ui.models import tab as models
from modelforge.ui.models.batch import show_batches
from modelforge.ui.models.serve import show_serving
from modelforge.ui.playground import choices
from modelforge.ui.playground import tab as playground
from modelforge.ui.sign_in import SignIn
from modelforge.ui.single_instance import lock_home, write_address
from modelforge.ui.train import form as train_form
from modelforge.ui.train import tab as train

LARGEST_UPLOAD = "1gb"
LEAVES_WITHIN = 8.0  # seconds that runs have to save themselves when the app is closed
UNSAVED_UPLOADS_KEPT_SECONDS = 24 * 3600


class Tabs:
    """All tabs, below the header. `places` has the gr.Tab that each of them is in."""

    def __init__(self, forge: Forge, access: Access) -> None:
        self.header = header.Header(forge, access)
        if warnings := _describe_warnings(forge, access):
            gr.HTML(warnings)
        self.places: dict[str, Any] = {}
        self._chat_only, self._first = access.chat_only, "playground" if access.chat_only else "train"
        with gr.Tabs(selected=self._first, elem_id="tabs", overflow_behavior="wrap") as self.box:
            with self._place("Hardware"):
                self.hardware = hardware_tab.HardwareTab()
            with self._place("Dataset"):
                self.dataset = dataset.build(forge)
            with self._place("Train"):
                self.train = train.build(forge)
            with self._place("Models"):
                self.models = models.build(forge)
            with self._place("Playground"):
                self.playground = playground.build(forge)
            with self._place("Hub"):
                self.hub = HubTab(forge)

    def _place(self, title: str) -> Any:
        """A tab; of an app for chatting only the playground is there for everybody, see `_attach_person`."""
        name = title.lower()
        self.places[name] = gr.Tab(title, id=name, visible=name == self._first or not self._chat_only)
        return self.places[name]


def build(forge: Forge, access: Access) -> gr.Blocks:
    """The whole page."""
    keep_uploads_in_home()
    with gr.Blocks(
        title="ModelForge",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(3600, UNSAVED_UPLOADS_KEPT_SECONDS),
    ) as page:
        tabs = Tabs(forge, access)
        _attach_load(forge, tabs, page.load)
        _attach_person(access, tabs, page.load)
        _attach_next_steps(forge, tabs)
    page.api_open = False
    poll_queue_less_often(page)
    return page


def find_shared_model(text: str | None) -> str:
    """The id of the model that a share link is for: the newest unless it is named; "" if there is none. Raises
    NotFoundError."""
    found = shared_forge().models
    models = [found.find(text)] if text else found.all()
    return models[0].id if models else ""


def _attach_load(forge: Forge, tabs: Tabs, load: Any) -> None:
    """What is shown when the page is opened or reloaded, or a tab selected: the current state of this app."""
    form, training, library = tabs.train.form, tabs.train, tabs.dataset.library

    def offer_more(dataset_now: str | None, parent: str, run_now: str | None) -> list[Any]:
        """Coming back to the Train tab keeps what was chosen there."""
        return [train_form.offer_datasets(forge, dataset_now, parent), training.list_runs(run_now or "")]

    def describe_hardware() -> list[Any]:
        speeds = hardware_tab.describe_speeds() if warmup.is_done() else gr.skip()
        return [hardware_tab.describe_machine(), speeds]

    listen(load, partial(train_form.offer_datasets, forge), None, form.dataset)
    listen(load, training.refresh, [training.run_id, training.seen], training.shown)
    listen(load, partial(header.show, forge), None, [tabs.header.machine, tabs.header.run])
    for name, show, inputs, outputs in (
        ("hardware", describe_hardware, None, [tabs.hardware.facts, tabs.hardware.speeds]),
        ("dataset", library.show, library.chosen, library.outputs),
        ("models", partial(models.show_models, forge), tabs.models.chosen, tabs.models.shown),
        ("models", partial(show_serving, forge), None, tabs.models.serving.shown),
        ("models", partial(show_batches, forge), tabs.models.batches.chosen, tabs.models.batches.shown),
        ("playground", partial(choices.offer, forge), tabs.playground.model, tabs.playground.model),
        ("hub", tabs.hub.refresh, tabs.hub.model, tabs.hub.shown),
    ):
        listen_all([load, tabs.places[name].select], show, inputs, outputs, for_chat=name == "playground")
    kept = playground.list_kept(tabs.playground)
    listen_all([load], partial(playground.show_kept, forge, tabs.playground), None, kept)
    chosen = [form.dataset, form.parent, training.earlier]
    listen(tabs.places["train"].select, offer_more, chosen, [form.dataset, training.earlier])


def _attach_person(access: Access, tabs: Tabs, load: Any) -> None:
    """The header says who is signed in; of an app for chatting the owner sees all tabs. (Gradio can show a tab that was
    hidden, but not hide one that was shown.)"""

    def show() -> dict[Any, Any]:
        shown = {tabs.header.person: header.describe_person(access)}
        if access.chat_only and current_caller().is_owner:
            shown |= {place: gr.Tab(visible=True) for place in tabs.places.values()}
        return shown

    listen(load, show, None, [tabs.header.person, *tabs.places.values()], for_chat=True)


def _attach_next_steps(forge: Forge, tabs: Tabs) -> None:
    """Each step's end opens the tab of the next, with its choice made."""
    training, library, datasets = tabs.train, tabs.models, tabs.dataset.library
    votes = tabs.playground.sides.votes

    def open_tab(event: Any, name: str) -> None:
        listen(event, lambda: gr.Tabs(selected=name), None, tabs.box)

    def find_model_of(forge: Forge, run_id: str) -> str | None:
        return forge.runs.get(run_id).model_id if run_id else None

    def offer_model_of(forge: Forge, run_id: str) -> Any:
        return models.offer_models(forge, find_model_of(forge, run_id))

    def talk_to_model_of(forge: Forge, run_id: str) -> Any:
        return choices.offer(forge, find_model_of(forge, run_id))

    def talk_to_base(forge: Forge, name: str | None) -> Any:
        return choices.offer(forge, choices.offer_base(name))

    open_tab(tabs.header.run.click, "train")
    open_tab(tabs.hardware.next.click, "dataset")
    for event, choose, chosen, target, name in (
        (tabs.dataset.saved.success, train_form.offer_datasets, datasets.chosen, training.form.dataset, "train"),
        (training.form.talk.click, talk_to_base, training.form.base_model, tabs.playground.model, "playground"),
        (training.chat.click, talk_to_model_of, training.run_id, tabs.playground.model, "playground"),
        (training.look.click, offer_model_of, training.run_id, library.chosen, "models"),
        (library.further.click, models.check_usable, library.chosen, training.form.parent, "train"),
        (library.chat.click, choices.offer, library.chosen, tabs.playground.model, "playground"),
        (votes.made.success, train_form.offer_datasets, votes.dataset, training.form.dataset, "train"),
        (library.push.click, models.offer_models, library.chosen, tabs.hub.model, "hub"),
    ):
        open_tab(listen(event, partial(choose, forge), chosen, target).success, name)


def serve(access: Access, *, open_browser: bool) -> None:
    """Open the app and stay until Ctrl-C or SIGTERM; runs in progress then save themselves, to be resumed later.

    Raises AccessError, before anything listens, for a home that another app uses.
    """
    if access.mode != "local":
        refuse_unknown_callers()
        quotas.apply()
    with acting_as(OWNER), lock_home():
        share_processor()
        share_one_arena()
        forge = shared_forge()
        forge.playground.engine.makes_files = True
        page = build(forge, access)
        url = launch(page, access)
        write_address(url)
        lines = [f"ModelForge is open at {page.share_url or url}"]
        if access.made_password:
            lines += [f"For those you give the link to: name {GUEST}, password {access.made_password}"]
        with suppress(OSError):  # nobody reads it, or it goes to a file on a full disk
            print("\n".join([*lines, "Press Ctrl-C to close it."]), flush=True)
        if open_browser and not access.on_space:
            webbrowser.open(url)
        first = preview.load_starters_tokenizer
        warmup.start(1.0, first=first, probe=hardware.probe, training=load_training, then=partial(catch_up, forge))
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
        page.block_thread()
        forge.runs.save_all(LEAVES_WITHIN)
        forge.serving.stop()
        forge.playground.unload()


def catch_up(forge: Forge) -> None:
    """What the app does once it is open and has loaded everything."""
    acting_as(OWNER)(forge.runs.auto_resume)()
    build_ahead()


def launch(page: gr.Blocks, access: Access) -> str:
    """Start to listen; returns the address. Raises AccessError where the port is in use."""
    hosts = access.hosts()
    checks = [
        Middleware(RequestChecks, hosts=hosts),
        Middleware(SignIn, people=access.people(), with_hub=access.with_hub, in_frame=access.on_space),
    ]
    try:
        _, url, _ = page.launch(
            app_kwargs={"middleware": checks},
            server_name=access.host,
            server_port=access.port,
            share=access.share,
            root_path=access.root_path or None,
            prevent_thread_lock=True,
            quiet=True,
            enable_monitoring=False,
            run_history=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            max_file_size=LARGEST_UPLOAD,
            blocked_paths=[str(paths.home() / name) for name in paths.NEVER_SERVED],
            footer_links=[],
            theme=_theme(),
            css_paths=[paths.asset("style.css")],
            favicon_path=paths.asset("icon.png"),
        )
    except OSError as error:
        raise AccessError(
            f"The app cannot listen on port {access.port or 'any of 7860 to 7959'}.",
            where=access.host,
            fix="Another program uses it. Choose another port with --port.",
        ) from error
    limit_silent_connections(page.server)
    if page.share_url:
        hosts.public.add(urlsplit(page.share_url).netloc)
    return str(url)


def _theme() -> Any:
    return gr.themes.Base(
        primary_hue="orange",
        neutral_hue="stone",
        radius_size="md",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_text_color_subdued="*neutral_500",  # the lighter default is hard to read on white
        checkbox_border_color_dark="*neutral_500",  # an empty box cannot be seen with the darker default
    )


def _describe_warnings(forge: Forge, access: Access) -> str:
    sentences = [forge.store.message] if forge.store.message else []
    sentences += space.describe_limits() if access.on_space else []
    return "".join(html.note(sentence, "warning") for sentence in sentences)
