"""Graphs: training graph networks, and networks seen as graphs of neurons. torch_geometric is a guest here alone.

The tasks are found by the registry of tasks, which lies below and walks every room's ``tasks``. What a strategy's text
may name (``decay_only``, the recipe ``gnn``) lies below ``strategy``, for it needs no guest: the text form must not
depend on what is installed.
"""

from steepest.graph.adjacency import Adjacency as Adjacency
from steepest.graph.adjacency import GraphError as GraphError
from steepest.graph.adjacency import undirected as undirected
from steepest.graph.models import GraphNetwork as GraphNetwork
from steepest.graph.models import NodeNetwork as NodeNetwork
from steepest.graph.neural import NeuralGraph as NeuralGraph
from steepest.graph.neural import neural_graph as neural_graph
from steepest.graph.neural import random_orders as random_orders
