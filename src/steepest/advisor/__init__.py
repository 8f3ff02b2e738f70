"""Several tasks in one model: how they get on with each other, and what to do about it."""

from steepest.advisor.measure import Probe as Probe
from steepest.advisor.run import Advice as Advice
from steepest.advisor.run import advise as advise
