"""Samplers against exact posteriors: Gaussian priors, and a published mixture table.

    python benchmarks/posterior.py gaussian --reference ../shared/reference
    python benchmarks/posterior.py mixture --reference ../shared/reference
    python benchmarks/posterior.py published --reference ../shared/reference
    python benchmarks/posterior.py few --reference ../shared/reference
    python benchmarks/posterior.py spread

`gaussian` and `mixture` run every method at every number of steps and eta, and give the
error of mean and covariance and the sliced Wasserstein-1 distance to the exact
posterior, with standard errors over seeds; `gaussian` also holds the output against its
own law, which the reference knows. `published` repeats the 27 problems of B. Dowling,
"Sequential Monte Carlo Guided Diffusion Sampling for General Optimisation", MSc thesis,
Imperial College London, 2024, table A.1, with that table's sampler and with ours;
`few` has only ours, at few evaluations. `spread` tells how wide the samples of noisy
measurements are beside the posterior's, and how far their mean is off, on 8 x 8 images
of a smooth Gaussian prior.
"""

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import pigdm_jax as pj
from pigdm_jax.guidance import (
    Calibrated,
    Guidance,
    Moment,
    Pseudoinverse,
    Reconstruction,
)
from pigdm_jax.guidance.base import denoise
from pigdm_jax.operators import separable
from pigdm_jax.pictures.task import Task
from pigdm_jax.priors.schedule import r2, step_table
from pigdm_jax.samplers import DDIM, Conjugate, Fitted, Multistep, Sampler

STEPS = (10, 20, 50, 100, 1000)
ETAS = (0.0, 0.5, 1.0)
SEEDS, DRAWS = 4, 1000
TABLES = ("gaussian", "mixture", "published", "few", "spread")
DIRECTIONS = 1000

METHODS = {
    "unguided": Pseudoinverse(scale=0.0),
    "reconstruction, vdm": Reconstruction("vdm"),
    "PiGDM, algorithm1": Pseudoinverse("algorithm1"),
    "PiGDM, vdm": Pseudoinverse("vdm"),
    "PiGDM, adaptive": Pseudoinverse("adaptive"),
    "PiGDM, posterior": Pseudoinverse("posterior"),
    "calibrated, posterior": Calibrated(),
    "moment, posterior": Moment(),
}
# Method, sampler, spacing, eta and steps.
FEW = [
    ("PiGDM, posterior", "ddim", "uniform", 1.0, 100),
    ("PiGDM, posterior", "ddim", "quadratic", 1.0, 20),
    ("calibrated, posterior", "ddim", "uniform", 1.0, 10),
    ("calibrated, posterior", "ddim", "uniform", 1.0, 20),
    ("calibrated, posterior", "ddim", "quadratic", 1.0, 20),
    ("calibrated, posterior", "fitted", "quadratic", 1.0, 20),
    ("PiGDM, posterior", "multistep", "uniform", 0.0, 20),
    ("PiGDM, posterior", "multistep", "quadratic", 0.0, 20),
    ("PiGDM, posterior", "multistep", "quadratic", 1.0, 20),
    ("PiGDM, posterior", "conjugate", "uniform", 0.0, 20),
    ("PiGDM, posterior", "conjugate", "quadratic", 0.0, 20),
    ("PiGDM, posterior", "fitted", "quadratic", 1.0, 20),
    ("PiGDM, posterior", "fitted", "quadratic", 0.0, 20),
    ("PiGDM, adaptive", "fitted", "quadratic", 1.0, 20),
    ("PiGDM, adaptive", "fitted", "quadratic", 0.5, 20),
    ("PiGDM, adaptive", "fitted", "quadratic", 0.0, 20),
]
# The same without eta, which is 1.
WIDTHS = [
    ("PiGDM, adaptive", "ddim", "uniform", 20),
    ("PiGDM, adaptive", "ddim", "uniform", 100),
    ("calibrated, posterior", "ddim", "uniform", 20),
    ("calibrated, posterior", "ddim", "uniform", 100),
    ("moment, posterior", "ddim", "uniform", 20),
    ("moment, posterior", "ddim", "uniform", 100),
    ("calibrated, posterior", "fitted", "quadratic", 10),
    ("calibrated, posterior", "fitted", "quadratic", 20),
]
SMOOTH = (8, 8, 1)


class Known(NamedTuple):
    """A prior, a problem and the exact answer."""

    prior: pj.Prior
    problem: pj.Problem
    posterior: pj.Prior


# Name and record in the reference file.
Case = tuple[str, dict, Known]


def known(prior: pj.Prior, problem: pj.Problem) -> Known:
    return Known(prior, problem, pj.exact_posterior(prior, problem))


def case_of(record: dict, prior: pj.Prior) -> Known:
    """A case of the reference files, as images of 1 x n pixels."""
    matrix = np.array(record["H"])
    operator = separable((1, matrix.shape[1], 1), columns=matrix)
    y = jnp.asarray(np.reshape(record["y"], (1, -1, 1)), jnp.float32)
    return known(prior, pj.Problem(operator, y, record["sigma_y"] or None))


def gaussian_problems(reference: Path) -> Iterator[Case]:
    records = json.loads((reference / "gaussian.json").read_text())
    for name, record in records.items():
        n = len(record["prior_covariance"])
        prior = pj.gaussian_prior(np.zeros((1, n, 1)), record["prior_covariance"])
        yield name, record, case_of(record, prior)


def mixture_problems(reference: Path, schedule: pj.Schedule) -> Iterator[Case]:
    for record in json.loads((reference / "mixture.json").read_text()):
        d = record["d"]
        corners = [(8 * i, 8 * j) for i in range(-2, 3) for j in range(-2, 3)]
        means = np.tile(corners, d // 2).reshape(25, 1, d, 1)
        prior = pj.mixture_prior(
            np.ones(25), means, np.broadcast_to(np.eye(d), (25, d, d)), schedule
        )
        name = f"m {record['m']}, sigma_y {record['sigma_y']}, seed {record['seed']}"
        yield name, record, case_of(record, prior)


def reference_schedule() -> pj.Schedule:
    """The 1000 equal steps of the published table's process, beta 0.01 to 20."""
    t = np.arange(1001) / 1000
    alpha_bar = np.exp(-(0.01 * t + t**2 * (20 - 0.01) / 2))
    return pj.Schedule.from_betas(1 - alpha_bar[1:] / alpha_bar[:-1])


@partial(jax.jit, static_argnames="count")
def exact_draws(case: Known, key: jax.Array, count: int) -> jax.Array:
    draws = jax.vmap(case.posterior.sample)(jax.random.split(key, count))
    return draws.reshape(count, -1)


def sampler_of(
    name: str, guidance: Guidance, *, steps: int, spacing: str, eta: float
) -> Sampler:
    if name == "conjugate":
        # It needs no late start where the score is exact, and has no eta.
        weight = guidance.weight
        return Conjugate(steps=steps, spacing=spacing, start=1.0, weight=weight)
    kinds = {"ddim": DDIM, "multistep": Multistep, "fitted": Fitted}
    return kinds[name](steps=steps, spacing=spacing, eta=eta, guidance=guidance)


@partial(jax.jit, static_argnames="count")
def restored_draws(
    case: Known, key: jax.Array, count: int, sampler: Sampler
) -> jax.Array:
    def one(key):
        return pj.restore(case.prior, case.problem, key, sampler)

    return jax.vmap(one)(jax.random.split(key, count)).reshape(count, -1)


@partial(jax.jit, static_argnames="count")
def reverse_sde_draws(case: Known, key: jax.Array, count: int) -> jax.Array:
    """PiGDM as the published table has it: in the reverse SDE, by Euler and Maruyama.

    The score is the prior's + g / r_t^2 with r_t^2 = 1 - alpha_bar; the last of the
    1000 steps adds no noise. The prior must have `reference_schedule`.
    """
    prior, problem = case.prior, case.problem
    schedule, guidance = prior.schedule, Pseudoinverse()
    table = step_table(schedule, schedule.levels(schedule.num_steps))
    times = np.arange(schedule.num_steps, 0, -1) / schedule.num_steps
    betas = jnp.asarray((0.01 + times * (20 - 0.01)) / schedule.num_steps, jnp.float32)

    def one(key):
        def body(x, inputs):
            step, beta = inputs
            denoised = denoise(prior, x, step)
            gradient = guidance.gradient(problem, denoised, step)
            score = -denoised.eps / jnp.sqrt(step.b_t) + gradient / r2(step)
            z = jax.random.normal(jax.random.fold_in(key, step.index), x.shape)
            z = jnp.where(step.b_s > 0, z, 0)
            return x + beta * (x / 2 + score) + jnp.sqrt(beta) * z, None

        x = jax.random.normal(jax.random.fold_in(key, 0), problem.operator.image_shape)
        return jax.lax.scan(body, x, (table, betas))[0]

    return jax.vmap(one)(jax.random.split(key, count)).reshape(count, -1)


@jax.jit
def sliced_w1(a: jax.Array, b: jax.Array, key: jax.Array) -> jax.Array:
    """Mean over random directions of the Wasserstein-1 distance of two point sets."""
    directions = jax.random.normal(key, (DIRECTIONS, a.shape[1]))
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    sorted_a, sorted_b = (jnp.sort(directions @ points.T) for points in (a, b))
    return jnp.mean(jnp.abs(sorted_a - sorted_b))


def distances(case: Known, draws: jax.Array) -> list[float]:
    """Sliced distances to the posterior of each seed's draws."""
    exact_key, key = jax.random.split(jax.random.key(1))
    exact = exact_draws(case, exact_key, DRAWS)
    return [
        float(sliced_w1(part, exact, key)) for part in draws.reshape(-1, *exact.shape)
    ]


def errors(case: Known, draws: jax.Array) -> list[tuple[float, float]]:
    """For each seed the relative errors of mean and covariance.

    Of the mean over the posterior's standard deviation, of the covariance over its
    Frobenius norm.
    """
    mean = np.asarray(case.posterior.mean, np.float64).ravel()
    covariance = np.asarray(case.posterior.covariance, np.float64)
    rows = []
    for part in np.asarray(draws, np.float64).reshape(-1, DRAWS, len(mean)):
        off = np.linalg.norm(part.mean(0) - mean) / np.sqrt(np.trace(covariance))
        difference = np.linalg.norm(np.cov(part.T) - covariance)
        rows.append((off, difference / np.linalg.norm(covariance)))
    return rows


def law_z(draws: jax.Array, row: dict) -> float:
    """The largest deviation from a known law, in standard errors of the draws.

    Over the n means and n (n + 1) / 2 covariances; a few standard errors if the sampler
    is right.
    """
    draws = np.asarray(draws, np.float64)
    mean, n = np.array(row["mean"]), draws.shape[1]
    law = np.array(row["covariance"]).reshape(n, n)
    variance = np.diag(law)
    mean_error = np.sqrt(variance / len(draws))
    law_error = np.sqrt((np.outer(variance, variance) + law**2) / len(draws))
    # Rounding of the reference file and of float32, where a variance is nearly 0.
    mean_off = np.abs(draws.mean(0) - mean) / (mean_error + 1e-5)
    law_off = np.abs(np.cov(draws.T) - law) / (law_error + 1e-6)
    return float(max(mean_off.max(), law_off.max()))


def known_law(record: dict, method: str, steps: int, eta: float) -> dict | None:
    """The row of the reference that holds the law of this output, if one does."""
    if method.startswith(("unguided", "reconstruction", "calibrated")):
        return None
    guidance, weight = method.split(", ")
    for row in record.get("sampler_output", ()):
        exact = "covariance_of_x0" in row
        if (row["weight"], row["steps"], row["eta"], exact) == (
            weight,
            steps,
            eta,
            guidance == "moment",
        ):
            return row
    return None


def with_error(values: list[float]) -> tuple[float, float]:
    """Mean over seeds and its standard error."""
    values = np.asarray(values)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def run_grid(cases: list[Case], steps: list[int]) -> list[dict]:
    rows = []
    print("| problem | method | steps | eta | mean | covariance | sliced W1 | law |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, record, case in cases:
        exact = exact_draws(case, jax.random.key(2), SEEDS * DRAWS)
        floor = with_error(distances(case, exact))
        print(f"| {name} | exact draws | | | | | {floor[0]:.3f} ± {floor[1]:.3f} | |")
        for method, guidance in METHODS.items():
            for n in steps:
                for eta in ETAS:
                    sampler = DDIM(steps=n, eta=eta, guidance=guidance)
                    key, count = jax.random.key(0), SEEDS * DRAWS
                    draws = restored_draws(case, key, count, sampler)
                    law = known_law(record, method, n, eta)
                    mean, covariance = zip(*errors(case, draws), strict=True)
                    row = {
                        "problem": name,
                        "method": method,
                        "steps": n,
                        "eta": eta,
                        "mean": with_error(mean),
                        "covariance": with_error(covariance),
                        "sliced_w1": with_error(distances(case, draws)),
                        "law_z": None if law is None else law_z(draws, law),
                    }
                    rows.append(row)
                    cells = (
                        "{:.3g} ± {:.2g}".format(*row[what])
                        for what in ("mean", "covariance", "sliced_w1")
                    )
                    z = "" if law is None else f"{row['law_z']:.1f}"
                    print(
                        f"| {name} | {method} | {n} | {eta} "
                        f"| {' | '.join(cells)} | {z} |",
                        flush=True,
                    )
    return rows


def run_published(reference: Path) -> list[dict]:
    """The published table again, and beside it our samplers at eta 1."""
    columns = {
        f"{method}, {steps}": (METHODS[method], steps)
        for method in list(METHODS)[-4:]
        for steps in (20, 100, 1000)
    }
    names = ["reverse SDE, 1000", *columns]
    print("| problem | published | exact draws | " + " | ".join(names) + " |")
    print("| --- " * (len(names) + 3) + "|")
    rows = []
    for (name, record, ours), (_, _, theirs) in zip(
        mixture_problems(reference, pj.Schedule.linear()),
        mixture_problems(reference, reference_schedule()),
        strict=True,
    ):
        count, key = SEEDS * DRAWS, jax.random.key(0)
        found = {"reverse SDE, 1000": reverse_sde_draws(theirs, key, count)}
        for column, (guidance, steps) in columns.items():
            sampler = DDIM(steps=steps, eta=1.0, guidance=guidance)
            found[column] = restored_draws(ours, key, count, sampler)
        row = {
            "problem": name,
            "published": record["published_sliced_w1"],
            "exact draws": with_error(
                distances(ours, exact_draws(ours, jax.random.key(2), count))
            ),
        }
        for column, draws in found.items():
            row[column] = with_error(distances(ours, draws))
        rows.append(row)
        cells = ("{:.3f} ± {:.3f}".format(*row[n]) for n in ("exact draws", *names))
        print(f"| {name} | {row['published']} | {' | '.join(cells)} |", flush=True)
    summarise(rows, names)
    return rows


def run_few(reference: Path) -> list[dict]:
    """The same problems by few evaluations, beside PiGDM's 100."""
    rows = []
    for name, record, case in mixture_problems(reference, pj.Schedule.linear()):
        row = {"problem": name, "published": record["published_sliced_w1"]}
        for method, kind, spacing, eta, steps in FEW:
            sampler = sampler_of(
                kind, METHODS[method], steps=steps, spacing=spacing, eta=eta
            )
            draws = restored_draws(case, jax.random.key(0), SEEDS * DRAWS, sampler)
            column = f"{method}: {kind}, {spacing}, eta {eta:g}, {steps}"
            row[column] = with_error(distances(case, draws))
        rows.append(row)
    summarise(rows, list(rows[0])[2:])
    return rows


def smooth_problems() -> Iterator[tuple[str, Known]]:
    line = 0.9 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    prior = pj.gaussian_prior(np.zeros(SMOOTH), 0.25 * np.kron(line, line))
    for text, noise_std in (
        ("denoise", 0.2),
        ("super_resolution:2,box", 0.1),
        ("gaussian_blur:1", 0.1),
    ):
        operator, x = Task.parse(text).operator(SMOOTH), prior.sample(jax.random.key(5))
        problem = pj.measure(operator, x, jax.random.key(6), noise_std=noise_std)
        yield f"{text}, sigma_y {noise_std}", known(prior, problem)


def run_widths() -> list[dict]:
    """Standard deviation over the posterior's, and the mean's error in the latter."""
    rows = []
    cases = list(smooth_problems())
    print("| sampler | " + " | ".join(name for name, _ in cases) + " |")
    print("| --- " * (len(cases) + 1) + "|")
    for method, kind, spacing, steps in WIDTHS:
        column = f"{method}: {kind}, {spacing}, {steps}"
        sampler = sampler_of(
            kind, METHODS[method], steps=steps, spacing=spacing, eta=1.0
        )
        cells = []
        for name, case in cases:
            draws = restored_draws(case, jax.random.key(0), SEEDS * DRAWS, sampler)
            exact = np.sqrt(np.diag(case.posterior.covariance))
            off = (np.mean(draws, 0) - np.ravel(case.posterior.mean)) / exact
            row = {
                "sampler": column,
                "problem": name,
                "spread": float(np.median(np.std(draws, 0) / exact)),
                "mean": float(np.sqrt(np.mean(off**2))),
            }
            rows.append(row)
            cells.append(f"{row['spread']:.2f}, {row['mean']:.2f}")
        print(f"| {column} | {' | '.join(cells)} |", flush=True)
    return rows


def summarise(rows: list[dict], names: list[str]) -> None:
    published = np.array([row["published"] for row in rows])
    print("\n| sampler | mean | geometric mean | median ratio to published |", end="")
    print(" log-correlation | below published |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(f"| published | {published.mean():.3f} |", end="")
    print(f" {np.exp(np.log(published).mean()):.3f} | | | |")
    for name in names:
        found = np.array([row[name][0] for row in rows])
        ratio = np.median(found / published)
        correlation = np.corrcoef(np.log(found), np.log(published))[0, 1]
        print(
            f"| {name} | {found.mean():.3f} | {np.exp(np.log(found).mean()):.3f} "
            f"| {ratio:.3f} | {correlation:.4f} "
            f"| {(found < published).sum()} of {len(rows)} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--reference", type=Path, help="for all tables but spread")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--problems", type=int, nargs="+", help="only these, from 0")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()

    device = jax.devices()[0].device_kind
    print(f"{device}; {SEEDS} seeds of {DRAWS} draws, {DIRECTIONS} directions\n")
    if args.table == "spread":
        rows = run_widths()
    elif args.reference is None:
        parser.error(f"{args.table} needs --reference")
    elif args.table == "published":
        rows = run_published(args.reference)
    elif args.table == "few":
        rows = run_few(args.reference)
    else:
        cases = list(
            gaussian_problems(args.reference)
            if args.table == "gaussian"
            else mixture_problems(args.reference, pj.Schedule.linear())
        )
        if args.problems:
            cases = [cases[i] for i in args.problems]
        rows = run_grid(cases, args.steps)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
