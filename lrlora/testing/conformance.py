"""The checks of a plugin by one call: a basis, an engine, or a policy of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import lrlora.testing.basis_checks
import lrlora.testing.engine_checks
import lrlora.testing.policy_checks  # noqa: F401  # each of the three makes its checks known to checks_of
from lrlora.bases import BASES, Basis
from lrlora.engines import ENGINES, Engine
from lrlora.policies import KINDS
from lrlora.testing.checks import Outcome, require

Expected = Mapping[str, str] | None


def check_basis(
    basis: str | Basis, basis_kwargs: Mapping[str, Any] | None = None, expected_failures: Expected = None
) -> list[Outcome]:
    """Check that a basis does what engines, configs, saved adapters and studies rely on.

    Args:
        basis: A name or spec such as ``"bspline:1"``, or an instance.
        basis_kwargs: Options, where a name is given.
        expected_failures: Names of checks that will fail, each with the reason. One that passes is a failure.

    Returns:
        How each check ended.

    Raises:
        ConformanceError: With one line per failed check.
        UnknownNameError: No basis or no check has this name.
    """
    return require(BASES.create(basis, **(basis_kwargs or {})), expected_failures)


def check_engine(engine: str | Engine, expected_failures: Expected = None) -> list[Outcome]:
    """Check that an engine evaluates updates as the adapter relies on; see :func:`check_basis`.

    What it promises is read from its ``tolerance``. The messages of ``check_values`` and ``check_gradients`` hold the
    errors that were found.

    Raises:
        ImportError: hypothesis is not installed, which draws the layers.
    """
    return require(ENGINES.create(engine), expected_failures)


def check_policy(kind: str, policy: Any, expected_failures: Expected = None) -> list[Outcome]:
    """Check a policy, given by name, by spec or as an instance; see :func:`check_basis`.

    Args:
        kind: The field of :class:`lrlora.LRLoraConfig` that takes it.
        policy: Its name, its spec, or itself.
        expected_failures: Names of checks that will fail, each with the reason. One that passes is a failure.
    """
    return require(KINDS[kind].create(policy), expected_failures)


check_grid = partial(check_policy, "grid")
check_sharing = partial(check_policy, "sharing")
check_sharing_scope = partial(check_policy, "sharing_scope")
check_placement = partial(check_policy, "placement")
check_layer_choice = partial(check_policy, "layers")
check_rank_allocation = partial(check_policy, "rank_allocation")
check_amplitude_init = partial(check_policy, "amplitude_init")
check_bandwidth_init = partial(check_policy, "bandwidth_init")
check_positive_map = partial(check_policy, "bandwidth_parameterization")
check_input_scale = partial(check_policy, "input_scale")
