"""`pigdm info`: list devices, priors, samplers, guidances, operators and metrics."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rich.table import Table


def info() -> None:
    """List devices, priors, samplers, guidances, operators and metrics."""
    from pigdm_jax.cli.console import console
    from pigdm_jax.core.compilation import cache_problem, keep_compiled
    from pigdm_jax.guidance import GUIDANCES
    from pigdm_jax.samplers import SAMPLERS

    tables = [
        _devices(),
        _priors(),
        _classes("Samplers", "--sampler", SAMPLERS),
        _classes("Guidances", "--guidance", GUIDANCES),
        _operators(),
        _metrics(),
    ]
    for table in tables:
        console.print(table, soft_wrap=False)
    kept = f"Compiled programs are kept in {keep_compiled(None)}"
    console.print(cache_problem(tried=True) or kept)


def _devices() -> Table:
    import jax

    table = Table("device", "kind", title="Devices", title_justify="left")
    for device in jax.devices():
        table.add_row(str(device), device.device_kind)
    return table


def _priors() -> Table:
    from pigdm_jax.weights.metadata import read_metadata
    from pigdm_jax.weights.names import SHIPPED, shipped_priors

    table = Table("prior", "what it is", title="Priors", title_justify="left")
    table.caption = "pigdm prior list: those that are downloaded on first use"
    for name in shipped_priors():
        source = read_metadata(SHIPPED / name)["source"]
        table.add_row(name, source.get("description", ""))
    return table


def _classes(title: str, flag: str, registry: Mapping[str, type[Any]]) -> Table:
    table = Table(flag, "parameters", "what it is", title=title, title_justify="left")
    for name, cls in registry.items():
        fields = ", ".join(field.name for field in dataclasses.fields(cls))
        table.add_row(name, fields, (cls.__doc__ or "").split("\n")[0])
    return table


def _metrics() -> Table:
    from pigdm_jax.metrics.registry import METRICS

    table = Table(title="Metrics of pigdm evaluate", title_justify="left")
    for column in ("--metrics", "what it is", "", "downloads"):
        table.add_column(column)
    for name, metric in METRICS.items():
        weights = "weights" if metric.network else ""
        table.add_row(name, metric.title, f"{metric.better} is better", weights)
    return table


def _operators() -> Table:
    from pigdm_jax.pictures.task import STAGES

    table = Table(title="Operators", title_justify="left")
    table.add_column("--task", overflow="fold")
    table.add_column("what it does")
    for named in STAGES.values():
        table.add_row(named.usage(), named.summary)
    return table
