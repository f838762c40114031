"""The plugins that a cell uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lrlora.registry import parse_spec

if TYPE_CHECKING:
    from lrlora.registry import Registry


def used_plugins(config: Mapping[str, Any], task: str) -> dict[str, Callable[..., Any]]:
    """Returns the classes that are not built in, by kind and name, as ``{"basis my_bump": MyBump}``.

    Args:
        config: Of the method. Every text in it that names a basis, an engine or a policy counts, however deep.
        task: Name of the task.
    """
    from lrlora.bases import BASES
    from lrlora.engines import ENGINES
    from lrlora.policies import KINDS as POLICY_KINDS
    from lrlora.studies.kinds import KINDS as TASK_KINDS
    from lrlora.studies.methods import METHODS
    from lrlora.studies.tasks import TASKS

    asked: list[tuple[Registry[Any], str]] = [(METHODS, str(config.get("method"))), (TASKS, task)]
    if task in TASKS:
        asked.append((TASK_KINDS, str(getattr(TASKS.get(task), "kind", ""))))
    names = {parse_spec(text)[0] for text in _texts(config)}
    of_config: list[Registry[Any]] = [BASES, ENGINES, *POLICY_KINDS.values()]
    asked += [(registry, name) for registry in of_config for name in sorted(names)]
    return {
        f"{registry.kind} {name}": registry.get(name)
        for registry, name in asked
        if name in registry and registry.entry(name).origin != "built-in"
    }


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
