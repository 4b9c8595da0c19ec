"""How reports are drawn: charts and pages, the same for every part that makes one."""
