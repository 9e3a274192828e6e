"""Training a prior: denoising score matching or flow matching, for any architecture.

`config` has the flags of a run; `start` its network; `photos` and `crops` make its
batches; `noise` has the loss and `step` the pure update; `phases` and `loop` run it;
`checkpoints`, `logs` and `evaluation` write its results. All but `config` need the
extra `pigdm-jax[train]`.
"""
