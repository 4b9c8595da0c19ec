"""What `beholder deploy` and `beholder upgrade` share: plan, question, change, and first steps after it."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from beholder.api_keys import KeyScope, create_key, list_keys
from beholder.cli.canary import CANARY, Canary
from beholder.cli.host_name import missing_record
from beholder.cli.options import open_backends
from beholder.clock import SystemClock
from beholder.deploy.account import Account
from beholder.deploy.bundle import build_bundle, read_models
from beholder.deploy.bundle_bucket import BundleBucket
from beholder.deploy.deploy import Deploy
from beholder.deploy.doctor import Finding, Level, check_before
from beholder.deploy.doctor.access import check_access
from beholder.deploy.find import find_deployment
from beholder.deploy.plan import Plan
from beholder.deploy.stack import Stack
from beholder.deploy.waiting import Waiting
from beholder.errors import ConfigError, DeployError
from beholder.model.registry import BUILTIN_MODEL

__all__ = ["Deploying"]

_FIRST_KEY = "first"


@dataclass(frozen=True, kw_only=True)
class Deploying:
    """One run of a command that makes or changes a deployment.

    Args:
        account: Where it is.
        name: Its name.
        folders: Of models that the bundle takes along; those of the running version where there are none.
        python: Version of the image's `python3`.
    """

    account: Account
    name: str
    folders: Sequence[Path] = ()
    python: str

    def run(
        self,
        make_plan: Callable[[], Plan],
        *,
        is_plan: bool = False,
        must_exist: bool = False,
        yes: bool = False,
        rollback: bool = False,
        drain: bool = False,
    ) -> None:
        """Show the plan, ask, and carry it out.

        Args:
            make_plan: Reads the account.
            is_plan: Whether showing it is all.
            must_exist: Whether the deployment has to be there already.
            yes: Whether nothing is asked.
            rollback: Whether the version before comes back.
            drain: Whether the service may stop until its queue is empty.

        Raises:
            ConfigError: What is asked for does not go together.
            DeployError: There is no such deployment, or it does not work; what worked before still does.
            BackendError: A service refuses, or does not answer.
        """
        _refuse_problems(check_access(self.account, SystemClock()))
        waiting = Waiting(SystemClock(), threading.Event().wait, click.echo)
        work = Deploy(self.account, self.name, waiting)
        try:
            if not is_plan:
                work.settle()
            if must_exist:
                find_deployment(self.account, self.name, "deploy" if rollback else "upgrade")
            plan = self._show(work, make_plan, rollback=rollback)
            if is_plan:
                return
            if not yes:
                click.confirm("go ahead?", abort=True)
            url = self._carry_out(work, plan, waiting, rollback=rollback, drain=drain)
        except (KeyboardInterrupt, click.Abort) as exc:
            raise DeployError(
                f"interrupted: {work.step}; the same command goes on from there, and "
                f"beholder status {self.name} --region {self.account.region} shows what is there"
            ) from exc
        self._tell_first_steps(url)

    def _show(self, work: Deploy, make_plan: Callable[[], Plan], *, rollback: bool) -> Plan:
        """Print the plan and what the account says to it, and return it."""
        plan = make_plan()
        if rollback:
            plan = work.earlier(plan)
        else:
            self._check_models(plan)
        for line in plan.lines():
            click.echo(line)
        self._check(plan)
        return plan

    def _carry_out(self, work: Deploy, plan: Plan, waiting: Waiting, *, rollback: bool, drain: bool) -> str:
        """Bring the deployment to its plan, and return its URL."""
        canary = Canary(self.name, self.account.region, waiting)
        if rollback:
            return work.roll_back(plan, canary=canary.check)
        with tempfile.TemporaryDirectory() as folder:
            waiting.tell("building the bundle")
            models = self.folders or self._running_models(plan, Path(folder))
            bundle = build_bundle(Path(folder), models, python=self.python)
            return work.run(plan, bundle, canary=canary.check, drain=drain)

    def _check_models(self, plan: Plan) -> None:
        """Refuse models that the bundle would not have; raises `ConfigError`."""
        models = plan.parameters["Models"]
        known = {BUILTIN_MODEL, *(one.resolve().name for one in self.folders)}
        missing = [one for one in models.split(",") if one not in known]
        if missing and models != plan.before.get("Models"):
            raise ConfigError(
                f"{', '.join(missing)} is neither {BUILTIN_MODEL} nor an imported model nor the path of a "
                "model folder"
            )

    def _check(self, plan: Plan) -> None:
        """Print what the account says to the plan; raises `DeployError` where it hinders it."""
        findings = check_before(self.account, self.name, plan.parameters, SystemClock())
        for one in findings:
            if one.level is Level.WARNING:
                click.echo(one.line())
        _refuse_problems(findings)

    def _running_models(self, plan: Plan, folder: Path) -> Sequence[Path]:
        """Return the folders of the running bundle's models, where the plan keeps them."""
        key = plan.before.get("BundleKey", "")
        if not key or plan.parameters["Models"] != plan.before["Models"]:
            return ()
        archive = BundleBucket(self.account, self.name).fetch(key, folder)
        return read_models(archive, folder) if archive else ()

    def _tell_first_steps(self, url: str) -> None:
        """Print the URL, an API key if there is none yet, and the first command to try."""
        click.echo(f"{self.name} answers at {url}")
        flags = {"stack": self.name, "region": self.account.region, "backend": "aws"}
        with open_backends(flags) as backends:
            if not [one for one in list_keys(backends.results) if one.name != CANARY]:
                made = create_key(
                    backends.results,
                    name=_FIRST_KEY,
                    scopes=[KeyScope.READ, KeyScope.WRITE],
                    now_s=SystemClock().now_s(),
                )
                others = f"beholder keys create NAME --stack {self.name} --region {self.account.region}"
                click.echo(f"API key, shown this once; `{others}` makes others:")
                click.echo(f"export BEHOLDER_API_KEY={made.text}")
        if missing := missing_record(Stack(self.account, self.name).outputs()):
            click.echo(missing)
        click.echo(f"beholder classify photo.jpg --url {url}")


def _refuse_problems(findings: Sequence[Finding]) -> None:
    if problems := [one for one in findings if one.level is Level.PROBLEM]:
        lines = "\n".join(one.line() for one in problems)
        raise DeployError(f"the account hinders the deployment; nothing was changed\n{lines}")
