"""The pages: what they may load, how large they are, and that a browser keeps their files."""

import gzip
import re
from collections.abc import Iterator

import pytest

from beholder.web.routes.pages import ASSETS
from helpers.asgi import Answer
from helpers.web import Ask, ask, memory_ports

PAGES = ["/", "/docs", "/fleet"]
HTML = {"accept": "text/html"}
GZIP_BYTES_MAX = 150_000


def get(*paths: str, **headers: str) -> list[Answer]:
    asks = [Ask("GET", path, headers=HTML | headers) for path in paths]
    return list(ask(memory_ports(), *asks))


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_nothing_that_is_written_in_it(path: str) -> None:
    (answer,) = get(path)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    text = answer.body.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=", text)
    scripts = re.findall(r"<script([^>]*)>", text)
    assert scripts
    assert all("src=" in one or 'type="application/json"' in one for one in scripts)


def named(text: str) -> Iterator[str]:
    """Yield the name of each file that a page or a script loads."""
    for one in re.findall(r"""(?:src|href|from)[= ]"(/assets/[^"]+|\./[^"]+)\"""", text):
        yield one.rpartition("/")[2]


def test_the_pages_name_no_other_host_and_only_files_that_exist() -> None:
    answers = dict(zip([*PAGES, *ASSETS], get(*PAGES, *(f"/assets/{name}" for name in ASSETS)), strict=True))
    assert {answer.status for answer in answers.values()} == {200}
    texts = {name: answer.body.decode() for name, answer in answers.items()}
    for name, text in texts.items():
        if name not in ("/docs", "uplot.js"):  # the interface has links, and uPlot names its own page
            assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, name
    loaded = {one for name, text in texts.items() if name != "uplot.js" for one in named(text)}
    assert {"index.js", "index.css", "icon.svg"} <= loaded <= set(ASSETS)


def test_all_pages_with_all_their_files_are_small() -> None:
    answers = get(*PAGES, *(f"/assets/{name}" for name in ASSETS))
    assert sum(len(gzip.compress(answer.body)) for answer in answers) <= GZIP_BYTES_MAX


def test_a_browser_that_has_a_file_is_told_so() -> None:
    (whole,) = get("/assets/index.js")
    tag = whole.headers["etag"]
    known, changed = (
        get("/assets/index.js", **{"if-none-match": tag}),
        get("/assets/index.js", **{"if-none-match": '"other"'}),
    )
    assert (known[0].status, known[0].body) == (304, b"")
    assert changed[0].body == whole.body


@pytest.mark.parametrize("name", ["none.js", "index.html", "..%2Findex.html", "index.js%0A"])
def test_nothing_else_is_served_beside_them(name: str) -> None:
    (answer,) = get(f"/assets/{name}")
    assert answer.status == 404
