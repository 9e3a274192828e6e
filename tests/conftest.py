"""What several test files share: where the reference data lies, small priors."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax.prior import gaussian_prior

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"the reference data is not at {SHARED}")
    return SHARED


@pytest.fixture
def smooth_prior():
    """A Gaussian prior of 8 x 8 colour images whose neighbouring pixels agree."""
    line = 0.9 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    covariance = 0.25 * np.kron(np.kron(line, line), 0.5 * np.eye(3) + 0.5)
    return gaussian_prior(jnp.zeros((8, 8, 3)), covariance)
