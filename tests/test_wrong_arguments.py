"""Wrong arguments are answered in one sentence, without the tests' type checks.

Users do not have beartype, which `conftest` installs here. So the cases run in a
process of their own: `python test_wrong_arguments.py` prints each exception.
"""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

S = (4, 4, 1)
PIXELS = np.arange(16, dtype=np.uint8).reshape(S) * 16


def request(**changes):
    """A call of `restore` whose arguments are right but for the changes."""
    import pigdm_jax as pj

    operator = changes.pop("operator", pj.operators.identity(S))
    y, noise_std = changes.pop("y", np.zeros(S)), changes.pop("noise_std", 0.1)
    prior = changes.pop("prior", pj.gaussian_prior(np.zeros(S), np.eye(16)))
    problem = changes.pop("problem", pj.Problem(operator, y, noise_std))
    key = changes.pop("key", jax.random.key(0))
    sampler = changes.pop("sampler", pj.samplers.DDIM(2))
    return pj.restore(prior, problem, key, sampler, **changes)


def batch(**changes):
    import pigdm_jax as pj

    operator = pj.operators.identity(S)
    problems = [pj.Problem(operator, y) for y in changes.pop("ys", np.zeros((3, *S)))]
    prior = pj.gaussian_prior(np.zeros(S), np.eye(16))
    arguments = {"problems": problems, "keys": jax.random.split(jax.random.key(0), 3)}
    arguments |= {"sampler": pj.samplers.DDIM(2)} | changes
    return pj.restore_batch(prior, **arguments)


def measured(x=None, key=None, **options):
    import pigdm_jax as pj

    operator = options.pop("operator", pj.operators.identity(S))
    return pj.measure(operator, np.zeros(S) if x is None else x, key, **options)


def ddim(**fields):
    import pigdm_jax as pj

    return pj.samplers.DDIM(2, **fields)


def pseudoinverse(**fields):
    import pigdm_jax as pj

    return ddim(guidance=pj.guidance.Pseudoinverse(**fields))


def velocity(**options):
    import pigdm_jax as pj

    return pj.from_velocity(np.sin, **options)


def with_one(value, shape=S, dtype=np.float64):
    array = np.zeros(shape, dtype)
    array.flat[3] = value
    return array


# Each with words of its answer.
REQUESTS = {
    "y is text": (lambda: request(y="noise"), "the measurement y must be an array"),
    "y is None": (lambda: request(y=None), "got None (NoneType)"),
    "y is a list": (lambda: request(y=[[0.0] * 4] * 4), "y must be an array of real"),
    "y is complex": (lambda: request(y=np.zeros(S, complex)), "real numbers, got an"),
    "y is bool": (lambda: request(y=np.zeros(S, bool)), "type bool"),
    "y is text in NumPy": (lambda: request(y=np.full(S, "a")), "real numbers"),
    "y is mis-shaped": (lambda: request(y=np.zeros((4, 4))), "(4, 4), but this"),
    "y has NaN": (lambda: request(y=with_one(np.nan)), "1 of its 16 values are NaN"),
    "y overflows": (lambda: request(y=with_one(1e300)), "finite in float32"),
    "y is pixels": (lambda: request(y=PIXELS), "divide by 127.5 and subtract 1"),
    "y is float pixels": (lambda: request(y=PIXELS * 1.0), "divide by 127.5 and"),
    "noise is text": (lambda: request(noise_std="0.1"), "noise_std must be a finite"),
    "noise is complex": (lambda: request(noise_std=1j), "noise_std must be a finite"),
    "noise is True": (lambda: request(noise_std=True), "noise_std must be a finite"),
    "noise overflows": (lambda: request(noise_std=1e39), "from 0 on, got 1e+39"),
    "noise is -1 in JAX": (lambda: request(noise_std=jnp.float32(-1)), "from 0 on"),
    "noise underflows": (lambda: request(noise_std=np.full(S, 1e-60)), "above 0"),
    "key is a seed": (lambda: request(key=7), "jax.random.key(7)"),
    "key is None": (lambda: request(key=None), "key must be jax.random.key(0)"),
    "key is a number": (lambda: request(key=jnp.zeros(2)), "key must be jax.random"),
    "keys": (lambda: request(key=jax.random.split(jax.random.key(0))), "one key"),
    "old keys": (lambda: request(key=np.zeros((3, 2), np.uint32)), "one key"),
    "init is a number": (lambda: request(init=3), "init has shape ()"),
    "init is text": (lambda: request(init="best"), "init must be 'pinv', 'upsample'"),
    "init has NaN": (lambda: request(init=with_one(np.nan)), "init must be finite"),
    "init is pixels": (lambda: request(init=PIXELS), "divide by 127.5"),
    "init is mis-shaped": (lambda: request(init=np.zeros((4, 4))), "init has shape"),
    "on_step is no function": (lambda: request(on_step=3), "on_step must be a func"),
    "prior is a function": (lambda: request(prior=np.sin), "prior must be a pigdm_jax"),
    "sampler is a class": (lambda: request(sampler=ddim), "must be a pigdm_jax.Samp"),
    "guidance is text": (lambda: request(sampler=ddim(guidance="moment")), "guidance"),
    "eta in JAX": (lambda: request(sampler=ddim(eta=jnp.float32(2))), "eta must be"),
    "eta is an array": (lambda: request(sampler=ddim(eta=jnp.ones(3))), "one number"),
    "scale is NaN in JAX": (
        lambda: request(sampler=pseudoinverse(scale=jnp.float32(np.nan))),
        "scale must be at least 0",
    ),
    "trace is an array": (lambda: request(trace=np.ones(2)), "trace must be True or"),
    "shared_operator is text": (
        lambda: batch(shared_operator="yes"),
        "shared_operator must be True or False, got 'yes'",
    ),
    "flow is an array": (
        lambda: velocity(flow=np.ones(2)),
        "flow must be True or False, got an array",
    ),
    "operator is a class": (lambda: request(operator=np.ones), "must be a pigdm_jax.O"),
    "one of a batch has NaN": (
        lambda: batch(ys=np.stack([np.zeros(S), np.zeros(S), with_one(np.inf)])),
        "1 of its 48 values",
    ),
    "a seed for a batch": (lambda: batch(keys=3), "jax.random.split("),
    "a key for a batch": (lambda: batch(keys=jax.random.key(0)), "keys of shape (3,)"),
    "no problems": (lambda: batch(problems=None), "problems must be a list"),
    "init of a batch": (
        lambda: batch(init=np.full((3, *S), np.nan)),
        "init must be fi",
    ),
    "clean image is pixels": (lambda: measured(PIXELS), "the image x must be in"),
    "clean image has NaN": (lambda: measured(with_one(np.nan)), "the image x must be"),
    "clean image is text": (lambda: measured("x"), "the image x must be an array"),
    "measured with a seed": (lambda: measured(None, 5, noise_std=1), "key(5)"),
    "measured by none": (lambda: measured(operator=3), "operator must be a pigdm_jax"),
}
# A public function by its name, its arguments, and words of its answer.
CALLS = {
    "gaussian_prior": [
        ((with_one(np.nan), np.eye(16)), "mean must be finite"),
        ((np.zeros(S), np.triu(np.ones((16, 16)))), "must be a symmetric matrix"),
        ((np.zeros(S), np.eye(16) * 1j), "covariance must be real numbers"),
        ((np.zeros(S), -np.eye(16)), "negative eigenvalue"),
        ((np.zeros((4, 4)), np.eye(16)), "mean must have shape (H, W, C)"),
        ((np.zeros(S), np.eye(16), 3), "schedule must be linear or cosine, got 3"),
    ],
    "mixture_prior": [(("a", np.zeros((1, *S)), np.eye(16)[None]), "weights must be")],
    "Schedule.linear": [((0,), "num_steps"), ((2.5,), "num_steps"), ((20,), "21")],
    "Schedule.cosine": [((np.inf,), "num_steps"), (("9",), "num_steps")],
    "Schedule.from_betas": [(("text",), "betas"), (([0.1, np.nan],), "betas")],
    "from_eps": [((3,), "must be a function, got 3")],
    "tiled": [((np.sin, 4, 1), "prior must be a pigdm_jax.Prior")],
    "exact_posterior": [(("a", "b"), "gaussian_prior or mixture_prior")],
    "make_mesh": [((1.5,), "model"), ((1, [3]), "jax.Device, got 3")],
    "measurement_residual": [((3, np.zeros(S)), "problem must be")],
    "psnr": [
        ((PIXELS, PIXELS), "divide by 127.5"),
        ((np.zeros(S), np.zeros((4, 5, 1))), "reference must have shape (4, 4, 1)"),
        ((with_one(np.nan), np.zeros(S)), "image must be finite"),
    ],
    "ssim": [((np.zeros((16, 16)), np.zeros((16, 16))), "image must have shape")],
    "read_image": [((1,), "a path must be a str or os.PathLike, got 1")],
    "write_picture": [
        (("a.png", PIXELS), "divide by 127.5"),
        ((1, np.zeros(S)), "a path must be a str or os.PathLike, got 1"),
    ],
    "load_prior": [((3,), "a path must be a str or os.PathLike, got 3")],
    "samplers.parse": [((3,), "a sampler in text must be a str, got int")],
    "samplers.DDIM": [((2, "late"), "start is a fraction"), ((2.0,), "steps must be")],
    "operators.parse": [((3, S), "operators in text must be a str, got int")],
    "operators.inpaint": [
        ((S, np.full((4, 4), np.nan)), "the mask must be finite"),
        ((S, "center"), "the mask must be real numbers, got 'center'"),
        ((S, jnp.full((4, 4), 0.5)), "a mask must contain only 0"),
    ],
    "operators.random_mask": [
        ((S, np.nan), "keep, a fraction of the pixels, must be"),
        ((S, 0.5, "seed"), "key, unless it is a whole number"),
        ((S, 0.5, 2**70), "at most 63 bits"),
    ],
    "operators.freeform_mask": [((S, 0, 0.2), "hidden must be two fractions")],
    "operators.blur": [
        ((S, with_one(np.nan, (3, 3))), "a blur kernel must be finite"),
        ((S, "kernel"), "a blur kernel must be real numbers"),
        ((S, np.ones((3, 3)), "zero", "small"), "rtol must be one number"),
        ((S, np.ones((3, 3)), ["zero"]), "boundary must be one of"),
    ],
    "operators.gaussian_blur": [((S, "wide"), "std of a blur must be one number")],
    "operators.separable": [((S, with_one(np.inf, (4, 4))), "a matrix must be finite")],
    "operators.channel_mix": [((S, "m"), "matrix must be real numbers")],
    "operators.jpeg": [((S, "high"), "quality must be a whole"), ((S, 10, 444), "4:2")],
    "operators.quantize": [((S, 2.5), "bits must be a whole number from 1 to 16")],
    "operators.low_dynamic_range": [((S, "c"), "clip must be one number")],
    "operators.noise": [((S, "s"), "standard deviation must be one number")],
    "operators.damped_pinv": [
        ((3, np.zeros(S), 0.1, 1.0), "operator must be a pigdm_jax.Operator"),
        (("identity", np.zeros((4, 4)), 0.1, 1.0), "(4, 4), but this operator"),
        (("identity", "y", 0.1, 1.0), "must be an array of real numbers, got 'y'"),
        (("identity", np.zeros(S), 0.1, 0.0), "r2 must be at least"),
        (("identity", np.zeros(S), np.ones(3), 1.0), "one for every value of y"),
    ],
    "operators.crop": [((S, 2, None), "width must be a whole number")],
    "operators.chain": [((3,), "each part of a chain must be a pigdm_jax.Operator")],
    "operators.walsh_hadamard": [((S, np.zeros(2)), "ratio must be one number")],
    "operators.cartesian_mask": [((S, "fast"), "acceleration, at most the width")],
}


def called(name, arguments):
    from operator import attrgetter

    import pigdm_jax as pj

    identity = pj.operators.identity(S)
    arguments = [
        identity if isinstance(a, str) and a == "identity" else a for a in arguments
    ]
    return lambda: attrgetter(name)(pj)(*arguments)


CASES = REQUESTS | {
    f"{name} {i}": (called(name, arguments), words)
    for name, cases in CALLS.items()
    for i, (arguments, words) in enumerate(cases)
}


def answers():
    """Name, type and text of the exception of each case."""
    found = {}
    for name, (call, _) in CASES.items():
        try:
            call()
            found[name] = ("accepted", "")
        except Exception as error:
            found[name] = (type(error).__name__, str(error))
    return found


@pytest.fixture(scope="module")
def answered():
    out = subprocess.run([sys.executable, __file__], capture_output=True, check=True)
    return json.loads(out.stdout)


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_argument_is_answered_in_a_sentence(answered, name):
    kind, text = answered[name]
    assert kind in ("ValueError", "TypeError"), text
    assert CASES[name][1] in text
    assert "\n" not in text and len(text) < 300


if __name__ == "__main__":
    print(json.dumps(answers()))
