"""The numbers of the house style; they may be lowered, never raised."""

import ast
import re
import tomllib
from typing import Any

import pytest

from helpers.source import ROOT, Module, modules

FUNCTION_LINES_MAX = 50
COMPLEXITY_MAX = 10
FILE_LINES_MAX = 400
PORT_METHODS_MAX = 6
NAMES_MAX = 12


@pytest.fixture(scope="module")
def ruff() -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    return settings


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return a function's lines without its docstring: a longer explanation is no longer function."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_a_function_fits_on_a_page() -> None:
    long = {
        f"{module.path}:{node.lineno} {node.name}": code_lines(node)
        for module in modules()
        for node in module.nodes(ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) > FUNCTION_LINES_MAX
    }
    assert not long, f"split these functions, {FUNCTION_LINES_MAX} lines at most"


def test_a_file_can_be_read_in_one_sitting() -> None:
    long = {module.path: module.text.count("\n") for module in modules()}
    assert not {path: lines for path, lines in long.items() if lines > FILE_LINES_MAX}, "make two rooms of it"


def test_a_port_is_small() -> None:
    methods = {
        node.name: sum(isinstance(one, ast.FunctionDef) for one in node.body)
        for module in modules()
        for node in module.nodes(ast.ClassDef)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).partition("[")[0] in ("Protocol", "typing.Protocol") for base in node.bases)
    }
    assert {"Queue", "Store", "Classifier", "Clock"} <= methods.keys()
    assert not {name: count for name, count in methods.items() if count > PORT_METHODS_MAX}


def offered(module: Module) -> list[str] | None:
    """Return what a module says that it offers; None where it says nothing."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == ["__all__"]:
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def test_a_module_says_what_it_offers() -> None:
    silent, many = [], []
    for module in modules():
        names = offered(module)
        # What is nothing but a docstring, or only runs the command line, offers nothing.
        is_empty = all(isinstance(node, ast.Expr | ast.Import | ast.ImportFrom) for node in module.tree.body)
        if names is None and not is_empty:
            silent.append(module.path)
        if names is not None and not 1 <= len(names) <= NAMES_MAX:
            many.append((module.path, len(names)))
    assert not silent, "say what is public in __all__"
    assert not many, f"a module offers 1 to {NAMES_MAX} names"


def test_private_names_stay_in_their_module() -> None:
    taken = [
        (module.path, target)
        for module in modules()
        for target in module.imports.values()
        if target.startswith("beholder.") and re.search(r"\._[a-z]", target, re.IGNORECASE)
    ]
    assert not taken


def test_a_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for module in modules():
        for node in module.nodes(ast.ClassDef):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module.path)
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}, (
        "rename the less general one"
    )


def test_memory_is_the_name_of_adapters_alone() -> None:
    found = {module.path for module in modules() if module.path.rpartition("/")[2] == "memory.py"}
    assert found == {"queue/memory.py", "store/memory.py", "fleet/memory.py"}, (
        "these are adapters; name others apart"
    )


def test_every_module_has_a_docstring() -> None:
    assert not [module.path for module in modules() if not ast.get_docstring(module.tree)]


def says_something_of_an_argument(function: ast.FunctionDef) -> bool:
    text = ast.get_docstring(function) or ""
    names = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
    return "\nArgs:" in text or any(f"`{name}`" in text for name in names)


def test_a_constructor_has_no_filler_for_a_docstring() -> None:
    filler = [
        f"{module.path}:{node.lineno}"
        for module in modules()
        for node in module.nodes(ast.FunctionDef)
        if isinstance(node, ast.FunctionDef)
        and node.name == "__init__"
        and ast.get_docstring(node)
        and not says_something_of_an_argument(node)
    ]
    assert not filler, "say something of an argument in `backticks` or under Args, or delete the docstring"


def test_ruff_counts_complexity(ruff: dict[str, Any]) -> None:
    assert ruff["select"] == ["ALL"]
    assert ruff["mccabe"]["max-complexity"] <= COMPLEXITY_MAX
    ignored = {*ruff["ignore"], *(rule for rules in ruff["per-file-ignores"].values() for rule in rules)}
    assert not ignored & {"C", "C9", "C90", "C901"}


def test_no_function_is_excused_from_being_simple() -> None:
    excuse = re.compile(r"# noqa.*\b(C901|PLR0911|PLR0912|PLR0915)\b")
    assert not [module.path for module in modules() if excuse.search(module.text)]


def test_every_rule_that_is_left_out_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("\nignore = [") : text.index("[tool.ruff.lint.per-file-ignores]")]
    rules = [line for line in block.splitlines()[2:] if line.strip().startswith('"')]
    assert rules
    assert all("#" in line for line in rules)


def test_every_exception_to_a_rule_is_named() -> None:
    nameless = re.compile(r"# noqa(?!:)|# type: ignore(?!\[)")
    assert not [module.path for module in modules() if nameless.search(module.text)]
