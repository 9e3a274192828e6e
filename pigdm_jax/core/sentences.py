"""What to say to a user of an exception: a sentence if it was to be expected."""

import dis
from types import TracebackType

PACKAGES = ("pigdm_jax", "pigdm_convert")


def expected(error: BaseException) -> str | None:
    """What to say of an expected failure; None for a bug."""
    if isinstance(error, ValueError) and raised_here(error.__traceback__):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    # This is jax.errors.JaxRuntimeError, which JAX need not be imported to catch.
    if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        return "the picture is too large for this device's memory"
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return "the working folder does not exist any more"
    if isinstance(error, OSError) and error.strerror:
        names = (error.filename, error.filename2)
        where = " to ".join(str(name) for name in names if name is not None)
        return f"{where}: {error.strerror}" if where else error.strerror
    return None


def raised_here(trace: TracebackType | None) -> bool:
    """Whether a `raise` statement in this package raised an exception.

    Not so if a library raised it, or Python itself, as in int("x").
    """
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    package = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
    instruction = trace.tb_frame.f_code.co_code[trace.tb_lasti]
    return package in PACKAGES and instruction == dis.opmap["RAISE_VARARGS"]
