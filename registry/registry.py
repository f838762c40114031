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
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

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
        self._scanned = False
        for name, target in builtins.items():
            self._add(Entry(name, "built-in", target, lambda target=target: _import_target(target)))

    # -- adding ---------------------------------------------------------------------------------------------

    def register(self, name: str) -> Callable[[F], F]:
        """Decorator that adds a class or factory under ``name`` (rule 3)."""
        if not isinstance(name, str) or not name or any(c in name for c in ":,= \t\n"):
            raise ValueError(f"a {self.kind} is registered under a non-empty name without ' :,=', not {name!r}")

        def add(factory: F) -> F:
            target = f"{factory.__module__}:{factory.__qualname__}"
            with self._lock:
                self._scan()
                self._add(Entry(name, _source_of(factory), target, lambda: factory))
            return factory

        return add

    def _add(self, entry: Entry) -> None:
        known = self._entries.get(entry.name)
        if known is not None:
            # An installed plugin that also decorates its class, or a notebook cell that is run again, names the same
            # object twice: one origin, of which the newest definition counts.
            if known.target != entry.target:
                raise DuplicateNameError(
                    self.kind, entry.name, f"{known.target} ({known.origin})", f"{entry.target} ({entry.origin})"
                )
            entry = replace(entry, origin=known.origin)
        self._entries[entry.name] = entry

    def _scan(self) -> None:
        with self._lock:
            if self._scanned:
                return
            self._scanned = True
            for point in entry_points(group=self.group):
                dist = point.dist
                origin = f"{dist.name} {dist.version}" if dist is not None else "an unnamed distribution"
                try:
                    self._add(Entry(point.name, origin, point.value.replace(" ", ""), point.load))
                except DuplicateNameError as conflict:
                    # Two installed packages clash: whoever asks for that name is told, nobody else is in the way.
                    self._entries[point.name] = replace(
                        self._entries[point.name], origin="two origins", load=_raiser(conflict)
                    )

    # -- looking up -----------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All names, sorted, broken ones included."""
        self._scan()
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        self._scan()
        return name in self._entries

    def __iter__(self) -> Iterator[Entry]:
        """The entries in order of name, without importing any."""
        return (self._entries[name] for name in self.names())

    def entry(self, name: str) -> Entry:
        """The entry called ``name``.

        Raises:
            UnknownNameError: With the closest match, all names, and how to add one (rule 6).
        """
        self._scan()
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise UnknownNameError(
                self.kind, str(name), self._entries, f"add one with @register or an entry point in {self.group!r}"
            ) from None

    def get(self, name: str) -> Callable[..., T]:
        """The class or factory called ``name``, imported now.

        Raises:
            UnknownNameError: No such name.
            BrokenPluginError: It is listed but does not import; the cause is chained (rule 5).
        """
        entry = self.entry(name)
        try:
            factory = entry.load()
        except DuplicateNameError:
            raise
        except Exception as cause:
            raise BrokenPluginError(self.kind, name, entry.origin, cause) from cause
        if not callable(factory):
            cause = TypeError(f"{entry.target} is {factory!r}, which cannot be called")
            raise BrokenPluginError(self.kind, name, entry.origin, cause)
        return factory  # type: ignore[no-any-return]

    def create(self, spec: str | T, /, **kwargs: Any) -> T:
        """An instance, from a spec such as ``"bspline"`` or ``"small:0.02"``, or the instance that was passed.

        Args:
            spec: ``name`` or ``name:argument,…`` (see :func:`~lrlora.registry.parse_spec`), or an instance.
            **kwargs: Passed to the factory.

        Raises:
            UnknownNameError, BrokenPluginError: As in :meth:`get`.
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
                raise TypeError(f"{self.kind} {spec!r} is an instance already: arguments {sorted(kwargs)} cannot be set")
            return spec
        name, arguments = parse_spec(spec)
        factory = self.get(name)
        try:
            bound = inspect.signature(factory).bind(*arguments, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.kind} {spec!r}: {error}; signature is {name}{inspect.signature(factory)}") from None
        made = factory(*bound.args, **bound.kwargs)
        if not isinstance(made, base):
            raise TypeError(f"{self.kind} {name!r} ({self.entry(name).target}) makes a {type(made).__name__}, not a {base.__name__}")
        return made  # type: ignore[no-any-return]

    def name_of(self, instance: T) -> str | None:
        """The name under which the class of ``instance`` is registered, or None."""
        target = f"{type(instance).__module__}:{type(instance).__qualname__}"
        return next((entry.name for entry in self if entry.target == target), None)


def _import_target(target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    found: Any = import_module(module_name)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _raiser(error: Exception) -> Callable[[], Any]:
    def load() -> Any:
        raise error

    return load


def _source_of(factory: Callable[..., Any]) -> str:
    try:
        return inspect.getsourcefile(factory) or factory.__module__
    except TypeError:  # a class of __main__ in an interactive session has no file
        return factory.__module__
