"""A pytest plugin that plants the fault which the environment names; see its list."""

import os


def pytest_configure(config):
    """Plant it for the whole run, once `conftest.py` has set up the type checks."""
    if name := os.environ.get("PLANTED_FAULT"):
        from planted_faults import FAULTS, planted

        (fault,) = (fault for fault in FAULTS if fault.name == name)
        context = planted(fault)
        context.__enter__()
        config.add_cleanup(lambda: context.__exit__(None, None, None))
