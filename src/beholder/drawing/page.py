"""Reports as one self-contained HTML page that follows the reader's theme."""

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["card", "page", "table", "tile"]

_STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#16202c;--soft:#5a6675;--edge:#dfe4ea;
--good:#2563c9;--bad:#c62828;--line:#8a5a00}
@media (prefers-color-scheme:dark){:root{--page:#10151b;--card:#19212a;--ink:#e8edf3;
--soft:#9aa7b6;--edge:#2c3742;--good:#6aa6ff;--bad:#ff7070;--line:#f0b429}}
*{box-sizing:border-box}
body{margin:0;padding:28px 20px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto}
h1{font-size:24px;margin:0;line-height:1.25}h2{font-size:15px;margin:0 0 10px}
p{margin:4px 0 20px;color:var(--soft);overflow-wrap:anywhere}
p.hint{margin:-8px 0 8px;font-size:13px}
.tiles{display:grid;grid-template-columns:repeat(var(--columns),1fr);gap:12px;margin-bottom:12px}
@media (max-width:900px){.tiles{grid-template-columns:1fr 1fr}}
.card{overflow-x:auto;background:var(--card);
border:1px solid var(--edge);border-radius:10px;padding:16px 18px}
.tile b{display:block;font-size:25px;line-height:1.3;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px;display:block}
.tile.bad b{color:var(--bad)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr));gap:12px;margin:12px 0}
svg{display:block;width:100%;height:auto}.wide svg{min-width:680px}
.grid{stroke:var(--edge);stroke-width:1}
.tick,.name{font-size:12px;fill:var(--soft);font-variant-numeric:tabular-nums}
.point{fill:var(--good);fill-opacity:.55}.point:hover{fill-opacity:1;stroke:var(--ink)}
.bar{fill:var(--good);fill-opacity:.8}.bar:hover{fill-opacity:1}
.point.error,.bar.error{fill:var(--bad);fill-opacity:.9}
.line{fill:none;stroke:var(--line);stroke-width:2;pointer-events:none}
.key{font-weight:600}.key.good{color:var(--good)}.key.bad{color:var(--bad)}.key.line-key{color:var(--line)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--edge);overflow-wrap:anywhere}
th{font-weight:500;color:var(--soft)}tr:last-child>*{border-bottom:0}
td.number,th.number{text-align:right;padding-right:0;white-space:nowrap}
"""


def page(title: str, body: str, style: str = "") -> str:
    """Return the whole page.

    Args:
        title: Plain text.
        body: HTML.
        style: CSS rules after the common ones.
    """
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style>"
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{body}</main></body></html>\n'


def tile(name: str, figure: str, text: str, *, is_bad: bool = False) -> str:
    """Return one figure with its name and a line of explanation."""
    kind = "card tile bad" if is_bad else "card tile"
    lines = f"<span>{escape(name)}</span><b>{escape(figure)}</b><span>{escape(text)}</span>"
    return f'<div class="{kind}">{lines}</div>'


def card(title: str, content: str, hint: str = "") -> str:
    """Return a framed section of the page; `content` and `hint` are HTML."""
    note = f'<p class="hint">{hint}</p>' if hint else ""
    return f'<section class="card"><h2>{title}</h2>{note}{content}</section>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain texts, the last column aligned to the right."""
    top = _row("th", head)
    return f"<table><thead>{top}</thead><tbody>{''.join(_row('td', row) for row in rows)}</tbody></table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    *texts, number = (escape(cell) for cell in cells)
    start = "".join(f"<{tag}>{text}</{tag}>" for text in texts)
    return f'<tr>{start}<{tag} class="number">{number}</{tag}></tr>'
