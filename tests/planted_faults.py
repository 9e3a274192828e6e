"""Do the tests notice? Plants one fault at a time and runs them.

    python tests/planted_faults.py

Prints the first test that fails for each fault; exits with 1 if one goes unnoticed.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax.priors.schedule import r2

TESTS = Path(__file__).resolve().parent
FILES = (
    "test_guidance.py",
    "test_schedule.py",
    "test_posterior.py",
    "test_restoration.py",
)


class Fault(NamedTuple):
    """A wrong function in the place of a right one.

    Attributes:
      name: what is wrong.
      target: where the right one is defined, "module:name".
      wrong: gives the wrong one for the right one.
      sampler: one that uses it, as text.
    """

    name: str
    target: str
    wrong: Callable[[Callable], Callable]
    sampler: str = "ddim:steps=3,start=0.5,eta=0.6"


def guided_by(text: str) -> str:
    """DDIM with a guidance."""
    return f"ddim:steps=3,start=0.5,eta=0.6,guidance=({text})"


def weight_of(formula: Callable) -> Callable:
    """A wrong weight: (k, m) for (step, scale, data_variance)."""
    return lambda right: formula


def adaptive_without_the_root(step, scale, data_variance):
    return scale * step.a_t, jnp.zeros_like(step.a_t)


def adaptive_without_a_s(step, scale, data_variance):
    return scale * jnp.sqrt(step.a_t / step.a_s), jnp.zeros_like(step.a_t)


def algorithm1_without_the_root(step, scale, data_variance):
    return scale * step.a_t / jnp.sqrt(step.a_s), jnp.zeros_like(step.a_t)


def vdm_without_its_root(step, scale, data_variance):
    return scale * jnp.ones_like(step.a_t), -scale * jnp.sqrt(step.a_t / step.b_t)


def posterior_with_a_t(step, scale, data_variance):
    q = scale * step.b_t / r2(step, data_variance)
    return q * jnp.sqrt(step.a_t / step.a_s), -q / jnp.sqrt(step.b_t)


def posterior_without_r_t(step, scale, data_variance):
    return scale / jnp.sqrt(step.a_t), -scale / jnp.sqrt(step.b_t)


def sigma_changed(change: Callable) -> Callable:
    """A function of (problem, x0 or denoised, step, ...) that sees another sigma_y."""

    def wrong(right):
        def changed(problem, prediction, step, *rest):
            sigma = change(problem.sigma, step)
            problem = dataclasses.replace(problem, noise_std=sigma)
            return right(problem, prediction, step, *rest)

        return changed

    return wrong


# Damping is sigma_y^2 / r_t^2.
damping_without_r_t = sigma_changed(lambda sigma, step: sigma * jnp.sqrt(r2(step)))
sigma_not_squared = sigma_changed(lambda sigma, step: jnp.sqrt(sigma))


def gradient_times_r2(right):
    def call(self, prior, problem, x_t, step):
        guided, factor = right(self, prior, problem, x_t, step), r2(step)
        return guided._replace(
            guided_x0=guided.x0 + factor * (guided.guided_x0 - guided.x0),
            guided_eps=guided.eps + factor * (guided.guided_eps - guided.eps),
        )

    return call


def gradient_without_the_network(right):
    def gradient(self, problem, denoised, step):
        return right(self, problem, denoised._replace(vjp=lambda v: v), step)

    return gradient


def x0_and_eps_swapped(right):
    def call(self, prior, problem, x_t, step):
        guided = right(self, prior, problem, x_t, step)
        return guided._replace(
            x0=guided.eps,
            eps=guided.x0,
            guided_x0=guided.eps + (guided.guided_x0 - guided.x0),
            guided_eps=guided.x0 + (guided.guided_eps - guided.eps),
        )

    return call


def denoise_without_the_root(right):
    def denoise(prior, x_t, step, clip=False):
        return right(prior, x_t, step._replace(b_t=step.b_t**2), clip)

    return denoise


def r2_without_alpha_bar(right):
    return lambda step, data_variance=1.0: right(
        step._replace(a_t=jnp.ones_like(step.a_t)), data_variance
    )


def coefficients(c1: Callable, c2: Callable) -> Callable:
    """Wrong DDIM coefficients, each of (right value, step, eta)."""

    def wrong(right):
        def ddim_coefficients(step, eta):
            one, two = right(step, eta)
            return c1(one, step, eta), c2(two, step, eta)

        return ddim_coefficients

    return wrong


def as_it_is(value, step, eta):
    return value


def ddim_with_a_t(right):
    return lambda x0, eps, step, eta, key: right(
        jnp.sqrt(step.a_t / step.a_s) * x0, eps, step, eta, key
    )


def table_changed(change: Callable) -> Callable:
    """A table of steps with other columns; `change` is of the right table."""
    return lambda right: (
        lambda schedule, levels: (table := right(schedule, levels))._replace(
            **change(table)
        )
    )


def table_of_lower_levels(right):
    def step_table(schedule, levels):
        lower = right(schedule, np.maximum(levels - 1, 0))
        return lower._replace(t=right(schedule, levels).t)

    return step_table


WEIGHTS = "pigdm_jax.guidance.weights:"
BASE = "pigdm_jax.guidance.base:"
PULL = "pigdm_jax.guidance.pseudoinverse:"
KRYLOV = "pigdm_jax.guidance.moment:krylov_gradient"
SCHEDULE = "pigdm_jax.priors.schedule:"
SAMPLER = "pigdm_jax.samplers.ddim_step:"

FAULTS = [
    Fault(
        "adaptive weight without the root",
        WEIGHTS + "adaptive_weight",
        weight_of(adaptive_without_the_root),
    ),
    Fault(
        "adaptive weight without a_s",
        WEIGHTS + "adaptive_weight",
        weight_of(adaptive_without_a_s),
    ),
    Fault(
        "algorithm1 weight without the root",
        WEIGHTS + "algorithm1_weight",
        weight_of(algorithm1_without_the_root),
        guided_by("pseudoinverse:weight=algorithm1"),
    ),
    Fault(
        "vdm weight without its sqrt(a_t)",
        WEIGHTS + "vdm_weight",
        weight_of(vdm_without_its_root),
        guided_by("pseudoinverse:weight=vdm"),
    ),
    Fault(
        "posterior weight with a_t for a_s / a_t",
        WEIGHTS + "posterior_weight",
        weight_of(posterior_with_a_t),
        guided_by("pseudoinverse:weight=posterior"),
    ),
    Fault(
        "posterior weight without r_t",
        WEIGHTS + "posterior_weight",
        weight_of(posterior_without_r_t),
        guided_by("pseudoinverse:weight=posterior,data_variance=0.4"),
    ),
    Fault("damping without r_t", PULL + "pull", damping_without_r_t),
    Fault(
        "moment damping without r_t", KRYLOV, damping_without_r_t, guided_by("moment")
    ),
    Fault(
        "gradient multiplied by r_t^2 again",
        BASE + "GradientGuidance.__call__",
        gradient_times_r2,
    ),
    Fault(
        "gradient that skips the network",
        PULL + "Pseudoinverse.gradient",
        gradient_without_the_network,
    ),
    Fault(
        "x0 and eps confused", BASE + "GradientGuidance.__call__", x0_and_eps_swapped
    ),
    Fault("x0 from eps without its root", BASE + "denoise", denoise_without_the_root),
    Fault("r_t without its alpha_bar", SCHEDULE + "r2", r2_without_alpha_bar),
    Fault(
        "c1 without 1 - a_s",
        SAMPLER + "ddim_coefficients",
        coefficients(lambda c1, step, eta: eta * jnp.sqrt(step.fresh), as_it_is),
    ),
    Fault(
        "c1 without eta",
        SAMPLER + "ddim_coefficients",
        coefficients(lambda c1, step, eta: jnp.sqrt(step.b_s * step.fresh), as_it_is),
    ),
    Fault(
        "c2 without c1",
        SAMPLER + "ddim_coefficients",
        coefficients(as_it_is, lambda c2, step, eta: jnp.sqrt(step.b_s)),
    ),
    Fault(
        "c2 with eta for eta^2",
        SAMPLER + "ddim_coefficients",
        coefficients(
            as_it_is,
            lambda c2, step, eta: jnp.sqrt(
                step.b_s * (step.kept + (1 - eta) * step.fresh)
            ),
        ),
    ),
    Fault("DDIM step with a_t for a_s", SAMPLER + "ddim_update", ddim_with_a_t),
    Fault(
        "network step off by one",
        SCHEDULE + "step_rows",
        table_changed(lambda table: {"t": table.t + 1}),
    ),
    Fault("noise levels off by one", SCHEDULE + "step_rows", table_of_lower_levels),
    Fault(
        "the same noise in every step",
        SCHEDULE + "step_rows",
        table_changed(lambda table: {"index": jnp.ones_like(table.index)}),
    ),
    Fault(
        "the start's noise again in every step",
        SCHEDULE + "step_rows",
        table_changed(lambda table: {"index": jnp.zeros_like(table.index)}),
    ),
    Fault("noise level not squared", PULL + "pull", sigma_not_squared),
]


@contextlib.contextmanager
def planted(fault: Fault) -> Iterator[list[str]]:
    """Put the wrong function wherever the package knows the right one.

    Yields:
      The places.
    """
    module, _, path = fault.target.partition(":")
    *owners, name = path.split(".")
    owner = resolve_name(":".join((module, ".".join(owners))) if owners else module)
    right = vars(owner)[name]
    wrong = fault.wrong(right)
    places = []
    with pytest.MonkeyPatch.context() as patch:
        modules = [m for n, m in sys.modules.items() if n.startswith("pigdm_jax")]
        for where in [owner, *modules] if owners else modules:
            for key, value in list(vars(where).items()):
                if value is right:
                    patch.setattr(where, key, wrong)
                    places.append(f"{where.__name__}:{key}")
                elif isinstance(value, dict):
                    for entry in [k for k, v in value.items() if v is right]:
                        patch.setitem(value, entry, wrong)
                        places.append(f"{where.__name__}:{key}[{entry!r}]")
        yield places


def first_failure(fault: Fault) -> str | None:
    """The test that fails with the fault planted, or None."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "planted_plugin"]
    command += ["-p", "no:cacheprovider", "-m", "not slow"]
    environment: dict[str, Any] = {
        "PLANTED_FAULT": fault.name,
        "PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS))),
    }
    run = subprocess.run(
        command + [f"tests/{name}" for name in FILES],
        cwd=TESTS.parent,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
    if run.returncode == 1 and failed:
        return failed[0].split(" - ")[0].removeprefix("FAILED tests/")
    if run.returncode:
        sys.exit(f"{fault.name}: pytest broke\n{run.stdout}{run.stderr}")
    return None


def main(names: list[str]) -> None:
    """Plant them all, or those with the given names."""
    unnoticed = []
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    print("| fault | first test that fails |")
    print("| --- | --- |")
    for fault in chosen:
        test = first_failure(fault)
        print(f"| {fault.name} | {test or 'NONE'} |", flush=True)
        if test is None:
            unnoticed.append(fault.name)
    if unnoticed:
        sys.exit(f"{len(unnoticed)} of {len(chosen)} faults went unnoticed")


if __name__ == "__main__":
    main(sys.argv[1:])
