"""The page's parts, and where they stand."""

from typing import Any, NamedTuple

import gradio as gr

from pigdm_jax.app.choices import AUTOMATIC, MOST_SAMPLES, MOST_STEPS
from pigdm_jax.app.damages import KINDS, Field
from pigdm_jax.pictures.formats import SUFFIXES
from pigdm_jax.samplers.registry import SAMPLERS

ROWS = 3  # things that may have happened to a photo
TITLES = ("What happened to it?", "And then?", "And then?")
NOTHING = "nothing more"
PAINT = "#ff2d55"


class Row(NamedTuple):
    """One thing that happened to the photo.

    Attributes:
      kind: which.
      fields: the components of each kind's parameters, by kind and name.
      groups: the group of each kind's parameters.
    """

    kind: Any
    fields: dict[tuple[str, str], Any]
    groups: dict[str, Any]


class Parts(NamedTuple):
    """The components of the page."""

    file: Any
    examples: list[Any]
    photo: Any
    about: Any
    simulate: Any
    rows: list[Row]
    mask_group: Any
    editor: Any
    mask_file: Any
    plan: Any
    restore: Any
    stop: Any
    prior: Any
    label: Any
    cfg: Any
    sampler: Any
    steps: Any
    aim: Any
    samples: Any
    seed: Any
    tile: Any
    download_name: Any
    download: Any
    download_note: Any
    status: Any
    results: Any
    slider: Any
    summary: Any
    result_file: Any
    samples_group: Any
    gallery: Any
    figure: Any
    curves: Any
    command: Any
    code: Any
    files: Any

    @property
    def damages(self) -> list[Any]:
        """The components that say what happened to the photo."""
        rows = [c for row in self.rows for c in (row.kind, *row.fields.values())]
        return [self.simulate, *rows]

    @property
    def settings(self) -> list[Any]:
        """The components of `Choices`, in the order that `Desk.choices` reads."""
        more = (self.prior, self.label, self.cfg, self.sampler, self.steps, self.aim)
        return [*self.damages, *more, self.samples, self.seed, self.tile]


def lay_out(
    examples: list[str],
    priors: list[str],
    catalogue: str,
    downloads: list[tuple[str, str]],
    device: str,
) -> Parts:
    """Make the components, within a `gr.Blocks`.

    Args:
      examples: what the buttons of the examples say.
      priors: that can be used at once, the first by default.
      catalogue: of priors, as HTML.
      downloads: (text, name) of priors that can be downloaded.
      device: what the page computes on.
    """
    gr.HTML(
        "<h1>Restore a photo</h1><p>Choose a photo and say what happened to it. A "
        "diffusion model fills in what was lost; what was measured is kept. The photo "
        f"stays on the computer that runs this page ({device}).</p>"
    )
    found: dict[str, Any] = {}
    with gr.Row():
        with gr.Column(min_width=320):
            _lay_out_photo(found, examples)
            _lay_out_damage(found)
            found["plan"] = gr.HTML(elem_id="plan")
            with gr.Row():
                found["restore"] = gr.Button(
                    "Restore", variant="primary", elem_id="restore", interactive=False
                )
                found["stop"] = gr.Button("Stop", elem_id="stop", interactive=False)
            _lay_out_more(found, priors, catalogue, downloads)
        with gr.Column(min_width=320):
            _lay_out_results(found)
    return Parts(**found)


def _lay_out_photo(found: dict[str, Any], examples: list[str]) -> None:
    found["file"] = gr.File(
        label="Photo: drop a file here, or press to choose one",
        file_types=list(SUFFIXES),
        type="filepath",
        height=160,
        elem_id="photo-file",
    )
    gr.HTML("<p class='pigdm-note'>Or try an example:</p>")
    with gr.Row():
        found["examples"] = [
            gr.Button(text, size="sm", min_width=100) for text in examples
        ]
    found["photo"] = gr.Image(
        label="The photo",
        interactive=False,
        visible=False,
        buttons=["fullscreen"],
        elem_id="photo",
    )
    found["about"] = gr.HTML(elem_id="about")


def _lay_out_damage(found: dict[str, Any]) -> None:
    found["rows"] = [_lay_out_row(i) for i in range(ROWS)]
    with gr.Column(visible=False) as found["mask_group"]:
        found["editor"] = gr.ImageEditor(
            label="Paint over what is to be filled in",
            type="numpy",
            sources=(),
            transforms=(),
            layers=False,
            brush=brush_for(512),
            format="png",
            elem_id="editor",
        )
        found["mask_file"] = gr.File(
            label="Or a mask file, instead of paint: black is filled in",
            file_types=list(SUFFIXES),
            type="filepath",
            height=110,
            elem_id="mask-file",
        )
    found["simulate"] = gr.Checkbox(
        label="The photo is good: damage it like this first, then compare",
        elem_id="simulate",
    )


def brush_for(side: int) -> gr.Brush:
    """A brush for a photo.

    Args:
      side: the photo's smaller side in pixels.
    """
    size = max(1, side // 40)
    return gr.Brush(default_size=size, colors=[PAINT], color_mode="fixed")


def _lay_out_row(number: int) -> Row:
    choices = [(kind.label, kind.name) for kind in KINDS.values()]
    first = number == 0
    with gr.Group(visible=first) as whole:
        kind = gr.Dropdown(
            choices if first else [(NOTHING, NOTHING), *choices],
            value=None if first else NOTHING,
            label=TITLES[number],
            elem_id=f"damage-{number}",
        )
        fields, groups = {}, {"": whole}
        for each in KINDS.values():
            with gr.Group(visible=False) as group:
                for field in each.fields:
                    fields[each.name, field.name] = _field(field)
            groups[each.name] = group
    return Row(kind, fields, groups)


def _field(field: Field) -> Any:
    text = {"label": field.label, "info": field.info or None}
    if field.choices:
        kind = gr.Radio if field.name == "factor" else gr.Dropdown
        return kind(
            list(field.choices),
            value=field.default,
            visible=not field.clean_only,
            **text,
        )
    if field.low is None:
        return gr.Checkbox(value=field.default, **text)
    return gr.Slider(
        field.low, field.high, value=field.default, step=field.step, **text
    )


def _lay_out_more(
    found: dict[str, Any],
    priors: list[str],
    catalogue: str,
    downloads: list[tuple[str, str]],
) -> None:
    with gr.Accordion("More", open=False):
        _lay_out_numbers(found)
        _lay_out_method(found)
        _lay_out_priors(found, priors, catalogue, downloads)


def _lay_out_numbers(found: dict[str, Any]) -> None:
    found["samples"] = gr.Slider(
        1,
        MOST_SAMPLES,
        value=1,
        step=1,
        label="Number of restorations",
        info="Each invents plausible detail; several show where.",
    )
    found["seed"] = gr.Number(
        0, label="Seed", info="Another seed, another restoration.", precision=0
    )
    found["steps"] = gr.Number(
        0,
        label="Evaluations of the network",
        info="More take longer. 0 is the sampler's own number.",
        precision=0,
        minimum=0,
        maximum=MOST_STEPS,
    )


def _lay_out_method(found: dict[str, Any]) -> None:
    found["aim"] = gr.Dropdown(
        [
            ("Automatic", AUTOMATIC),
            ("Detail: sharp, partly invented", "detail"),
            ("Fidelity: smoother, nearer to the truth", "fidelity"),
        ],
        value=AUTOMATIC,
        label="Aim",
    )
    found["sampler"] = gr.Dropdown(
        [("Automatic", AUTOMATIC), *((name, name) for name in SAMPLERS)],
        value=AUTOMATIC,
        label="Sampler",
    )
    found["tile"] = gr.Dropdown(
        [
            ("Where needed", AUTOMATIC),
            ("Never", 0),
            *((f"{side} pixels", side) for side in (64, 128, 256, 512)),
        ],
        value=AUTOMATIC,
        label="Restore in windows",
        info="Windows bound the memory that a large photo takes.",
    )


def _lay_out_priors(
    found: dict[str, Any],
    priors: list[str],
    catalogue: str,
    downloads: list[tuple[str, str]],
) -> None:
    found["prior"] = gr.Dropdown(
        priors, value=priors[0], label="Prior: what images look like"
    )
    found["label"] = gr.Textbox(
        "",
        label="Class",
        info="A number, for a prior with classes.",
        max_length=9,
        visible=False,
    )
    found["cfg"] = gr.Number(
        0,
        label="Classifier-free guidance",
        info="Follows the class more closely, at twice the time. 0 is none.",
        minimum=0,
        visible=False,
    )
    with gr.Accordion("Download another prior", open=False):
        gr.HTML(f"<div class='pigdm-priors'>{catalogue}</div>")
        found["download_name"] = gr.Dropdown(
            downloads, value=None, label="Prior to download"
        )
        found["download"] = gr.Button("Download", size="sm")
        found["download_note"] = gr.HTML()


def _result_image(name: str, label: str) -> gr.Image:
    """A picture below a heading that says what it is."""
    return gr.Image(
        label=label,
        elem_id=name,
        show_label=False,
        buttons=["download", "fullscreen"],
        interactive=False,
        format="png",
    )


def _lay_out_results(found: dict[str, Any]) -> None:
    with gr.Column(visible=False, elem_id="results") as found["results"]:
        found["slider"] = gr.ImageSlider(
            label="Before and after",
            interactive=False,
            format="png",
            max_height=640,
            elem_id="slider",
        )
        found["result_file"] = gr.DownloadButton(
            "Download (PNG)", variant="primary", elem_id="download"
        )
        found["summary"] = gr.HTML(elem_id="summary")
        with gr.Group(visible=False) as found["samples_group"]:
            found["gallery"] = gr.Gallery(
                label="Samples, their mean, and where the prior invents (white)",
                columns=2,
                format="png",
                object_fit="contain",
            )
        with gr.Accordion("Side by side", open=False):
            found["figure"] = _result_image("figure", "Side by side")
        with gr.Accordion("How it converged", open=False):
            found["curves"] = _result_image(
                "curves", "Residual, guidance and predicted image over the evaluations"
            )
        with gr.Accordion("Repeat it: command and Python", open=False):
            found["command"] = gr.Code(
                label="Command", language="shell", elem_id="command", lines=1
            )
            found["code"] = gr.Code(label="Python", language="python")
        with gr.Accordion("All files", open=False):
            found["files"] = gr.File(
                label="Files",
                file_count="multiple",
                interactive=False,
                elem_id="files",
            )
    found["status"] = gr.HTML(
        "<p class='pigdm-note'>The restoration will appear here.</p>",
        elem_id="status",
    )
