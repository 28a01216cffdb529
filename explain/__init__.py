"""Explanation maps for every family in zoo/, computed from the model's own taps and attention (zoo/probe.py)."""

from explain.api import (
    METHODS as METHODS,
    Availability as Availability,
    Explanation as Explanation,
    ExplanationError as ExplanationError,
    Method as Method,
    Progress as Progress,
    available as available,
    explain as explain,
    silent as silent,
)
