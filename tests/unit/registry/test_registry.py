"""The seven rules of the registry, a test named after each, and what a registry does at the edges of them."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from importlib import metadata
from numbers import Number
from typing import Any

import pytest

from lrlora.registry import (
    BrokenPluginError,
    DuplicateNameError,
    Registry,
    UnknownNameError,
    required_arguments,
)
from lrlora.registry import (
    registry as registry_module,
)

THIRD = "from fractions import Fraction\nclass Third(Fraction): pass\n"


# -- rule 1: built-ins are a table of lazy strings -----------------------------------------------------------


def test_rule_1_builtins_are_imported_only_when_asked_for(
    write_module: Callable[[str], str], make_registry: Callable[..., Registry[Number]]
) -> None:
    module = write_module(THIRD)
    registry = make_registry({"third": f"{module}:Third"})

    assert registry.names() == ["third"]
    assert "third" in registry
    assert [entry.target for entry in registry] == [f"{module}:Third"]
    assert module not in sys.modules

    assert registry.get("third").__name__ == "Third"
    assert module in sys.modules


# -- rule 2: entry points ------------------------------------------------------------------------------------


def test_rule_2_entry_points_are_listed_with_their_origin_and_loaded_one_by_one(
    install: Callable[..., str], numbers: Registry[Number]
) -> None:
    first = install("thirds", THIRD, third="Third")
    second = install("tenths", THIRD.replace("Third", "Tenth"), tenth="Tenth")

    assert numbers.names() == ["decimal", "fraction", "tenth", "third"]
    assert numbers.entry("third").origin == "thirds 1.0"
    assert numbers.entry("third").target == f"{first}:Third"

    assert isinstance(numbers.create("third"), Fraction)
    assert first in sys.modules
    assert second not in sys.modules


def test_rule_2_entry_points_are_scanned_once(numbers: Registry[Number], monkeypatch: pytest.MonkeyPatch) -> None:
    scans = []

    def counted(**selection: str) -> Any:
        scans.append(selection)
        return metadata.entry_points(**selection)

    monkeypatch.setattr(registry_module, "entry_points", counted)
    for _ in range(3):
        numbers.names()
        numbers.get("fraction")
    assert scans == [{"group": "lrlora_test.numbers"}]


def test_rule_2_no_thread_sees_a_half_finished_scan(
    install: Callable[..., str], numbers: Registry[Number], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("thirds", THIRD, third="Third")
    scanning, go_on = threading.Event(), threading.Event()
    scans = []

    def slow(**selection: str) -> Any:
        scans.append(selection)
        scanning.set()
        assert go_on.wait(10)
        return metadata.entry_points(**selection)

    monkeypatch.setattr(registry_module, "entry_points", slow)
    seen: list[bool] = []
    threads = [threading.Thread(target=lambda: seen.append("third" in numbers)) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert scanning.wait(10)
    assert seen == []
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert seen == [True] * 8
    assert len(scans) == 1


def test_rule_2_a_scan_that_fails_is_tried_again(
    numbers: Registry[Number], install: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("thirds", THIRD, third="Third")

    def unreadable(**selection: str) -> Any:
        raise OSError("metadata on a lost network drive")

    with monkeypatch.context() as patch:
        patch.setattr(registry_module, "entry_points", unreadable)
        with pytest.raises(OSError, match="lost network drive"):
            numbers.names()
    assert "third" in numbers


# -- rule 3: the decorator -----------------------------------------------------------------------------------


def test_rule_3_the_decorator_registers_and_returns_the_class(numbers: Registry[Number]) -> None:
    @numbers.register("half")
    class Half(Fraction):
        pass

    assert Half.__name__ == "Half"
    assert numbers.get("half") is Half
    assert numbers.entry("half").origin == __file__
    assert isinstance(numbers.create("half", numerator=1, denominator=2), Half)


def test_rule_3_functions_are_factories_too(numbers: Registry[Number]) -> None:
    @numbers.register("percent")
    def percent(count: int) -> Fraction:
        return Fraction(count, 100)

    assert numbers.create("percent:25") == Fraction(1, 4)


@pytest.mark.parametrize("name", ["", "two words", "a:b", "a,b", "a=b", None, 3])
def test_rule_3_a_name_that_no_spec_could_hold_is_refused(numbers: Registry[Number], name: Any) -> None:
    with pytest.raises(ValueError, match="number is registered under a non-empty name"):
        numbers.register(name)


def test_rule_3_a_class_typed_into_an_interactive_session_can_be_registered() -> None:
    code = """
from lrlora.registry import Registry
numbers = Registry("number", group="lrlora_test.numbers", builtins={}, base="numbers:Number")
for _ in range(2):  # a cell that is run again
    @numbers.register("half")
    class Half(int): pass
assert numbers.get("half") is Half
print(numbers.entry("half").origin)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "__main__"), ran.stderr


# -- rule 4: one origin for one name -------------------------------------------------------------------------


def test_rule_4_two_origins_are_an_error_that_names_both(numbers: Registry[Number]) -> None:
    with pytest.raises(DuplicateNameError) as caught:

        @numbers.register("fraction")
        class Mine(Fraction):
            pass

    assert "fractions:Fraction (built-in)" in str(caught.value)
    assert "Mine" in str(caught.value)
    assert __file__ in str(caught.value)
    assert numbers.get("fraction") is Fraction


def test_rule_4_registering_the_same_origin_again_is_fine_and_the_newest_counts(numbers: Registry[Number]) -> None:
    made = []
    for _ in range(2):

        @numbers.register("half")
        class Half(Fraction):
            pass

        made.append(Half)
    assert numbers.get("half") is made[-1] is not made[0]


def test_rule_4_clashing_packages_are_told_to_whoever_asks_for_that_name_alone(
    install: Callable[..., str], numbers: Registry[Number]
) -> None:
    install("thirds", THIRD, third="Third", fine="Third")
    install("other-thirds", THIRD, third="Third")

    assert "third" in numbers.names()
    assert numbers.get("fine").__name__ == "Third"
    for _ in range(2):
        with pytest.raises(DuplicateNameError, match=r"thirds 1\.0") as caught:
            numbers.create("third")
        assert "other-thirds 1.0" in str(caught.value)


def test_rule_4_a_clash_outlasts_the_import_of_one_of_the_two(
    install: Callable[..., str], numbers: Registry[Number]
) -> None:
    module = install("thirds", THIRD, third="Third", fine="Third")
    install("other-thirds", THIRD, third="Third")
    first = numbers.get("fine")
    if first.__module__ == module:  # as a module does that also decorates its class
        numbers.register("fine")(first)
    target = numbers.entry("third").target
    loaded = __import__(target.partition(":")[0])
    numbers.register("third")(loaded.Third)
    with pytest.raises(DuplicateNameError):
        numbers.get("third")


def test_rule_4_a_package_may_name_its_own_builtin_again_but_not_another_ones(
    install: Callable[..., str], make_registry: Callable[..., Registry[Number]]
) -> None:
    module = install("thirds", THIRD, third="Third", fraction="Third")
    registry = make_registry({"third": f"{module}:Third", "fraction": "fractions:Fraction"})
    assert registry.get("third").__name__ == "Third"
    with pytest.raises(DuplicateNameError, match=r"fractions:Fraction \(built-in\) and by .*thirds 1\.0"):
        registry.get("fraction")


def test_rule_4_an_entry_point_may_name_the_re_export_of_a_decorated_class(numbers: Registry[Number]) -> None:
    def define(module: str) -> type[Fraction]:
        return type("Third", (Fraction,), {"__module__": module})

    numbers.register("third")(define("thirds"))
    inner = numbers.register("third")(define("thirds.implementation"))
    assert numbers.get("third") is inner
    assert numbers.name_of(inner()) == "third"
    with pytest.raises(DuplicateNameError):
        numbers.register("third")(define("thirdsome.implementation"))


# -- rule 5: a broken plugin ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "cause", "message"),
    [
        ("import no_such_module_anywhere", ModuleNotFoundError, "no_such_module_anywhere"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("def", SyntaxError, "SyntaxError"),
        ("raise SystemExit(3)", SystemExit, "SystemExit: 3"),
        ("pass", AttributeError, "Third"),
        ("Third = 3", TypeError, "cannot be called"),
        ("raise ValueError('many\\n   lines')", ValueError, "many lines"),
    ],
)
def test_rule_5_a_broken_plugin_stays_listed_and_raises_with_its_cause_only_when_asked_for(
    install: Callable[..., str], numbers: Registry[Number], code: str, cause: type[BaseException], message: str
) -> None:
    install("thirds", code, third="Third")

    assert "third" in numbers.names()
    assert numbers.entry("third").origin == "thirds 1.0"
    assert numbers.create("fraction:1") == 1
    with pytest.raises(BrokenPluginError, match=message) as caught:
        numbers.create("third")
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, cause)
    assert "number 'third' from thirds 1.0" in str(caught.value)
    assert "\n" not in str(caught.value)


# -- rule 6: an unknown name ---------------------------------------------------------------------------------


def test_rule_6_an_unknown_name_gives_the_closest_then_all_then_how_to_add(numbers: Registry[Number]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        numbers.create("fractoin:3")
    assert str(caught.value) == (
        "unknown number 'fractoin'; did you mean 'fraction'? (known: decimal, fraction); "
        "install or import the plugin that has it, or add one with @register or an entry point in 'lrlora_test.numbers'"
    )
    assert not isinstance(caught.value, KeyError)
    assert (caught.value.nearest, caught.value.known) == ("fraction", ["decimal", "fraction"])


def test_rule_6_nothing_is_suggested_where_nothing_is_near(numbers: Registry[Number]) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown number 'zzz' \(known: decimal, fraction\)"):
        numbers.get("zzz")


def test_rule_6_an_empty_registry_says_so(make_registry: Callable[..., Registry[Number]]) -> None:
    with pytest.raises(UnknownNameError, match=r"\(known: none\)"):
        make_registry({}).entry("fraction")


# -- rule 7: names and instances -----------------------------------------------------------------------------


def test_rule_7_wherever_a_name_is_accepted_an_instance_is_too(numbers: Registry[Number]) -> None:
    third = Fraction(1, 3)
    assert numbers.create(third) is third
    assert numbers.create("fraction:1,3") == third
    assert numbers.create("fraction", numerator=1, denominator=3) == third
    assert numbers.create("fraction:1", denominator=3) == third


def test_rule_7_what_is_neither_is_refused(numbers: Registry[Number]) -> None:
    with pytest.raises(TypeError, match=r"a number is a name or an instance of Number, not list \[\]"):
        numbers.create([])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"not the class Fraction \(known names: decimal, fraction\)"):
        numbers.create(Fraction)  # type: ignore[arg-type]


def test_rule_7_an_instance_takes_no_arguments(numbers: Registry[Number]) -> None:
    with pytest.raises(TypeError, match=r"\['denominator'\] cannot be set"):
        numbers.create(Fraction(1, 3), denominator=4)


def test_arguments_that_do_not_fit_are_answered_with_the_signature(numbers: Registry[Number]) -> None:
    @numbers.register("percent")
    def percent(count: int) -> Fraction:
        return Fraction(count, 100)

    with pytest.raises(TypeError, match=r"number 'percent:1,2': too many .*; signature is percent\(count"):
        numbers.create("percent:1,2")
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'total'"):
        numbers.create("percent:1", total=2)


def test_an_error_inside_a_factory_is_its_own(numbers: Registry[Number]) -> None:
    with pytest.raises(ZeroDivisionError):
        numbers.create("fraction:1,0")


def test_a_factory_must_make_what_the_registry_serves(numbers: Registry[Number]) -> None:
    numbers.register("word")(str)
    with pytest.raises(TypeError, match=r"number 'word' \(builtins:str\) makes a str, not a Number"):
        numbers.create("word:3")


# -- around the rules ----------------------------------------------------------------------------------------


def test_the_name_of_an_instance_is_found_again(numbers: Registry[Number]) -> None:
    assert numbers.name_of(Fraction(1, 3)) == "fraction"
    assert numbers.name_of(Decimal(1)) == "decimal"
    assert numbers.name_of(3) is None  # type: ignore[arg-type]


def test_iterating_while_something_is_registered(numbers: Registry[Number]) -> None:
    for entry in numbers:
        if not entry.name.startswith("again_"):
            numbers.register(f"again_{entry.name}")(Fraction)
    assert numbers.names() == ["again_decimal", "again_fraction", "decimal", "fraction"]


@pytest.mark.parametrize(
    "error",
    [
        UnknownNameError("number", "fractoin", ["fraction"], "add one"),
        DuplicateNameError("number", "third", "here", "there"),
        BrokenPluginError("number", "third", "thirds 1.0", ZeroDivisionError("division by zero")),
    ],
)
def test_errors_keep_type_and_message_across_processes(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_complete_names_need_no_argument(numbers: Registry[Number]) -> None:
    @numbers.register("halved")
    def halved(of: int, *others: int, **options: int) -> Fraction:
        return Fraction(of, 2)

    assert "halved" in numbers
    assert numbers.complete_names() == ["decimal", "fraction"]
    assert required_arguments(halved) == ["of"]
