"""What happens when something on the page is used: which function is called."""

from typing import Any

import gradio as gr

from pigdm_jax.app.desk import Desk, Updates

# The progress may be above or, on a phone, below what is seen.
SCROLL = """() => {
  const block = innerWidth < 800 ? "start" : "nearest";
  document.querySelector("#status").scrollIntoView({behavior: "smooth", block});
  return [];
}"""


# How most functions are called: nothing shows their progress, no API offers them.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

# What depends on choices in the rows of damages, besides their groups of fields.
DEPENDENT = (
    ("holes", "where"),
    ("noisy", "estimated"),
    ("noisy", "level"),
    ("jpeg", "header"),
    ("jpeg", "quality"),
)
# The choices among them on which others depend.
SWITCHES = (("noisy", "estimated"), ("jpeg", "header"), ("holes", "where"))


def wire(desk: Desk) -> None:
    """Connect the components with the functions, within a `gr.Blocks`."""
    parts = desk.parts
    visible = [
        parts.mask_group,
        parts.photo,
        *(group for row in parts.rows for group in row.groups.values()),
        *(row.fields[key] for row in parts.rows for key in DEPENDENT),
    ]
    choose = {"fn": desk.choose, "inputs": parts.damages, "outputs": visible} | QUIET
    plan = {"fn": desk.plan, "inputs": parts.settings, "outputs": parts.plan} | QUIET
    plan |= {"concurrency_id": "plan", "trigger_mode": "always_last"}
    _wire_photo(desk, choose, plan)
    _wire_settings(desk, choose, plan)
    _wire_restoration(desk)


def _wire_photo(desk: Desk, choose: dict[str, Any], plan: dict[str, Any]) -> None:
    """A photo or a mask from a file, and the examples."""
    parts = desk.parts
    outputs = [
        parts.photo,
        parts.editor,
        parts.about,
        parts.restore,
        *(r.fields["jpeg", name] for r in parts.rows for name in ("header", "quality")),
    ]
    gr.on(
        [parts.file.upload, parts.file.clear],
        desk.take_photo,
        parts.file,
        outputs,
        **QUIET,
    ).then(**choose).then(**plan)
    kinds = [row.kind for row in parts.rows]
    fields = [f for row in parts.rows for f in row.fields.values()]
    changed = [*outputs, parts.simulate, *kinds, *fields, parts.mask_file]
    changed = list(dict.fromkeys(changed))
    for i, button in enumerate(parts.examples):

        def take(request: gr.Request, number: int = i) -> Updates:
            return desk.take_example(number, request)

        button.click(take, None, changed, **QUIET).then(**choose).then(**plan)
    gr.on(
        [parts.mask_file.upload, parts.mask_file.clear],
        desk.take_mask,
        parts.mask_file,
        parts.plan,
        **QUIET,
    )


def _wire_settings(desk: Desk, choose: dict[str, Any], plan: dict[str, Any]) -> None:
    """What other settings, or the plan, depend on."""
    parts = desk.parts
    kinds = [row.kind for row in parts.rows]
    switches = [row.fields[key] for row in parts.rows for key in SWITCHES]
    gr.on([c.change for c in (parts.simulate, *kinds, *switches)], **choose)
    parts.rows[0].kind.input(
        desk.suggest,
        [parts.rows[0].kind, parts.sampler, parts.steps],
        [parts.sampler, parts.steps],
        **QUIET,
    )
    parts.prior.change(desk.ask_class, parts.prior, [parts.label, parts.cfg], **QUIET)
    gr.on([c.change for c in parts.settings], **plan)
    parts.download.click(
        desk.download,
        parts.download_name,
        [parts.download_note, parts.prior],
        concurrency_limit=1,
        **QUIET,
    )


def _wire_restoration(desk: Desk) -> None:
    """The buttons that start and stop a restoration."""
    parts = desk.parts
    outputs = [
        *(parts.status, parts.restore, parts.stop, parts.results, parts.slider),
        *(parts.summary, parts.figure, parts.samples_group, parts.gallery),
        *(parts.curves, parts.command, parts.code, parts.result_file, parts.files),
    ]
    parts.restore.click(desk.wait, None, outputs[:4], queue=False, js=SCROLL, **QUIET)
    running = parts.restore.click(
        desk.restore,
        [parts.editor, *parts.settings],
        outputs,
        concurrency_limit=1,
        concurrency_id="device",
        trigger_mode="once",
        show_progress="minimal",
        show_progress_on=parts.status,
        api_visibility="private",
    )
    # What reports on their way to the browser say is out of date by then.
    parts.stop.click(
        desk.stop, None, None, cancels=[running], queue=False, **QUIET
    ).then(desk.stopped, None, outputs[:3], **QUIET)
