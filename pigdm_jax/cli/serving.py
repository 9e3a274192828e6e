"""`pigdm app`: the page in the browser."""

import getpass
import os
import signal
import sys
import threading

from pigdm_jax.app.serving import PASSWORD, USER, Options


def serve_page(
    host: str = "127.0.0.1",
    port: int | None = None,
    prior: str = "photos-64",
    password: bool = False,
    share: bool = False,
    megapixels: float = 16,
    megabytes: float = 50,
    warm: bool = True,
    cache: str | None = None,
) -> None:
    """Serve a page in the browser that restores photos: choose, paint, watch.

    It listens at an address of this computer alone, sends nothing elsewhere, and ends
    with Ctrl-C. Uploads are removed when their page is closed, and when this ends.

    Args:
      host: address to listen at; 0.0.0.0 is every network that this computer is in,
        so that everybody there can use the page. Set a password then.
      port: port to listen at; default is the first free one from 7860 on.
      prior: the prior that is chosen at first: its name or folder. Visitors can choose
        shipped and downloaded ones too, no other folder.
      password: ask for a password now, which visitors must give. Without this flag
        it is that of the environment variable PIGDM_APP_PASSWORD, if that is set.
      share: make a public address for the page, valid for a week, with a tunnel program
        of Gradio that is downloaded and passes all traffic through Gradio's servers:
        uploads and results, too. Needs a password.
      megapixels: largest photo, and largest restoration, in million pixels.
      megabytes: largest file that is uploaded.
      warm: compile programs for common sizes in the background.
      cache: folder where compiled programs are kept; none to keep nothing.
    """
    secret = os.environ.get(PASSWORD) or None
    options = Options(
        host, port, secret, share, prior, megapixels, megabytes, warm=warm
    )
    if password:
        if not sys.stdin.isatty():
            raise ValueError(f"--password asks at a terminal; set {PASSWORD} instead")
        options = options._replace(password=getpass.getpass("Password for visitors: "))
    options.check()

    from pigdm_jax.app.serving import serve
    from pigdm_jax.cli.console import console
    from pigdm_jax.core.compilation import keep_compiled

    keep_compiled(cache)
    blocks = serve(options)
    console.print(f"open {blocks.share_url or blocks.local_url} in a browser")
    if options.password is not None:
        console.print(f"the user name is {USER}")
    elif not options.is_local:
        console.print(
            "note: there is no password, so everybody who reaches this address can use "
            "the page"
        )
    console.print("Ctrl-C ends it")
    # The end by `kill` removes files, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        threading.Event().wait()
    finally:
        blocks.close()
