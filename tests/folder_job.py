"""A folder job in a process of its own: to be killed, or to be one of two hosts.

python tests/folder_job.py FOLDER OUT SECONDS_A_BATCH [PORT PROCESS]
"""

import sys
import time
from pathlib import Path

import jax
import numpy as np

from pigdm_jax import (
    Problem,
    from_denoiser,
    make_mesh,
    operators,
    restore_batch,
    samplers,
)
from pigdm_jax.devices.hosts import Hosts
from pigdm_jax.folder.job import Job, run
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.task import Task

# Predicts a nearly grey image whatever it sees.
GREY = from_denoiser(lambda x, t: 0.1 * x)
TASK = Task.parse("super_resolution:2,box")
REQUEST = Request(TASK, sampler=samplers.Fitted(steps=3))


def job(folder, out, **changes):
    given = {"request": REQUEST, "batch": 2, "recursive": True}
    given |= {"remark": lambda line: None} | changes
    return Job(prior=GREY, folder=Path(folder), out=Path(out), **given)


def batch_over(mesh):
    """Five images by `restore_batch`."""
    ys = jax.random.uniform(jax.random.key(3), (5, 4, 4, 3), minval=-1)
    keys = jax.random.split(jax.random.key(4), 5)
    operator = operators.super_resolution((8, 8, 3), 2)
    return restore_batch(
        GREY,
        Problem(operator, ys),
        keys,
        samplers.DDIM(steps=5),
        mesh=mesh,
        shared_operator=True,
    )


def main(folder, out, seconds, port=None, process=None):
    if port is not None:
        Hosts(True, f"localhost:{port}", 2, int(process)).join()
        images = batch_over(make_mesh())
        own = np.stack([np.asarray(s.data) for s in images.addressable_shards])
        np.save(Path(out).with_name(f"shards-{process}.npy"), own)
    run(job(folder, out, progress=lambda done, count: time.sleep(float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
