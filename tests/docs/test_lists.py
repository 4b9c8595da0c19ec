"""Lists in the pages hold what the code has: nothing else, and all of it."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from beholder import __version__
from beholder.config import DECLARED
from beholder.model.folder import GRAPH_FILE, LABELS_FILE, MODEL_FILE, is_model_name
from beholder.model.preprocessing_table import read_preprocessing
from beholder.model.verification import REPORT_FILE
from beholder.web.limits import WebLimits
from beholder.web.openapi.errors import visible_errors
from docs.pages import PAGES, ROOT, blocks, column, prose, read, table
from helpers.service import RunningService
from helpers.source import SRC, modules

SETTINGS = set(DECLARED)
SOURCES = sorted((ROOT / "src").rglob("*.py"))
ARCHITECTURE = "docs/architecture.md"
PYPROJECT = tomllib.loads(read("pyproject.toml"))


# --- errors -------------------------------------------------------------------------------------------------


def test_the_error_codes_are_those_that_a_caller_may_meet() -> None:
    stated = [(row[0].strip("`"), int(row[1])) for row in table(read("docs/http-api.md"), "code")]
    assert len(stated) == len({code for code, _ in stated})
    assert dict(stated) == {error.code: error.http_status for error in reversed(visible_errors())}


def test_a_status_and_its_code_are_named_together_rightly() -> None:
    codes = {(error.http_status, error.code) for error in visible_errors()}
    for page in PAGES:
        for status, code in re.findall(r"\b([45]\d\d) `([a-z_]+)`", page.read_text(encoding="utf-8")):
            assert (int(status), code) in codes, page.name


# --- settings -----------------------------------------------------------------------------------------------


def test_the_settings_that_tables_name_exist() -> None:
    stated = column(read("docs/operations.md"), "setting")
    bounds = column(read("docs/architecture.md"), "bound", 1)
    assert len(stated) > 5
    assert len(bounds) > 4
    assert {*stated, *bounds} <= SETTINGS


def test_the_variables_that_pages_name_exist() -> None:
    known = {f"BEHOLDER_{name.upper()}" for name in SETTINGS} | {"BEHOLDER_CONFIG", "BEHOLDER_API_KEY"}
    for page in PAGES:
        assert set(re.findall(r"\bBEHOLDER_\w+", page.read_text(encoding="utf-8"))) <= known, page.name


# --- limits -------------------------------------------------------------------------------------------------


def test_every_limit_is_in_the_tables_of_the_page() -> None:
    assert set(column(read("docs/http-api.md"), "limit")) == WebLimits().to_dict().keys()


def test_what_bounds_a_connection_is_a_limit_and_no_constant() -> None:
    """The exceptions bound no client: the parser's portions, the log, and who may read that all is full."""
    found = {
        node.targets[0].id
        for name in ("protocol", "registry", "head", "lingering")
        for node in ast.parse(read(f"src/beholder/web/connections/{name}.py")).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and not isinstance(node.value.value, str | bytes)
    }
    assert found == {"_PIECE_BYTES", "_LOG_EVERY_S", "_REFUSED_OPEN_MAX"}


# --- what the service shows ---------------------------------------------------------------------------------


def test_the_endpoints_are_those_that_are_served(service: RunningService) -> None:
    assert sorted(column(read("docs/http-api.md"), "endpoint")) == sorted(service.get("/").json["endpoints"])


def test_the_metrics_are_those_that_are_exposed(service: RunningService) -> None:
    exposed = re.findall(
        r"^# TYPE (beholder_\w+) (\w+)$", service.get("/metrics").body.decode(), re.MULTILINE
    )
    kinds = {name: kind for name, kind in exposed if not name.endswith("_created")}
    rows = table(read("docs/operations.md"), "metric")
    assert {row[0].strip("`"): row[1] for row in rows} == kinds


def test_the_data_folder_holds_what_is_told(service: RunningService) -> None:
    told = column(read("docs/operations.md"), "path")
    found = {entry.name for entry in service.data_dir.iterdir()}
    assert {name.partition("/")[0] for name in told} >= found


# --- logs ---------------------------------------------------------------------------------------------------


def actions() -> Iterator[str]:
    """Yield the action of every log line in the sources; `<part>` stands for what is put in at run time."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            value: ast.expr | None = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "log_event":
                value = node.args[2]
            elif isinstance(node, ast.Dict):
                keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
                value = node.values[keys.index("action")] if "action" in keys else None
            if isinstance(value, ast.Constant):
                yield str(value.value)
            elif isinstance(value, ast.JoinedStr):
                yield "<part>" + str(getattr(value.values[-1], "value", ""))


def test_the_log_actions_are_those_that_are_written() -> None:
    assert sorted(column(read("docs/operations.md"), "action")) == sorted(set(actions()))


# --- exit statuses ------------------------------------------------------------------------------------------


def exit_statuses(path: Path) -> set[int]:
    """Return the statuses with which a module ends its process, by `sys.exit` or click's `exit`."""
    return {
        number.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "exit"
        for number in ast.walk(node)
        if isinstance(number, ast.Constant) and isinstance(number.value, int)
    }


def test_the_exit_statuses_are_those_of_the_command_line() -> None:
    page = read("docs/operations.md")
    used = {path.stem: statuses for path in (SRC / "cli").glob("*.py") if (statuses := exit_statuses(path))}
    assert {int(status) for status in column(page, "status")} == {0} | used.pop("main")
    own = {name.removeprefix("beholder ") for name in column(page, "command")}
    assert own == used.keys()
    assert all(statuses - {0} == {1} for statuses in used.values())


# --- words, models, versions --------------------------------------------------------------------------------


def test_the_names_in_the_glossary_exist_in_the_code() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    named = column(read("docs/GLOSSARY.md"), "word")
    assert len(named) > 20
    assert [name for name in named if not re.search(rf"\b{re.escape(name)}\b", code)] == []


def test_the_example_of_a_model_folder_is_one() -> None:
    page = read("docs/models.md")
    (example,) = [tomllib.loads(block.text) for block in blocks(page) if block.language == "toml"]
    builtin = ROOT / "src/beholder/model/builtin/efficientnet-lite0" / MODEL_FILE
    problems: list[str] = []
    assert set(example) == set(tomllib.loads(builtin.read_text(encoding="utf-8")))
    assert read_preprocessing(example["preprocessing"], problems) is not None
    assert problems == []
    assert is_model_name(example["name"])
    assert column(page, "file") == [GRAPH_FILE, LABELS_FILE, MODEL_FILE, REPORT_FILE]


def test_the_changelog_tells_of_this_version() -> None:
    assert re.search(rf"^## .*\b{re.escape(__version__)}\b", read("CHANGELOG.md"), re.MULTILINE)


# --- rooms, ports and places --------------------------------------------------------------------------------


def rooms() -> set[str]:
    return {path.parent.name for path in SRC.glob("*/__init__.py")}


def ports() -> dict[str, set[str]]:
    """Return the methods of each room's port, without properties, which may be attributes of an adapter."""
    return {
        module.path: {
            one.name for one in node.body if isinstance(one, ast.FunctionDef) and not one.decorator_list
        }
        for module in modules()
        if re.fullmatch(r"\w+/port\.py", module.path)
        for node in module.nodes(ast.ClassDef)
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
    }


def adapters(port: str, methods: set[str]) -> set[str]:
    """Return the files beside a port that have a class with its methods."""
    return {
        module.path
        for module in modules()
        if module.path != port and module.path.rpartition("/")[0] == port.rpartition("/")[0]
        for node in module.nodes(ast.ClassDef)
        if isinstance(node, ast.ClassDef)
        and methods <= {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
    }


def test_every_room_is_described() -> None:
    assert set(column(read(ARCHITECTURE), "room")) == rooms()


def test_the_layers_are_those_that_are_linted() -> None:
    (shown,) = (block.text for block in blocks(read(ARCHITECTURE)) if block.text.startswith("cli\n"))
    (linted,) = (
        one["layers"] for one in PYPROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers"
    )
    assert shown.split("\n")[:-1] == linted


def test_the_table_of_ports_has_every_port() -> None:
    assert (
        set(column(read(ARCHITECTURE), "port"))
        == ports().keys()
        >= {"queue/port.py", "store/port.py", "fleet/port.py"}
    )


@pytest.mark.parametrize("port", ports())
def test_the_table_of_ports_has_every_adapter(port: str) -> None:
    listed = {
        name for name in column(read(ARCHITECTURE), "port", 2) if name.startswith(port.rpartition("/")[0])
    }
    assert listed == adapters(port, ports()[port]) != set()


def test_the_suites_run_on_the_ports_that_the_page_says() -> None:
    suites = {path.name.removesuffix("_contract.py") for path in (SRC / "testing").glob("*_contract.py")}
    assert suites == {"queue", "priority", "store", "fleet"}


def exists(path: str) -> bool:
    """Say whether a path lies in the repository, or below the package, as the pages abbreviate it."""
    return (ROOT / path).exists() or (SRC / path).exists() or path in OUTSIDE


# What the pages name that is no file of the repository: files of a user, of a service, or of a tool.
OUTSIDE = {"openvino/__init__.py", "torchvision/models/resnet.py"}


def test_the_places_to_change_exist() -> None:
    places = column(read(ARCHITECTURE), "to change", 1)
    assert len(places) > 20
    assert [path for path in places if not exists(path)] == []


# A decision record describes its own time, and a change log every time.
OF_TODAY = [page for page in PAGES if "adr" not in page.parts and page.name != "CHANGELOG.md"]


@pytest.mark.parametrize("page", OF_TODAY, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_file_of_python_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", prose(page.read_text(encoding="utf-8")))
    assert [path for path in named if not exists(path)] == []


# --- tests --------------------------------------------------------------------------------------------------


def test_the_tests_that_answer_complaints_exist() -> None:
    rows = table(read("docs/deploy.md"), "number")
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [row[0] for row in rows] == [str(number) for number in range(1, 21)]
    for _, complaint, _, answers in rows:
        named = re.findall(r"`(test_\w+)`", answers)
        assert named, complaint
        assert [name for name in named if f"def {name}(" not in tests] == [], complaint
