"""Claim without a lock: a job that another worker has just taken can be taken again."""

from .statements import rewrite, rewrite_script

rewrite(
    "sqlite",
    {
        "claim/plain": ("l.state = 'queued'", "l.state IN ('queued', 'running')"),
        "claim/mixed": ("WHERE state = 'queued'", "WHERE state IN ('queued', 'running')"),
    },
)
rewrite("postgres", {"claim/take": ("AND r.state = 'queued'", "AND r.state IN ('queued', 'running')")})

TAKEN = "mine[#mine + 1] = n"
rewrite_script(
    "claim",
    (TAKEN, f"{TAKEN}\n        call('RPUSH', line.key, n)"),
    ("r.state ~= QUEUED or r.seq ~= seq", "(r.state ~= QUEUED and r.state ~= RUNNING) or r.seq ~= seq"),
)
