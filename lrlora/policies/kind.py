"""A kind of policy. Each is described once, beside its abstract class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lrlora.bases.options import plain_numbers
from lrlora.registry import Entry, Registry

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class PolicyKind(Registry[T]):
    """The registry of one kind of policy, and what configs, commands, checks and pages need to know of the kind.

    Args:
        base: The class that every policy of the kind is of.
        field: The field of :class:`lrlora.LRLoraConfig` that takes one; messages call the kind so.
        group: Entry-point group that third parties use.
        check: Name of the function in :mod:`lrlora.testing` that checks one.
        default: Default of the field; None: the preset decides.
        about: Help text of the field.
        shorthand: What a plain value that is no spec stands for, such as a number; None where it stands for nothing.
    """

    def __init__(
        self,
        base: type,
        *,
        field: str,
        group: str,
        check: str,
        default: Any,
        about: str,
        shorthand: Callable[[Any], T | None] = lambda value: None,
    ) -> None:
        super().__init__(field, group=group, builtins={}, base=f"{base.__module__}:{base.__qualname__}")
        self.about, self.check, self.default = about, check, default
        self._shorthand = shorthand

    @property
    def field(self) -> str:
        """The field of a config that takes a policy of this kind."""
        return self.kind

    def builtin(self, name: str) -> Callable[[F], F]:
        """Decorator for the classes and functions of this package."""

        def add(factory: F) -> F:
            target = f"{factory.__module__}:{factory.__qualname__}"
            self._add(Entry(name, "built-in", target, lambda: factory))
            return factory

        return add

    def short(self, name: str, spec: str, about: str) -> None:
        """Adds a name for a spec of this kind, described by ``about``."""

        def factory() -> T:
            return self.create(spec)

        factory.__doc__ = about
        self._add(Entry(name, "built-in", f"{self.kind}:{spec}", lambda: factory))

    def create(self, spec: Any, /, **kwargs: Any) -> T:
        """A policy from a spec, from an instance, or from what is short for one; see :meth:`Registry.create`.

        Raises:
            UnknownNameError, DuplicateNameError, BrokenPluginError, TypeError: As :meth:`Registry.create`.
            ValueError: Its options are not valid.
        """
        value = plain_numbers(spec)
        meant = None if isinstance(value, str) else self._shorthand(value)
        return super().create(value if meant is None else meant, **kwargs)
