"""How good the global model is: figures of rounds, the best round, and when to stop.

Figures stand with a round under dotted names: ``evaluation.…`` are a scorer's, ``participants.…`` the means of what the
participants of the round report. Any figure of a round may say which is the best, and when the training ends.
"""

from disco.core.evaluation.figures import EVALUATION, PARTICIPANTS, require_figures
from disco.core.evaluation.plan import Aim, Plan, Stopping, plan_of, read_plan
from disco.core.evaluation.progress import Mark, Progress
from disco.core.evaluation.reported import Reported

__all__ = [
    "EVALUATION",
    "PARTICIPANTS",
    "Aim",
    "Mark",
    "Plan",
    "Progress",
    "Reported",
    "Stopping",
    "plan_of",
    "read_plan",
    "require_figures",
]
