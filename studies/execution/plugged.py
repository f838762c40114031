"""What this process has registered besides the built-in names, so that a worker can register the same."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from lrlora.registry import Registry, load_plugin
from lrlora.studies.errors import StudyError
from lrlora.studies.record.environment import plugin_registries


@dataclass(frozen=True)
class Plugged:
    """Names beyond the built-in ones.

    Attributes:
        sources: Plugin files and modules; importing them registers what they hold.
        pickled: What was registered in ``__main__`` or in a function, which no import gives: ``(group, name, value)``,
            pickled by value.
    """

    sources: tuple[str, ...] = ()
    pickled: bytes = b""

    def register(self) -> None:
        """Register it all in this process."""
        for source in self.sources:
            load_plugin(source)
        if not self.pickled:
            return
        import cloudpickle

        registries = {registry.group: registry for registry in plugin_registries()}
        for group, name, factory in cloudpickle.loads(self.pickled):
            registries[group].register(name)(factory)


def plugged_in() -> Plugged:
    """What this process has registered.

    Raises:
        StudyError: Something that was registered in ``__main__`` cannot be pickled; one line.
    """
    sources: dict[str, None] = {}
    by_value: list[tuple[Registry[Any], str, Any]] = []
    for registry in plugin_registries():
        for entry in registry:
            module, _, attribute = entry.target.partition(":")
            if entry.origin == "built-in" or module not in sys.modules:
                continue  # an entry point that was not loaded here is found there as it is here
            if module == "__main__" or "<locals>" in attribute:
                by_value.append((registry, entry.name, entry.load()))
            elif module.startswith("lrlora_plugin_"):
                sources[str(sys.modules[module].__file__)] = None
            else:
                sources[module] = None
    return Plugged(tuple(sources), _pickled(by_value))


def _pickled(by_value: list[tuple[Registry[Any], str, Any]]) -> bytes:
    if not by_value:
        return b""
    import cloudpickle

    for registry, name, factory in by_value:
        try:
            cloudpickle.dumps(factory)
        except Exception as error:  # whatever an object says when it is pickled
            raise StudyError(
                f"{registry.kind} {name!r} cannot be given to a worker process ({error}); "
                "put it into a file, and name that with --plugin"
            ) from None
    return cloudpickle.dumps([(registry.group, name, factory) for registry, name, factory in by_value])
