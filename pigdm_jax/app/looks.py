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

# What Gradio's components lack: names of pictures for screen readers, and the slider
# by keyboard.
SCRIPT = """<script>
const names = {
  "#photo img": ["The photo"],
  "#slider img": ["The photo before", "The photo restored"],
  "#figure img": ["Pictures side by side"],
  "#curves img": ["Curves of residual, guidance and predicted image"],
};
function name_all() {
  for (const [selector, texts] of Object.entries(names))
    document.querySelectorAll(selector).forEach((image, i) => {
      image.alt = texts[Math.min(i, texts.length - 1)];
    });
  const line = document.querySelector("#slider .outer");
  if (line && !line.hasAttribute("tabindex")) {
    line.tabIndex = 0;
    line.setAttribute("role", "slider");
    line.setAttribute("aria-label", "Line between before and after");
    line.setAttribute("aria-valuemin", 0);
    line.setAttribute("aria-valuemax", 100);
    line.setAttribute("aria-valuenow", 50);
    line.addEventListener("keydown", move_line);
  }
}
function move_line(event) {
  const way = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (!way) return;
  event.preventDefault();
  const line = event.currentTarget, all = line.parentElement.getBoundingClientRect();
  const handle = line.querySelector(".inner");
  const box = handle.getBoundingClientRect();
  const from = box.left + box.width / 2, y = box.top + box.height / 2;
  const left = all.left + 1, right = all.right - 1;
  const to = Math.min(right, Math.max(left, from + way * all.width / 20));
  const at = (x) => ({clientX: x, clientY: y, bubbles: true, view: window});
  handle.dispatchEvent(new MouseEvent("mousedown", at(from)));
  window.dispatchEvent(new MouseEvent("mousemove", at(to)));
  window.dispatchEvent(new MouseEvent("mouseup", at(to)));
  const share = Math.round(100 * (to - all.left) / all.width);
  line.setAttribute("aria-valuenow", share);
}
new MutationObserver(name_all).observe(document, {childList: true, subtree: true});
</script>"""


def look() -> dict[str, Any]:
    """The arguments of `launch` that are about looks and headers."""
    theme = gr.themes.Soft(font=FONTS, font_mono=["ui-monospace", "monospace"])
    return {
        "theme": theme,
        "css": STYLE,
        "head": SCRIPT,
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
