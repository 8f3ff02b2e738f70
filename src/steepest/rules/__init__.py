"""Update rules: one family, one file."""

from steepest.rules.learning_rate import LearningRate as LearningRate
from steepest.rules.lion import Lion as Lion
from steepest.rules.lion import lion as lion
from steepest.rules.weight_decay import WeightDecay as WeightDecay
