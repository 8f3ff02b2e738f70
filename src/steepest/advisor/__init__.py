"""Several tasks in one model: how they get on with each other, and what to do about it."""

from steepest.advisor.advise import Advice as Advice
from steepest.advisor.advise import advise as advise
from steepest.advisor.measure import Probe as Probe
