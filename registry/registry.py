"""A generic registry of named, lazily imported things.

The rules, each of which is tested by name:

1. Built-ins are a table of lazy strings ``"package.module:Attribute"``; nothing is imported before it is asked for.
2. Third parties add entry points in the registry's group. They are scanned once and loaded one by one.
3. ``@registry.register("name")`` serves notebooks, tests and plugin files.
4. Two origins for one name are an error that names both. Registering the same origin again is fine.
5. A plugin that fails to import stays listed, as broken, and raises with its cause only when asked for.
6. An unknown name raises with the closest match, all names, and how to add one.
7. Wherever a name is accepted, an instance is too (:meth:`Registry.create`).
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from lrlora.registry.errors import BrokenPluginError, DuplicateNameError, UnknownNameError
from lrlora.registry.spec import parse_spec

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """One name of a registry: where it comes from, and how to import it."""

    name: str
    origin: str
    """For people: ``"built-in"``, a distribution's name and version, or the file that registered it."""
    target: str
    """What the name stands for, as ``"module:Qualified.name"``."""
    load: Callable[[], Any]


class Registry(Generic[T]):
    """Maps names to factories of ``T``.

    Args:
        kind: What the things are called in messages, for example ``"basis"``.
        group: Entry-point group that third parties use, for example ``"lrlora.bases"``.
        builtins: Table of lazy strings, ``{"sinc": "lrlora.bases.sinc:Sinc"}``.
        base: Lazy string of the class every instance must be of; checked when an instance is made or passed.
    """

    def __init__(self, kind: str, *, group: str, builtins: Mapping[str, str], base: str) -> None:
        self.kind = kind
        self.group = group
        self._base = base
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._conflicts: dict[str, tuple[str, str]] = {}
        self._scanned = False
        for name, target in builtins.items():
            self._add(Entry(name, "built-in", target, partial(_import_target, target)))

    # -- adding ---------------------------------------------------------------------------------------------

    def register(self, name: str) -> Callable[[F], F]:
        """Decorator that adds a class or factory under ``name`` (rule 3)."""
        if not isinstance(name, str) or not name or any(c in name for c in ":,= \t\n"):
            raise ValueError(f"a {self.kind} is registered under a non-empty name without ' :,=', not {name!r}")

        def add(factory: F) -> F:
            target = f"{factory.__module__}:{factory.__qualname__}"
            with self._lock:
                self._known()
                self._add(Entry(name, _source_of(factory), target, lambda: factory))
            return factory

        return add

    def _add(self, entry: Entry) -> None:
        known = self._entries.get(entry.name)
        if known is not None:
            # An installed plugin that also decorates its class, or a notebook cell that is run again, names the same
            # object twice: one origin, of which the newest definition counts.
            if not _same_object(known.target, entry.target):
                raise DuplicateNameError(self.kind, entry.name, _describe(known), _describe(entry))
            entry = replace(entry, origin=known.origin)
        self._entries[entry.name] = entry

    def _known(self) -> dict[str, Entry]:
        """All entries by name, after the one scan of the installed entry points (rule 2)."""
        with self._lock:
            if not self._scanned:
                for point in entry_points(group=self.group):
                    dist = point.dist
                    origin = f"{dist.name} {dist.version}" if dist is not None else "an unnamed distribution"
                    target = point.value.partition("[")[0].replace(" ", "")
                    entry = Entry(point.name, origin, target, point.load)
                    try:
                        self._add(entry)
                    except DuplicateNameError:
                        # Two installed packages clash: whoever asks for that name is told, nobody else is in the way.
                        known = self._entries[point.name]
                        self._conflicts[point.name] = (_describe(known), _describe(entry))
                        self._entries[point.name] = replace(known, origin=f"{known.origin} and {origin}")
                self._scanned = True
            return self._entries.copy()

    # -- looking up -----------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All names, sorted, broken ones included."""
        return sorted(self._known())

    def complete_names(self) -> list[str]:
        """The names that stand for something by themselves, and not only with an argument. Imports what they name.

        Raises:
            DuplicateNameError, BrokenPluginError: As in :meth:`get`.
        """
        return [name for name in self.names() if not required_arguments(self.get(name))]

    def __contains__(self, name: object) -> bool:
        return name in self._known()

    def __iter__(self) -> Iterator[Entry]:
        """The entries in order of name, without importing any."""
        return iter([entry for _, entry in sorted(self._known().items())])

    def entry(self, name: str) -> Entry:
        """The entry called ``name``.

        Raises:
            UnknownNameError: With the closest match, all names, and how to add one (rule 6).
        """
        known = self._known()
        if name not in known:
            how_to_add = "install or import the plugin that has it, or add one with @register or an entry point in "
            raise UnknownNameError(self.kind, name, known, f"{how_to_add}{self.group!r}")
        return known[name]

    def get(self, name: str) -> Callable[..., T]:
        """The class or factory called ``name``, imported now.

        Raises:
            UnknownNameError: No such name.
            DuplicateNameError: Two installed packages claim it (rule 4).
            BrokenPluginError: It is listed but does not import; the cause is chained (rule 5).
        """
        entry = self.entry(name)
        if name in self._conflicts:
            raise DuplicateNameError(self.kind, name, *self._conflicts[name])
        try:
            factory = entry.load()
        except (Exception, SystemExit) as cause:  # a script that ends in sys.exit() is no importable plugin either
            raise BrokenPluginError(self.kind, name, entry.origin, cause) from cause
        if not callable(factory):
            reason = TypeError(f"{entry.target} is {factory!r}, which cannot be called")
            raise BrokenPluginError(self.kind, name, entry.origin, reason) from reason
        return cast("Callable[..., T]", factory)

    def create(self, spec: str | T, /, **kwargs: Any) -> T:
        """An instance, from a spec such as ``"bspline"`` or ``"small:0.02"``, or the instance that was passed.

        Args:
            spec: ``name`` or ``name:argument,…`` (see :func:`~lrlora.registry.parse_spec`), or an instance.
            **kwargs: Passed to the factory.

        Raises:
            UnknownNameError, DuplicateNameError, BrokenPluginError: As in :meth:`get`.
            TypeError: The arguments do not fit the factory, or the result is not of the registry's class.
        """
        base = _import_target(self._base)
        if not isinstance(spec, str):
            if not isinstance(spec, base):
                given = f"the class {spec.__name__}" if isinstance(spec, type) else f"{type(spec).__name__} {spec!r}"
                raise TypeError(
                    f"a {self.kind} is a name or an instance of {base.__name__}, not {given} "
                    f"(known names: {', '.join(self.names())})"
                )
            if kwargs:
                raise TypeError(f"{self.kind} {spec!r} is an instance: its arguments {sorted(kwargs)} cannot be set")
            return cast("T", spec)
        name, arguments = parse_spec(spec)
        factory = self.get(name)
        try:
            inspect.signature(factory).bind(*arguments, **kwargs)
        except TypeError as error:
            # PEFT takes "got an unexpected keyword argument" for one of its own, and tries again without end.
            problem = str(error).removeprefix("got an ")
            raise TypeError(
                f"{self.kind} {spec!r}: {problem}; signature is {name}{inspect.signature(factory)}"
            ) from None
        except ValueError:  # a class written in C may have no signature to check against
            pass
        made = factory(*arguments, **kwargs)
        if not isinstance(made, base):
            raise TypeError(
                f"{self.kind} {name!r} ({self.entry(name).target}) makes a {type(made).__name__}, not a {base.__name__}"
            )
        return made

    def name_of(self, instance: T) -> str | None:
        """The name under which the class of ``instance`` is registered, or None."""
        target = f"{type(instance).__module__}:{type(instance).__qualname__}"
        return next((entry.name for entry in self if _same_object(entry.target, target)), None)


def required_arguments(factory: Callable[..., Any]) -> list[str]:
    """The names of the arguments that a class or factory cannot be called without."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    try:
        parameters = inspect.signature(factory).parameters.items()
    except ValueError:  # a class written in C may have no signature
        return []
    return [name for name, one in parameters if one.default is one.empty and one.kind not in several]


def _import_target(target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    found: Any = import_module(module_name)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _same_object(target: str, defined_at: str) -> bool:
    """Whether ``target`` is ``defined_at``, or its re-export by a package around it: ``"a:X"`` for ``"a.b:X"``."""
    module, _, attribute = target.partition(":")
    home, _, name = defined_at.partition(":")
    return attribute == name and (home == module or home.startswith(f"{module}."))


def _describe(entry: Entry) -> str:
    return f"{entry.target} ({entry.origin})"


def _source_of(factory: Callable[..., Any]) -> str:
    try:
        return inspect.getsourcefile(factory) or factory.__module__
    except (TypeError, OSError):  # a class that was typed into an interactive session has no file
        return factory.__module__
