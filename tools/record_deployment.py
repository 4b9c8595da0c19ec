"""Record the commands on a deployment, for the pictures docs/images/*.svg and for docs/walk-through.md.

Runs `beholder doctor`, `deploy`, `classify`, `load`, `status`, `logs`, `upgrade`, `deploy --rollback` and
`destroy` against moto, with instances that boot in the tests' harness, and prints each command and its
output. The walk-through shows them shortened; rich draws three of them as pictures. What the emulator lacks
is played: the network that leads the Elastic IP to the instance that has it, and the unit of systemd that
ships the log. Needs what `make test-aws` needs, and takes about ten minutes:

    python -P tools/record_deployment.py
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from aws.emulators import REGION, Emulator, emulator  # noqa: E402 -- the tests are no package that is installed
from aws.test_deploy import give_internet  # noqa: E402
from ec2.addresses import ElasticIps  # noqa: E402
from ec2.harness import Ec2Harness  # noqa: E402

NAME, PORT = "zoo", 8080
IMAGES = ROOT / "docs" / "images"
COLUMNS = 118
# A worker leaves after this time without work, so that `upgrade` need not wait for long.
HASTE = {"BEHOLDER_IDLE_S_MAX": "60", "BEHOLDER_DEPTH_LAG_S": "1", "BEHOLDER_STARTUP_S": "10"}
# The script of the guests' image is Debian's, whose python3 is this.
GUEST_PYTHON = "3.11"
PROMPT = re.compile(r"go ahead\? \[y/N\]: |to destroy it: ")
SECRET = re.compile(r"(bhk_\w{6})\w+")
# What the emulator says to a call that it does not know, and when the kernel started that guests share with
# this machine.
OF_EMULATOR = re.compile(r"(?<=does not answer: ).*|kernel -[\d.]+, ")
# rich's pictures load a font from the internet; these take the reader's own.
FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Terminal:
    """Runs commands, and prints them with what they print."""

    def __init__(self, moto: Emulator) -> None:
        self.beholder = str(Path(sys.executable).parent / "beholder")
        self.environment = os.environ | {
            "AWS_ENDPOINT_URL": moto.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def run(self, command: str, hidden: str = "", given: str = "") -> str:
        """Return what a command prints.

        Args:
            command: As it is shown.
            hidden: Options that only the emulator needs.
            given: What the person types.
        """
        done = subprocess.run(  # noqa: S603 -- our own commands
            [*command.split(), *hidden.split()],
            env=self.environment,
            cwd=ROOT,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        # A terminal echoes what is typed.
        shown = PROMPT.sub(lambda prompt: prompt[0] + given, done.stdout)
        print(f"$ {command}\n{shown}", flush=True)
        if done.returncode:
            raise SystemExit(f"exit status {done.returncode}")
        return shown


def draw(name: str, command: str, output: str) -> None:
    """Write a picture of a command and its output."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ ", style="bold green") + Text(command, style="bold"))
    console.print(Text(OF_EMULATOR.sub("…", SECRET.sub(r"\1…", output.rstrip()))))
    drawn = console.export_svg(title=command.partition(" --")[0], unique_id=name)
    (IMAGES / f"{name}.svg").write_text(FONT_FACE.sub("", drawn), encoding="utf-8")


@contextlib.contextmanager
def newer_version() -> Iterator[str]:
    """Yield a folder with a copy of beholder that differs by a comment, as a newer version would."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src" / "beholder", Path(folder) / "beholder")
        with (Path(folder) / "beholder" / "__init__.py").open("a", encoding="utf-8") as written:
            written.write("# newer\n")
        yield folder


def ship_logs(terminal: Terminal, harness: Ec2Harness, webs: set[str]) -> None:
    """Do as the log unit of each instance does, which needs systemd."""
    for instance in harness.startups:
        role = "web" if instance in webs else "worker"
        lines = [one for one in harness.console(instance).splitlines() if one.startswith("{")]
        subprocess.run(  # noqa: S603 -- our own command
            [terminal.beholder, "ship-logs", f"/beholder/{NAME}", f"{role}/{instance}"],
            env=terminal.environment,
            input="\n".join(lines) + "\n",
            text=True,
            check=True,
        )


def record(terminal: Terminal, harness: Ec2Harness, addresses: ElasticIps, image: str) -> None:
    """Run a deployment from its first command to its last."""
    only_here = f"--image {image} --python {GUEST_PYTHON} --expose cidr=127.0.0.0/8"
    deploy = f"beholder deploy {NAME} --max 4 --budget-per-hour 1"
    terminal.run(f"beholder doctor {NAME}")
    terminal.run(f"{deploy} --plan", only_here)
    made = terminal.run(deploy, only_here, given="y\n")
    draw("deploy", deploy, made)
    url = made.partition(f"{NAME} answers at ")[2].partition("\n")[0]
    terminal.environment["BEHOLDER_API_KEY"] = made.partition("BEHOLDER_API_KEY=")[2].partition("\n")[0]
    webs = {addresses.holder(url.removeprefix("http://").partition(":")[0])}
    terminal.run(f"beholder classify samples/coffee.jpg --url {url}")
    terminal.run(f"beholder load --num_request 60 --url {url}/upload --image_folder samples/")
    draw("status", f"beholder status {NAME}", terminal.run(f"beholder status {NAME}"))
    ship_logs(terminal, harness, webs)
    terminal.run(f"beholder logs {NAME} --role worker")
    with newer_version() as folder:
        terminal.environment["PYTHONPATH"] = folder
        terminal.run(f"beholder upgrade {NAME}", f"--python {GUEST_PYTHON}", given="y\n")
        del terminal.environment["PYTHONPATH"]
    terminal.run(f"beholder deploy {NAME} --rollback", given="y\n")
    destroy = f"beholder destroy {NAME} --delete-data"
    draw("destroy", destroy, terminal.run(destroy, given=f"{NAME}\n"))


def main() -> None:
    """Start what plays AWS, and record."""
    moto = emulator("moto")
    give_internet(moto)
    x86 = [{"Name": "architecture", "Values": ["x86_64"]}]
    image = moto.client("ec2").describe_images(Filters=x86)["Images"][0]["ImageId"]
    with Ec2Harness(moto.endpoint, HASTE, covered=[ROOT, Path(sys.prefix)]) as harness:
        addresses = ElasticIps(moto, harness, PORT)
        try:
            record(Terminal(moto), harness, addresses, image)
        finally:
            addresses.close()


if __name__ == "__main__":
    main()
