"""Do the tests notice? Plants one fault at a time in a copy and runs them.

    python tests/planted_faults.py

Prints the first test that fails for each fault; exits with 1 if one goes unnoticed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TESTS = ("test_sampler.py", "test_schedule.py", "test_posterior.py", "test_restore.py")


class Fault(NamedTuple):
    """A wrong line in the place of a right one, which occurs once in its file."""

    name: str
    file: str
    right: str
    wrong: str


FAULTS = [
    Fault(
        "adaptive weight without the root",
        "guidance.py",
        "return scale * jnp.sqrt(step.a_t * step.a_s)",
        "return scale * step.a_t * step.a_s",
    ),
    Fault(
        "adaptive weight without a_s",
        "guidance.py",
        "return scale * jnp.sqrt(step.a_t * step.a_s)",
        "return scale * jnp.sqrt(step.a_t)",
    ),
    Fault(
        "algorithm1 weight without the root",
        "guidance.py",
        "return scale * jnp.sqrt(step.a_t)\n",
        "return scale * step.a_t\n",
    ),
    Fault(
        "vdm weight without its sqrt(a_t)",
        "guidance.py",
        "return scale * jnp.sqrt(step.a_t) * shift",
        "return scale * shift",
    ),
    Fault(
        "posterior weight with a_t for a_s / a_t",
        "guidance.py",
        "ddim = jnp.sqrt(step.a_s / step.a_t)",
        "ddim = jnp.sqrt(step.a_t)",
    ),
    Fault(
        "posterior weight without r_t",
        "guidance.py",
        "return scale * (step.b_t / step.r2) * ddim",
        "return scale * ddim",
    ),
    Fault(
        "damping without r_t",
        "guidance.py",
        "    return pinv_residual(operator, y, denoised.x0, noise_variance / step.r2)",
        "    return pinv_residual(operator, y, denoised.x0, noise_variance)",
    ),
    Fault(
        "moment damping without r_t",
        "guidance.py",
        "    damping = noise_variance / step.r2\n",
        "    damping = noise_variance\n",
    ),
    Fault(
        "gradient multiplied by r_t^2 again",
        "guidance.py",
        "return Guided(denoised.x0, denoised.eps, gradient, residual)",
        "return Guided(denoised.x0, denoised.eps, gradient * step.r2, residual)",
    ),
    Fault(
        "gradient that skips the network",
        "guidance.py",
        "denoised.vjp(pseudoinverse_pull(operator, y, denoised, step, noise_variance))",
        "pseudoinverse_pull(operator, y, denoised, step, noise_variance)",
    ),
    Fault(
        "x0 and eps confused",
        "guidance.py",
        "return Guided(denoised.x0, denoised.eps, gradient, residual)",
        "return Guided(denoised.eps, denoised.x0, gradient, residual)",
    ),
    Fault(
        "x0 from eps without its root",
        "guidance.py",
        "return (x - jnp.sqrt(step.b_t) * eps) / jnp.sqrt(step.a_t), eps",
        "return (x - step.b_t * eps) / jnp.sqrt(step.a_t), eps",
    ),
    Fault(
        "r_t without its alpha_bar",
        "sampler.py",
        "r2 = row.b_t * data_variance / (row.b_t + row.a_t * data_variance)",
        "r2 = row.b_t * data_variance / (row.b_t + data_variance)",
    ),
    Fault(
        "c1 without 1 - a_s",
        "sampler.py",
        "c1 = eta * jnp.sqrt(row.b_s * row.fresh)",
        "c1 = eta * jnp.sqrt(row.fresh)",
    ),
    Fault(
        "c1 without eta",
        "sampler.py",
        "c1 = eta * jnp.sqrt(row.b_s * row.fresh)",
        "c1 = jnp.sqrt(row.b_s * row.fresh)",
    ),
    Fault(
        "c2 without c1",
        "sampler.py",
        "c2 = jnp.sqrt(row.b_s * (row.kept + (1 - eta**2) * row.fresh))",
        "c2 = jnp.sqrt(row.b_s * (row.kept + row.fresh))",
    ),
    Fault(
        "c2 with eta for eta^2",
        "sampler.py",
        "(1 - eta**2)",
        "(1 - eta)",
    ),
    Fault(
        "DDIM step with a_t for a_s",
        "methods/base.py",
        "return jnp.sqrt(step.a_s) * x0 + step.c1",
        "return jnp.sqrt(step.a_t) * x0 + step.c1",
    ),
    Fault(
        "network step off by one",
        "sampler.py",
        "(levels[:0:-1] - 1, a_t",
        "(levels[:0:-1], a_t",
    ),
    Fault(
        "noise levels off by one",
        "sampler.py",
        "schedule.alpha_bar_at_level[levels][::-1]",
        "schedule.alpha_bar_at_level[np.maximum(levels - 1, 0)][::-1]",
    ),
    Fault(
        "the same noise in every step",
        "sampler.py",
        "jax.random.fold_in(key, row.index)",
        "jax.random.fold_in(key, 1)",
    ),
    Fault(
        "the start's noise again in every step",
        "sampler.py",
        "jax.random.fold_in(key, row.index)",
        "jax.random.fold_in(key, 0)",
    ),
    Fault(
        "noise level not squared",
        "methods/rule.py",
        "problem.noise_std**2,",
        "problem.noise_std,",
    ),
]


def first_failure(root: Path, fault: Fault) -> str | None:
    """The test that fails with the fault planted, or None."""
    file = root / "pigdm_jax" / fault.file
    whole = file.read_text()
    file.write_text(whole.replace(fault.right, fault.wrong))
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
            + [f"tests/{name}" for name in TESTS],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
        )
    finally:
        file.write_text(whole)
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
    if run.returncode == 1 and failed:
        return failed[0].split(" - ")[0].removeprefix("FAILED tests/")
    if run.returncode:
        sys.exit(f"{fault.name}: pytest broke\n{run.stdout}{run.stderr}")
    return None


def main() -> None:
    """Plant them all; `shared` beside the copy is the one beside this checkout."""
    unnoticed = []
    print("| fault | first test that fails |")
    print("| --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "main"
        for part in ("pigdm_jax", "convert", "tests"):
            shutil.copytree(ROOT / part, copy / part)
        shutil.copy(ROOT / "pyproject.toml", copy)
        if (ROOT.parent / "shared").is_dir():
            (Path(folder) / "shared").symlink_to(ROOT.parent / "shared")
        for fault in FAULTS:
            test = first_failure(copy, fault)
            print(f"| {fault.name} | {test or 'NONE'} |", flush=True)
            if test is None:
                unnoticed.append(fault.name)
    if unnoticed:
        sys.exit(f"{len(unnoticed)} of {len(FAULTS)} faults went unnoticed")


if __name__ == "__main__":
    main()
