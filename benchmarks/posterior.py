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
from pigdm_jax.guidance import GUIDANCES, guide
from pigdm_jax.operators import parse, separable
from pigdm_jax.operators.base import Operator
from pigdm_jax.sampler import ddim_coefficients, step_table

STEPS = (10, 20, 50, 100, 1000)
ETAS = (0.0, 0.5, 1.0)
SEEDS, DRAWS = 4, 1000
TABLES = ("gaussian", "mixture", "published", "few", "spread")
DIRECTIONS = 1000

# Guidance, weight and scale that `restore` is asked for; scale 0 leaves the prior
# unguided.
METHODS = {
    "unguided": ("pseudoinverse", "adaptive", 0.0),
    "reconstruction, vdm": ("reconstruction", "vdm", 1.0),
    "PiGDM, algorithm1": ("pseudoinverse", "algorithm1", 1.0),
    "PiGDM, vdm": ("pseudoinverse", "vdm", 1.0),
    "PiGDM, adaptive": ("pseudoinverse", "adaptive", 1.0),
    "PiGDM, posterior": ("pseudoinverse", "posterior", 1.0),
    "calibrated, posterior": ("calibrated", "posterior", 1.0),
    "moment, posterior": ("moment", "posterior", 1.0),
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
SPREAD = [
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


class Problem(NamedTuple):
    """A prior, a measurement and the exact answer."""

    prior: pj.Prior
    operator: Operator
    y: jax.Array
    noise_std: float
    posterior: pj.Prior


# Name and record in the reference file.
Case = tuple[str, dict, Problem]


def problem_of(record: dict, prior: pj.Prior) -> Problem:
    """A problem of the reference files, as images of 1 x n pixels."""
    matrix, noise_std = np.array(record["H"]), record["sigma_y"]
    n = matrix.shape[1]
    operator = separable((1, n, 1), columns=matrix)
    y = jnp.asarray(np.reshape(record["y"], (1, -1, 1)), jnp.float32)
    posterior = pj.exact_posterior(prior, operator, y, noise_std=noise_std)
    return Problem(prior, operator, y, noise_std, posterior)


def gaussian_problems(reference: Path) -> Iterator[Case]:
    records = json.loads((reference / "gaussian.json").read_text())
    for name, record in records.items():
        n = len(record["prior_covariance"])
        prior = pj.gaussian_prior(np.zeros((1, n, 1)), record["prior_covariance"])
        yield name, record, problem_of(record, prior)


def mixture_problems(reference: Path, schedule: pj.Schedule) -> Iterator[Case]:
    for record in json.loads((reference / "mixture.json").read_text()):
        d = record["d"]
        corners = [(8 * i, 8 * j) for i in range(-2, 3) for j in range(-2, 3)]
        means = np.tile(corners, d // 2).reshape(25, 1, d, 1)
        prior = pj.mixture_prior(
            np.ones(25), means, np.broadcast_to(np.eye(d), (25, d, d)), schedule
        )
        name = f"m {record['m']}, sigma_y {record['sigma_y']}, seed {record['seed']}"
        yield name, record, problem_of(record, prior)


def reference_schedule() -> pj.Schedule:
    """The 1000 equal steps of the published table's process, beta 0.01 to 20."""
    t = np.arange(1001) / 1000
    alpha_bar = np.exp(-(0.01 * t + t**2 * (20 - 0.01) / 2))
    return pj.Schedule.from_betas(1 - alpha_bar[1:] / alpha_bar[:-1])


@partial(jax.jit, static_argnames="count")
def exact_draws(problem: Problem, key: jax.Array, count: int) -> jax.Array:
    draws = jax.vmap(problem.posterior.sample)(jax.random.split(key, count))
    return draws.reshape(count, -1)


@partial(
    jax.jit,
    static_argnames=("count", "steps", "guidance", "weight", "sampler", "spacing"),
)
def restored_draws(
    problem: Problem,
    key: jax.Array,
    count: int,
    steps: int,
    eta: float,
    guidance: str,
    weight: str,
    scale: float,
    sampler: str = "ddim",
    spacing: str = "uniform",
) -> jax.Array:
    # Where the score is exact none needs the conjugate sampler's late start.
    noisiest = problem.prior.schedule.num_steps

    def one(key):
        return pj.restore(
            problem.prior,
            problem.operator,
            problem.y,
            key,
            steps=steps,
            start=noisiest if sampler == "conjugate" else None,
            eta=eta,
            noise_std=problem.noise_std,
            guidance=guidance,
            weight=weight,
            scale=scale,
            sampler=sampler,
            spacing=spacing,
        )

    return jax.vmap(one)(jax.random.split(key, count)).reshape(count, -1)


@partial(jax.jit, static_argnames="count")
def reverse_sde_draws(problem: Problem, key: jax.Array, count: int) -> jax.Array:
    """PiGDM as the published table has it: in the reverse SDE, by Euler and Maruyama.

    The score is the prior's + g / r_t^2 with r_t^2 = 1 - alpha_bar; the last of the
    1000 steps adds no noise. The prior must have `reference_schedule`.
    """
    prior, operator = problem.prior, problem.operator
    schedule = prior.schedule
    table = step_table(schedule, schedule.levels(schedule.num_steps))
    times = np.arange(schedule.num_steps, 0, -1) / schedule.num_steps
    betas = jnp.asarray((0.01 + times * (20 - 0.01)) / schedule.num_steps, jnp.float32)
    rule = GUIDANCES["pseudoinverse"]

    def one(key):
        def body(x, inputs):
            row, beta = inputs
            step = ddim_coefficients(row, jnp.float32(1), jnp.float32(1))
            variance = problem.noise_std**2
            guided = guide(prior, operator, problem.y, x, step, variance, rule)
            score = -guided.eps / jnp.sqrt(step.b_t) + guided.gradient / step.r2
            z = jax.random.normal(jax.random.fold_in(key, row.index), x.shape)
            z = jnp.where(row.b_s > 0, z, 0)
            return x + beta * (x / 2 + score) + jnp.sqrt(beta) * z, None

        x = jax.random.normal(jax.random.fold_in(key, 0), operator.image_shape)
        return jax.lax.scan(body, x, (table, betas))[0]

    return jax.vmap(one)(jax.random.split(key, count)).reshape(count, -1)


@jax.jit
def sliced_w1(a: jax.Array, b: jax.Array, key: jax.Array) -> jax.Array:
    """Mean over random directions of the Wasserstein-1 distance of two point sets."""
    directions = jax.random.normal(key, (DIRECTIONS, a.shape[1]))
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    sorted_a, sorted_b = (jnp.sort(directions @ points.T) for points in (a, b))
    return jnp.mean(jnp.abs(sorted_a - sorted_b))


def distances(problem: Problem, draws: jax.Array) -> list[float]:
    """Sliced distances to the posterior of each seed's draws."""
    exact_key, key = jax.random.split(jax.random.key(1))
    exact = exact_draws(problem, exact_key, DRAWS)
    return [
        float(sliced_w1(part, exact, key)) for part in draws.reshape(-1, *exact.shape)
    ]


def errors(problem: Problem, draws: jax.Array) -> list[tuple[float, float]]:
    """For each seed the relative errors of mean and covariance.

    Of the mean over the posterior's spread, of the covariance over its Frobenius norm.
    """
    mean = np.asarray(problem.posterior.mean, np.float64).ravel()
    covariance = np.asarray(problem.posterior.covariance, np.float64)
    rows = []
    for part in np.asarray(draws, np.float64).reshape(-1, DRAWS, len(mean)):
        off = np.linalg.norm(part.mean(0) - mean) / np.sqrt(np.trace(covariance))
        spread = np.linalg.norm(np.cov(part.T) - covariance)
        rows.append((off, spread / np.linalg.norm(covariance)))
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
    off = np.abs(draws.mean(0) - mean) / (mean_error + 1e-5)
    spread = np.abs(np.cov(draws.T) - law) / (law_error + 1e-6)
    return float(max(off.max(), spread.max()))


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
    for name, record, problem in cases:
        exact = exact_draws(problem, jax.random.key(2), SEEDS * DRAWS)
        floor = with_error(distances(problem, exact))
        print(f"| {name} | exact draws | | | | | {floor[0]:.3f} ± {floor[1]:.3f} | |")
        for method, (guidance, weight, scale) in METHODS.items():
            for n in steps:
                for eta in ETAS:
                    draws = restored_draws(
                        problem,
                        jax.random.key(0),
                        SEEDS * DRAWS,
                        n,
                        eta,
                        guidance,
                        weight,
                        scale,
                    )
                    law = known_law(record, method, n, eta)
                    mean, covariance = zip(*errors(problem, draws), strict=True)
                    row = {
                        "problem": name,
                        "method": method,
                        "steps": n,
                        "eta": eta,
                        "mean": with_error(mean),
                        "covariance": with_error(covariance),
                        "sliced_w1": with_error(distances(problem, draws)),
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
        for column, (options, steps) in columns.items():
            found[column] = restored_draws(ours, key, count, steps, 1.0, *options)
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
    for name, record, problem in mixture_problems(reference, pj.Schedule.linear()):
        row = {"problem": name, "published": record["published_sliced_w1"]}
        for method, sampler, spacing, eta, steps in FEW:
            draws = restored_draws(
                problem,
                jax.random.key(0),
                SEEDS * DRAWS,
                steps,
                eta,
                *METHODS[method],
                sampler,
                spacing,
            )
            column = f"{method}: {sampler}, {spacing}, eta {eta:g}, {steps}"
            row[column] = with_error(distances(problem, draws))
        rows.append(row)
    summarise(rows, list(rows[0])[2:])
    return rows


def smooth_problems() -> Iterator[tuple[str, Problem]]:
    line = 0.9 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    prior = pj.gaussian_prior(np.zeros(SMOOTH), 0.25 * np.kron(line, line))
    for text, noise_std in (
        ("denoise", 0.2),
        ("super_resolution:2,box", 0.1),
        ("gaussian_blur:1", 0.1),
    ):
        operator = parse(text, SMOOTH)
        noise = jax.random.normal(jax.random.key(6), operator.measurement_shape)
        y = operator.apply(prior.sample(jax.random.key(5))) + noise_std * noise
        posterior = pj.exact_posterior(prior, operator, y, noise_std=noise_std)
        name = f"{text}, sigma_y {noise_std}"
        yield name, Problem(prior, operator, y, noise_std, posterior)


def run_spread() -> list[dict]:
    """Standard deviation over the posterior's, and the mean's error in the latter."""
    rows = []
    problems = list(smooth_problems())
    print("| sampler | " + " | ".join(name for name, _ in problems) + " |")
    print("| --- " * (len(problems) + 1) + "|")
    for method, sampler, spacing, steps in SPREAD:
        column = f"{method}: {sampler}, {spacing}, {steps}"
        cells = []
        for name, problem in problems:
            draws = restored_draws(
                problem,
                jax.random.key(0),
                SEEDS * DRAWS,
                steps,
                1.0,
                *METHODS[method],
                sampler,
                spacing,
            )
            exact = np.sqrt(np.diag(problem.posterior.covariance))
            off = (np.mean(draws, 0) - np.ravel(problem.posterior.mean)) / exact
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
        rows = run_spread()
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
