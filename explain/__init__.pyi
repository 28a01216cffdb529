from .api import (
    METHODS as METHODS,
    Availability as Availability,
    Method as Method,
    available as available,
    explain as explain,
)
from .result import Explanation as Explanation, ExplanationError as ExplanationError
from .steps import Progress as Progress, silent as silent
