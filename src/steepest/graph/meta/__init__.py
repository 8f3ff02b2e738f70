"""Meta-training of ``neuron_graph``: ``python -m steepest.graph.meta``."""

from steepest.graph.meta.pes import Pairs as Pairs
from steepest.graph.meta.training import MetaTraining as MetaTraining
from steepest.graph.meta.training import Plan as Plan
