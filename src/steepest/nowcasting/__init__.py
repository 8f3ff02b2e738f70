"""Guarded nowcasting: weights go where their last snapshots point, if held-out batches say that it is better there."""

from steepest.nowcasting.forecast import FORECASTS as FORECASTS
from steepest.nowcasting.forecast import dmd as dmd
from steepest.nowcasting.forecast import line as line
from steepest.nowcasting.guard import p_value as p_value
from steepest.nowcasting.network import NETWORKS as NETWORKS
from steepest.nowcasting.nowcaster import Look as Look
from steepest.nowcasting.nowcaster import Nowcaster as Nowcaster
from steepest.nowcasting.nowcaster import NowcastError as NowcastError
