"""What no module does but those named here: each row says what to use instead.

A module that no longer needs its exception loses it: a name here that is not used fails too.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.source import ROOT, Module, modules

SUITES = {"testing/queue_contract.py", "testing/store_contract.py"}

# What is banned, what to use instead, and which modules may use it all the same.
BANNED: dict[str, tuple[str, set[str]]] = {
    "print": ("telemetry.log.log_event for the operator, click.echo in a command", set()),
    "breakpoint": ("a test", set()),
    "eval": ("a parser", set()),
    "exec": ("a function", set()),
    # The reader of checkpoints cuts the unpickler down to what plain data needs (ADR 49).
    "pickle": ("JSON; nothing is unpickled that came from outside", {"model/torch_file.py"}),
    "time.sleep": (
        "return the seconds to the next tick; only the runner sleeps",
        {"testing/queue_contract.py"},
    ),
    "asyncio.sleep": (
        "an event, or a tick",
        {"client/async_client.py", "web/submission/pending.py", "loadgen/engine.py", "loadgen/sender.py"},
    ),
    "time.time": ("the Clock that is an argument", {"clock.py", "testing/store_contract.py"}),
    "time.monotonic": (
        "the Clock that is an argument",
        {
            "clock.py",
            "queue/notifier.py",
            "queue/memory.py",
            "queue/sqlite.py",
            "loadgen/progress.py",
            "testing/queue_contract.py",
        },
    ),
    "time.perf_counter": (
        "the Clock that is an argument",
        {"loadgen/engine.py", "model/checking.py", "model/verification.py", "web/middleware.py"},
    ),
    "datetime.datetime.now": ("the Clock that is an argument", {"cli/load.py"}),
    "datetime.datetime.utcnow": ("the Clock that is an argument", set()),
    "os.environ": (
        "settings; they are read once and handed on",
        # AWS's own variables: profile, files of credentials, endpoint.
        {
            "cli/options.py",
            "client/access.py",  # used in programs that have no settings of ours
            "cli/service_manager.py",  # systemd's own variable
            "config/settings.py",
            "wiring/aws.py",
            "wiring/children.py",
            "wiring/draining.py",
        },
    ),
    "os.getenv": ("settings; they are read once and handed on", set()),
    "os.urandom": ("an argument", {"job/ids.py", *SUITES}),
    "random": (
        "an argument",
        {
            "client/async_client.py",
            "client/client.py",
            "loadgen/plan.py",
            "runner.py",
            "store/s3.py",
            "web/webhooks/ports.py",
        },
    ),
    "secrets": (
        "an argument",
        {
            "api_keys/records.py",
            "queue/notifier.py",
            "queue/memory.py",
            "queue/sqlite.py",
            "store/folder.py",
            "store/s3.py",
        },
    ),
    "uuid": ("beholder.job.new_job_id", {"loadgen/engine.py", "web/middleware.py"}),
    "subprocess.Popen": ("fleet.ChildSpec and the supervisor", {"fleet/process.py", "fleet/supervisor.py"}),
    "subprocess.run": ("fleet.ChildSpec and the supervisor", {"cli/systemd.py", "deploy/bundle.py"}),
    "os.system": ("fleet.ChildSpec and the supervisor", set()),
    "sys.exit": (
        "an error; the command line makes an exit status of it",
        {"cli/classify.py", "cli/demo.py", "cli/main.py", "cli/models.py"},
    ),
    "os._exit": ("an error; the command line makes an exit status of it", set()),
    "signal.signal": ("cli.worker.end_on_signals", {"cli/worker.py"}),
}

# The outermost places: no caller of theirs could log the error.
CATCH_ALL = {
    "runner.py",
    "web/middleware.py",
    "web/submission/batcher.py",
    "results/attempts.py",
    "web/webhooks/deliverer.py",
}


def uses(module: Module, name: str) -> bool:
    return any(re.fullmatch(rf"{re.escape(name)}(_ns)?(\..+)?", used) for used in module.uses)


@pytest.mark.parametrize("name", BANNED)
def test_only_the_listed_modules_use_it(name: str) -> None:
    instead, allowed = BANNED[name]
    using = {module.path for module in modules() if uses(module, name)}
    there = {module.path for module in modules()}
    assert not using - allowed, f"{name} is banned; use {instead}"
    assert not allowed & there - using, f"these no longer use {name}: take them from the table"


def catches_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)


def passes_on(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler ends by raising what it caught."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_only_the_outermost_places_catch_everything() -> None:
    catching = {
        module.path
        for module in modules()
        for handler in module.nodes(ast.ExceptHandler)
        if isinstance(handler, ast.ExceptHandler) and catches_all(handler) and not passes_on(handler)
    }
    assert catching == CATCH_ALL


def test_an_assertion_says_what_our_own_bug_is() -> None:
    """`assert` is for our own bugs and never for input; the contract suites are tests."""
    for module in modules():
        if not module.path.startswith("testing/"):
            for node in module.nodes(ast.Assert):
                assert isinstance(node, ast.Assert)
                assert node.msg is not None, f"{module.path}:{node.lineno}"


# --- concrete adapters --------------------------------------------------------------------------------------

PORTS = {"queue": "Queue", "store": "Store", "fleet": "Fleet", "model": "Classifier"}


def methods(node: ast.ClassDef) -> set[str]:
    """Return the public methods of a class; a property of a port may be an attribute of an adapter."""
    return {
        one.name
        for one in node.body
        if isinstance(one, ast.FunctionDef) and one.name[0] != "_" and not one.decorator_list
    }


def classes(room: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield every class of a room with its full name."""
    for module in modules():
        if module.path.startswith(f"{room}/"):
            for node in module.nodes(ast.ClassDef):
                assert isinstance(node, ast.ClassDef)
                yield f"beholder.{module.path.removesuffix('.py').replace('/', '.')}.{node.name}", node


@functools.cache
def adapters() -> dict[str, str]:
    """Return the module of every class that has all methods of its room's port, by the class's name."""
    found = {}
    for room, port in PORTS.items():
        there = dict(classes(room))
        needed = methods(there[f"beholder.{room}.port.{port}"])
        assert needed
        for full_name, node in there.items():
            module, _, name = full_name.rpartition(".")
            if name != port and needed <= methods(node):
                found[name] = module
    return found


def test_the_adapters_are_found_in_every_room() -> None:
    known = {
        *("SqliteQueue", "MemoryQueue", "SqsQueue"),
        *("FolderStore", "MemoryStore", "S3Store"),
        *("LocalFleet", "MemoryFleet", "Ec2Fleet"),
        *("OpenVinoClassifier", "OnnxRuntimeClassifier"),
    }
    assert known <= adapters().keys()


def test_wiring_alone_names_concrete_adapters() -> None:
    for module in modules():
        room = module.path.partition("/")[0]
        named = {
            target
            for target in module.imports.values()
            if target.startswith("beholder.")
            and (target.rpartition(".")[2] in adapters() or target in adapters().values())
        }
        foreign = {target for target in named if target.split(".")[1] != room}
        assert room == "wiring" or not foreign, f"{module.path}: take a port instead of {foreign}"


@pytest.mark.parametrize("setting", ["backend", "leave_by"])
def test_what_makes_deployments_differ_is_asked_in_one_function(setting: str) -> None:
    asking = [
        f"{module.path}:{node.lineno}"
        for module in modules()
        for node in module.nodes(ast.Compare)
        if isinstance(node, ast.Compare)
        and any(
            isinstance(one, ast.Attribute) and one.attr == setting for one in (node.left, *node.comparators)
        )
    ]
    assert len(asking) == 1, f"let the profile say it: {asking}"
    assert asking[0].startswith("wiring/")


def test_the_composition_root_is_short() -> None:
    (root,) = [module for module in modules() if module.path == "wiring/__init__.py"]
    assert root.text.count("\n") <= 60


# --- tests --------------------------------------------------------------------------------------------------

FAST = ("unit", "property", "tidy")


@pytest.mark.parametrize("folder", FAST)
def test_fast_tests_neither_sleep_nor_mock(folder: str) -> None:
    for module in modules(ROOT / "tests" / folder):
        assert not uses(module, "time.sleep"), f"{module.path}: use a ManualClock or an event"
        mocks = [one for one in ("mock", "pytest_mock", "unittest") if uses(module, one)]
        assert not mocks, f"{module.path}: write a fake by hand"


def test_every_test_file_is_named_so_that_it_runs() -> None:
    for path in Path(ROOT / "tests").rglob("*.py"):
        if re.search(r"^def test_", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert path.name.startswith("test_"), path
