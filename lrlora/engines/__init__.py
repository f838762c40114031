"""How ΔW = s_out · f(s_in · BA) is evaluated, behind :class:`Engine`.

A basis author writes plain PyTorch and gets every engine: an engine sees a basis through its values at a few points.

========== ==================================================================================================
name       evaluates
========== ==================================================================================================
auto       by the cheapest of the following that meets the tolerance
monomials  a low-rank product over leading monomials of the factors; the alias ``factored`` is of version 0.1.0
polynomial a polynomial, entry by entry
tabulated  a table, entry by entry
direct     the definition, by autograd; the reference
========== ==================================================================================================
"""

from lrlora.engines.engine import Engine
from lrlora.engines.plan import Plan
from lrlora.registry import Registry

ENGINES: Registry[Engine] = Registry(
    "engine",
    group="lrlora.engines",
    base="lrlora.engines.engine:Engine",
    builtins={
        "auto": "lrlora.engines.select:AutoEngine",
        "direct": "lrlora.engines.direct:DirectEngine",
        "factored": "lrlora.engines.select:MonomialEngine",
        "monomials": "lrlora.engines.select:MonomialEngine",
        "polynomial": "lrlora.engines.select:PolynomialEngine",
        "tabulated": "lrlora.engines.select:TabulatedEngine",
    },
)

__all__ = ["ENGINES", "Engine", "Plan"]
