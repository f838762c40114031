"""How ΔW = s_out · f(s_in · BA) is evaluated. One engine, one file, behind :class:`Engine`.

A basis author writes plain PyTorch and gets all of them: an engine sees a basis through its values at a few nodes.
"""

from lrlora.engines.engine import Engine, EngineError
from lrlora.registry import Registry

ENGINES: Registry[Engine] = Registry(
    "engine",
    group="lrlora.engines",
    base="lrlora.engines.engine:Engine",
    builtins={
        "auto": "lrlora.engines.auto:AutoEngine",
        "direct": "lrlora.engines.direct:DirectEngine",
        "factored": "lrlora.engines.factored:FactoredEngine",
        "polynomial": "lrlora.engines.polynomial:PolynomialEngine",
        "tabulated": "lrlora.engines.tabulated:TabulatedEngine",
    },
)

__all__ = ["ENGINES", "Engine", "EngineError"]
