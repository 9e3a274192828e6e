"""Starting the page: in a notebook, or for the command `pigdm app`."""

import atexit
import contextlib
import importlib.util
import ipaddress
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

USER = "pigdm"
# The environment variable of the password, which no list of processes shows.
PASSWORD = "PIGDM_APP_PASSWORD"
CLEAN_EVERY, KEEP = 600, 3600  # seconds


class Options(NamedTuple):
    """How a page is served.

    Attributes:
      host: address to listen at.
      port: to listen at; None for the first free one from 7860 on.
      password: that visitors must give; None for none.
      share: whether Gradio's servers make a public address for it.
      prior: the name or folder of the prior that is chosen at first.
      megapixels: of a photo and of its restoration, at most.
      megabytes: of an uploaded file, at most.
      waiting: restorations that wait for their turn, at most.
      warm: whether programs are compiled in the background.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    password: str | None = None
    share: bool = False
    prior: str = "photos-64"
    megapixels: float = 16
    megabytes: float = 50
    waiting: int = 20
    warm: bool = True

    def check(self) -> None:
        """Refuse what makes no sense, without importing gradio or JAX.

        Raises:
          ValueError: if an option is out of range, gradio is not installed, there is no
            such prior, or the page would be public without a password.
        """
        if importlib.util.find_spec("gradio") is None:
            raise ValueError("the page needs gradio: pip install 'pigdm-jax[app]'")
        if self.port is not None and not 0 < self.port < 65536:
            raise ValueError(f"the port must be from 1 to 65535, got {self.port}")
        for name in ("megapixels", "megabytes", "waiting"):
            if not 0 < getattr(self, name) < 1e6:
                raise ValueError(
                    f"{name} must be above 0 and below a million, got "
                    f"{getattr(self, name)}"
                )
        if self.password is not None and len(self.password) < 8:
            raise ValueError("the password must have at least 8 characters")
        if self.share and self.password is None:
            raise ValueError(
                "sharing lets everybody who has the address use this computer, so it "
                f"needs a password: set {PASSWORD}, or add --password to be asked"
            )
        from pigdm_jax.weights.names import check_prior

        check_prior(self.prior)

    @property
    def is_local(self) -> bool:
        """Whether only programs on this computer reach the page."""
        if self.share:
            return False
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"


def page(*, show: bool = True, **options: Any) -> Any:
    """Show the page in a notebook, or open it from a script.

    It is served by this process, at an address of this computer alone, and stays open
    until `close()`, or until the process ends.

    Args:
      show: whether to show it below a notebook's cell.
      **options: fields of `pigdm_jax.app.serving.Options`: `prior` (its name or folder,
        "photos-64"), `megapixels` and `megabytes` (limits of uploads, 16 and 50),
        `warm` (whether to compile in the background), `host`, `port`, `password`,
        `share`.

    Returns:
      The `gradio.Blocks`, which is being served: `local_url` is its address, and
      `close()` ends it.

    Raises:
      TypeError: if an option is unknown.
      ValueError: if one is out of range, or gradio is not installed.

    Examples:
      >>> import pigdm_jax.app
      >>> pigdm_jax.app.page(port=0)
      Traceback (most recent call last):
      ...
      ValueError: the port must be from 1 to 65535, got 0
    """
    chosen = Options(**options)
    chosen.check()
    return serve(chosen, inline=show)


def serve(options: Options, *, inline: bool = False) -> Any:
    """Build the page and serve it in a thread of this process.

    Args:
      options: checked.
      inline: whether to show it below a notebook's cell.

    Returns:
      The `gradio.Blocks`.
    """
    root = Path(tempfile.mkdtemp(prefix="pigdm-app-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    # Read when gradio is imported, when components are made and when it is served.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(root / "gradio")
    os.environ.pop("GRADIO_ALLOWED_PATHS", None)
    from pigdm_jax.app.building import build
    from pigdm_jax.app.looks import look

    logging.getLogger("uvicorn.error").addFilter(_is_of_interest)
    blocks = build(options, root)
    blocks.queue(max_size=options.waiting)
    blocks.launch(
        inline=inline,
        share=options.share,
        auth=None if options.password is None else (USER, options.password),
        auth_message=f"The user name is {USER}.",
        server_name=options.host,
        server_port=options.port,
        prevent_thread_lock=True,
        quiet=True,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        max_file_size=int(options.megabytes * 1e6),
        **look(),
    )
    return blocks


def _is_of_interest(record: logging.LogRecord) -> bool:
    """Not that a browser was closed while it sent something."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ClientDisconnect"
