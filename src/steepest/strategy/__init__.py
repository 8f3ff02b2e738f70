"""A whole training strategy as one value, with an exact text form."""

from steepest.strategy.decay_all import DecayAll as DecayAll
from steepest.strategy.partition import Partition as Partition
from steepest.strategy.table import collect as collect
from steepest.strategy.table import lookup as lookup
from steepest.strategy.table import names as names
from steepest.strategy.table import table as table
from steepest.strategy.text import StrategySyntaxError as StrategySyntaxError
from steepest.strategy.text import parse as parse
from steepest.strategy.value import Strategy as Strategy
from steepest.strategy.value import StrategyError as StrategyError
from steepest.strategy.value import lift as lift
