"""What happens when something on the page is used: the functions."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from pigdm_jax.app.choices import (
    AUTOMATIC,
    Choices,
    check_prior_offered,
    number_or_none,
    priors_here,
    whole_or_none,
)
from pigdm_jax.app.damages import KINDS, MASK, Damage, needs_mask
from pigdm_jax.app.examples import EXAMPLES
from pigdm_jax.app.layout import NOTHING, Parts, brush_for
from pigdm_jax.app.planning import jpeg_quality, mask_size, plan_for
from pigdm_jax.app.running import Device, Failed, Restoration, State, reason
from pigdm_jax.app.showing import (
    alert,
    note,
    plan_text,
    progress_of,
    show_finished,
)
from pigdm_jax.app.uploads import (
    Limits,
    Visitor,
    Visitors,
    hidden_by,
    shown,
    write_mask,
)
from pigdm_jax.app.warming import Warmer
from pigdm_jax.pictures.decoding import read_header
from pigdm_jax.weights.names import shipped_priors

# What docs/restore.md recommends for colouring.
GREY_SAMPLER, GREY_STEPS = "ddnm", 20
WAITING = "Waiting for your turn; one photo is restored at a time."
Updates = dict[Any, Any]


class Desk:
    """The functions behind the page's components.

    Args:
      parts: the components.
      visitors: who has the page open.
      device: where restorations run.
      warmer: compiles ahead; None for no such thing.
      limits: of the page.
      own: folders of priors that the page was started with.
    """

    def __init__(
        self,
        parts: Parts,
        visitors: Visitors,
        device: Device,
        warmer: Warmer | None,
        limits: Limits,
        own: list[str],
    ) -> None:
        self.parts, self.visitors, self.device = parts, visitors, device
        self.warmer, self.limits, self.own = warmer, limits, own

    def visitor(self, request: gr.Request) -> Visitor:
        """Who sent a request."""
        return self.visitors.of(str(request.session_hash))

    def choices(self, values: list[Any]) -> Choices:
        """The visitor's choices, from the values of `Parts.settings`.

        Raises:
          ValueError: if a value is none that the page offers.
        """
        given = iter(values)
        simulate, damages = bool(next(given)), []
        for row in self.parts.rows:
            kind = next(given)
            fields = {key: next(given) for key in row.fields}
            if kind in KINDS:
                own = {name: v for (of, name), v in fields.items() if of == kind}
                damages.append(Damage(kind, own))
        prior, label, cfg, sampler, steps, aim, samples, seed, tile = given
        return Choices(
            tuple(damages),
            simulate,
            check_prior_offered(prior, self.own),
            whole_or_none(label),
            number_or_none(cfg),
            None if sampler == AUTOMATIC else sampler,
            whole_or_none(steps) or None,
            None if aim == AUTOMATIC else aim,
            None if tile == AUTOMATIC else whole_or_none(tile),
            whole_or_none(samples) or 1,
            whole_or_none(seed) or 0,
        )

    def take_photo(self, file: Any, request: gr.Request) -> Updates:
        """A photo was uploaded, or taken away."""
        parts, visitor = self.parts, self.visitor(request)
        nothing = {
            parts.photo: None,
            parts.editor: None,
            parts.about: "",
            parts.restore: gr.update(interactive=False),
        }
        if file is None:
            visitor.photo = None
            return nothing
        try:
            photo = visitor.keep_photo(file, self.limits)
            picture = shown(photo)
        except Exception as error:
            visitor.photo = None
            return nothing | {parts.about: alert(reason(error))}
        height, width = read_header(photo).size
        about = f"{photo.name}, {width} x {height} pixels"
        quality = jpeg_quality(photo)
        if quality is not None:
            about += f", a JPEG file of about quality {quality}"
        updates: Updates = {
            parts.photo: picture,
            parts.editor: gr.update(
                value={"background": picture, "layers": [], "composite": None},
                brush=brush_for(min(picture.size)),
            ),
            parts.about: note(about),
            parts.restore: gr.update(interactive=True),
        }
        for row in parts.rows:
            updates[row.fields["jpeg", "header"]] = quality is not None
            if quality is not None:
                updates[row.fields["jpeg", "quality"]] = min(quality, 95)
        return updates

    def take_example(self, number: int, request: gr.Request) -> Updates:
        """The button of an example was pressed."""
        parts, example = self.parts, EXAMPLES[number]
        updates = self.take_photo(str(example.photo), request)
        first, *others = parts.rows
        updates |= {first.kind: example.damage.kind, parts.simulate: False}
        updates |= {row.kind: NOTHING for row in others}
        for name, value in example.damage.values.items():
            updates[first.fields[example.damage.kind, name]] = value
        self.visitor(request).mask = None
        updates[parts.mask_file] = None
        if example.mask is not None:
            kept = self.visitor(request).keep_mask(example.mask, self.limits)
            updates[parts.mask_file] = str(kept)
        return updates

    def take_mask(self, file: Any, request: gr.Request) -> Updates:
        """A mask was uploaded, or taken away."""
        visitor = self.visitor(request)
        visitor.mask = None
        if file is not None:
            try:
                visitor.keep_mask(file, self.limits)
            except Exception as error:
                return {self.parts.plan: alert(reason(error))}
        return {self.parts.plan: gr.skip()}

    def choose(self, request: gr.Request, *values: Any) -> Updates:
        """What happened to the photo was chosen: show the parameters that matter."""
        parts, given = self.parts, iter(values)
        simulate, updates, painted, before = bool(next(given)), {}, False, True
        for i, row in enumerate(parts.rows):
            kind = next(given)
            fields = {key: next(given) for key in row.fields}
            updates[row.groups[""]] = gr.update(visible=before)
            for name in KINDS:
                has = bool(KINDS[name].fields) and (name != "holes" or simulate)
                updates[row.groups[name]] = gr.update(visible=name == kind and has)
            updates[row.fields["holes", "where"]] = gr.update(visible=simulate)
            estimates = not simulate
            updates[row.fields["noisy", "estimated"]] = gr.update(visible=estimates)
            updates[row.fields["jpeg", "header"]] = gr.update(visible=estimates)
            level = simulate or not fields["noisy", "estimated"]
            updates[row.fields["noisy", "level"]] = gr.update(visible=level)
            quality = simulate or not fields["jpeg", "header"]
            updates[row.fields["jpeg", "quality"]] = gr.update(visible=quality)
            if before and kind in KINDS:
                where = fields["holes", "where"] if simulate else "painted"
                painted |= needs_mask([Damage(kind, {"where": where})])
            before = before and kind in KINDS and i + 1 < len(parts.rows)
        updates[parts.mask_group] = gr.update(visible=painted)
        plain = self.visitor(request).photo is not None and not painted
        updates[parts.photo] = gr.update(visible=plain)
        return updates

    def suggest(self, kind: Any, sampler: Any, steps: Any) -> Updates:
        """The sampler that suits a damage, unless the visitor chose one."""
        parts = self.parts
        if kind == "grey" and sampler == AUTOMATIC:
            return {parts.sampler: GREY_SAMPLER, parts.steps: GREY_STEPS}
        if kind != "grey" and (sampler, steps) == (GREY_SAMPLER, GREY_STEPS):
            return {parts.sampler: AUTOMATIC, parts.steps: 0}
        return {parts.sampler: gr.skip(), parts.steps: gr.skip()}

    def ask_class(self, prior: Any) -> Updates:
        """A prior was chosen: others than those that are shipped may have classes."""
        asked = gr.update(visible=prior not in shipped_priors())
        return {self.parts.label: asked, self.parts.cfg: asked}

    def plan(self, request: gr.Request, *values: Any) -> str:
        """What a click on Restore would compute."""
        visitor = self.visitor(request)
        photo = visitor.photo
        if photo is None:
            return ""
        try:
            choices = self.choices(list(values))
            if not choices.damages:
                return note("Choose what happened to the photo.")
            if visitor.planned != (choices, photo):
                plan = plan_for(
                    choices, photo, visitor.folder, self.device.pace, self.limits
                )
                visitor.planned, visitor.plan = (choices, photo), plan_text(plan)
        except Exception as error:
            return alert(reason(error))
        if self.warmer is not None:
            self.warmer.want(choices, photo)
        return visitor.plan

    def wait(self) -> Updates:
        """Restore was pressed; others may be first."""
        parts = self.parts
        return {
            parts.restore: gr.update(interactive=False),
            parts.stop: gr.update(interactive=True),
            parts.results: gr.update(visible=False),
            parts.status: note(
                "Waiting for your turn; one photo is restored at a time."
            ),
        }

    def restore(
        self, request: gr.Request, painted: Any, *values: Any
    ) -> Iterator[Updates]:
        """Restore the photo; what is shown after every evaluation."""
        parts, visitor = self.parts, self.visitor(request)
        visitor.stop = stop = threading.Event()
        yield {
            parts.stop: gr.update(interactive=True),
            parts.results: gr.update(visible=False),
        }
        photo = visitor.photo
        try:
            if photo is None:
                raise ValueError("choose a photo first")
            choices = self.choices(list(values))
            mask = self._mask(visitor, choices, photo, painted)
        except Exception as error:
            yield {parts.status: alert(reason(error))} | self._idle()
            return

        def wait(check: Any) -> None:
            if self.warmer is not None:
                self.warmer.wait_for(choices, photo, check)

        run = Restoration(self.device, choices, photo, mask, self.limits, stop, wait)
        for report in run.reports():
            if isinstance(report, State):
                yield {parts.status: progress_of(report)}
            elif isinstance(report, Failed):
                text = note("Stopped.") if report.stopped else alert(report.sentence)
                yield {parts.status: text} | self._idle()
            else:
                folder = visitor.results_folder()
                result = show_finished(report, photo, folder)
                if needs_mask(choices.damages):
                    result.files.append(Path(shutil.copyfile(mask, folder / MASK)))
                yield self._shown(result, choices, photo) | self._idle()

    def _mask(
        self, visitor: Visitor, choices: Choices, photo: Path, painted: Any
    ) -> str:
        """The file of the mask: uploaded, else painted."""
        if not needs_mask(choices.damages):
            return MASK
        if visitor.mask is not None:
            return str(visitor.mask)
        layers = (painted or {}).get("layers") or []
        size = mask_size(choices, photo)
        return str(write_mask(hidden_by(layers), size, visitor.folder / MASK))

    def _idle(self) -> Updates:
        return {
            self.parts.restore: gr.update(interactive=True),
            self.parts.stop: gr.update(interactive=False),
        }

    def _shown(self, result: Any, choices: Choices, photo: Path) -> Updates:
        parts = self.parts
        return {
            parts.status: "",
            parts.results: gr.update(visible=True),
            parts.slider: result.pair,
            parts.summary: result.summary,
            parts.figure: result.figure,
            parts.samples_group: gr.update(visible=bool(result.samples)),
            parts.gallery: result.samples,
            parts.curves: result.curves,
            parts.command: choices.command(photo.name),
            parts.code: choices.code(photo.name),
            parts.result_file: str(result.result),
            parts.files: [str(file) for file in result.files],
        }

    def stop(self, request: gr.Request) -> None:
        """Stop was pressed."""
        self.visitor(request).stop.set()

    def stopped(self) -> Updates:
        """The restoration is no longer waited for, and reports nothing any more."""
        return {self.parts.status: note("Stopped.")} | self._idle()

    def download(self, name: Any) -> Iterator[Updates]:
        """Download a prior of the catalogue."""
        from pigdm_jax.app.downloading import download_prior

        parts = self.parts
        for text, done in download_prior(name):
            updates: Updates = {parts.download_note: text}
            if done:
                priors = priors_here(self.own)
                updates[parts.prior] = gr.update(choices=priors, value=name)
            yield updates
