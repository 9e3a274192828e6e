"""Training a prior: denoising score matching on the ADM UNet.

`config` is what a run is asked for, `photos` and `crops` make its batches, `step` is
the pure update, `loop` drives it, `checkpoints` and `logs` keep what it did. Only
`config` works without the extra `pigdm-jax[train]`.
"""
