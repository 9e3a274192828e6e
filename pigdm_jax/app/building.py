"""The page as `gradio.Blocks`, and what keeps it to itself."""

import os
from pathlib import Path
from typing import Any

import gradio as gr
import jax

from pigdm_jax.app.choices import priors_here
from pigdm_jax.app.desk import Desk
from pigdm_jax.app.downloading import catalogue_table, downloadable
from pigdm_jax.app.examples import EXAMPLES
from pigdm_jax.app.layout import lay_out
from pigdm_jax.app.running import Device
from pigdm_jax.app.serving import CLEAN_EVERY, KEEP, Options
from pigdm_jax.app.uploads import Limits, Visitors
from pigdm_jax.app.warming import Warmer
from pigdm_jax.app.wiring import wire
from pigdm_jax.weights.names import find_prior


def build(options: Options, root: Path) -> gr.Blocks:
    """Build the page.

    Args:
      options: of the page.
      root: folder for the files of visitors.
    """
    limits = Limits(options.megabytes, options.megapixels, options.waiting)
    visitors, device = Visitors(root), Device()
    known = priors_here()
    if options.prior not in known:
        # Downloaded now, if it is of the catalogue, since the server asks for it.
        find_prior(options.prior)
        known = priors_here()
    own = [] if options.prior in known else [options.prior]
    priors = sorted(priors_here(own), key=lambda name: name != options.prior)
    warmer = None
    if options.warm:
        warmer = Warmer(device, root, limits)
        warmer.want_common(options.prior)
    with gr.Blocks(
        title="Restore a photo",
        analytics_enabled=False,
        delete_cache=(CLEAN_EVERY, KEEP),
    ) as blocks:
        parts = lay_out(
            [example.text for example in EXAMPLES],
            priors,
            catalogue_table(),
            downloadable(),
            jax.devices()[0].device_kind,
        )
        wire(Desk(parts, visitors, device, warmer, limits, own))

        def leave(request: gr.Request) -> None:
            visitors.forget(str(request.session_hash))

        blocks.unload(leave)
    _refuse_addresses(blocks)
    return blocks


def _refuse_addresses(blocks: gr.Blocks) -> None:
    """Make components refuse files by address: gradio would fetch them."""
    for block in blocks.blocks.values():
        if hasattr(block, "async_move_resource_to_block_cache"):
            _guard(block)


def _guard(block: Any) -> None:
    move = block.async_move_resource_to_block_cache

    async def guarded(path: Any) -> Any:
        if path is not None and not os.path.isabs(str(path)):
            raise gr.Error("files are uploaded, not named by an address")
        return await move(path)

    block.async_move_resource_to_block_cache = guarded
