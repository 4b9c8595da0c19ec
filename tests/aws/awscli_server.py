"""AWS's own command line, loaded once: each command is a fork, with its caller's folder, words and files.

It runs in the environment that has `awscli`, which is not that of the tests. It takes a fifth of the CPU
time of a command that reads the descriptions of AWS's services itself.
"""

import json
import os
import signal
import socket
import sys

from awscli.clidriver import create_clidriver

# What the pages' commands speak to: described once, here.
_SERVICES = ("autoscaling", "cloudformation", "ec2", "iam", "s3", "sqs")


def serve(path: str, endpoint: str) -> None:
    """Run commands against one endpoint, until the process is ended."""
    driver = create_clidriver()
    for service in _SERVICES:
        driver.session.get_service_model(service)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection:
                asked, files, _, _ = socket.recv_fds(connection, 1 << 16, 3)
                while not asked.endswith(b"\n"):
                    asked += connection.recv(1 << 16)
                child = os.fork()
                if child == 0:
                    _run(driver, endpoint, json.loads(asked), files)
                for file in files:
                    os.close(file)
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                connection.sendall(str(status).encode())


def _run(driver: object, endpoint: str, asked: dict, files: list[int]) -> None:
    """Be one command; does not return."""
    status = 255
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.chdir(asked["folder"])
        os.environ.update(asked["environment"])
        status = driver.main(["--endpoint-url", endpoint, *asked["words"]])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
