"""Claim without a lock: a job that another worker has just taken can be taken again."""

from .statements import rewrite

rewrite(
    {
        "claim/plain": ("l.state = 'queued'", "l.state IN ('queued', 'running')"),
        "claim/mixed": ("WHERE state = 'queued'", "WHERE state IN ('queued', 'running')"),
    }
)
