"""Training a prior: denoising score matching on the ADM UNet.

`config` has the flags of a run; `photos` and `crops` make its batches; `step` is the
pure update; `phases` and `loop` run it; `checkpoints`, `logs` and `evaluation` write
its results. All but `config` need the extra `pigdm-jax[train]`.
"""
