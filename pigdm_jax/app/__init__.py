"""A page in the browser: drop a photo, say what happened to it, watch it heal.

A thin layer over `pigdm_jax.pictures.request.Request`, of which the command makes the
same, so the page's result for a file is the command's, bit for bit. Needs gradio:
`pip install 'pigdm-jax[app]'`.
"""

from pigdm_jax.app.serving import page

__all__ = ["page"]
