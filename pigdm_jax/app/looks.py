"""How the page looks, and the headers of its answers."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

FONTS = ["system-ui", "sans-serif"]
# Nothing but the page's own server: no fonts, scripts or counters of others.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "media-src 'self' data: blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'"
)
STYLE = """
.pigdm-progress progress {width: 100%; height: 1rem;}
.pigdm-progress img {width: 100%; max-width: 40rem; border-radius: 6px;}
.pigdm-progress figure {margin: 0.5rem 0;}
.pigdm-progress figcaption, .pigdm-note {opacity: 0.85; font-size: 0.9rem;}
.pigdm-alert {border-left: 4px solid #c2410c; padding: 0.5rem 0.8rem;
  background: rgba(194, 65, 12, 0.1); border-radius: 4px;}
.pigdm-scores {border-collapse: collapse; margin: 0.5rem 0;}
.pigdm-scores caption {text-align: left; opacity: 0.85; font-size: 0.9rem;}
.pigdm-scores th, .pigdm-scores td {padding: 0.2rem 0.8rem; text-align: left;
  border-bottom: 1px solid rgba(128, 128, 128, 0.35);}
.pigdm-notes {font-size: 0.9rem; padding-left: 1.2rem; list-style: disc;}
.pigdm-priors {overflow-x: auto;}
footer {display: none !important;}
"""


def look() -> dict[str, Any]:
    """The arguments of `launch` that are about looks and headers."""
    theme = gr.themes.Soft(font=FONTS, font_mono=["ui-monospace", "monospace"])
    return {
        "theme": theme,
        "css": STYLE,
        "app_kwargs": {"middleware": [Middleware(_Headers)]},
    }


class _Headers:
    """Adds headers to all answers: the browser asks no other server for anything."""

    def __init__(self, app: Callable) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def add(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self.app(scope, receive, add)
