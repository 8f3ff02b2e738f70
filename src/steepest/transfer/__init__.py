"""Transfer: a model that was trained on something else. One idea, one file."""

from steepest.transfer.decay_only import decay_only as decay_only
from steepest.transfer.freezing import Freezing as Freezing
from steepest.transfer.freezing import release as release
from steepest.transfer.head_first import head_first as head_first
from steepest.transfer.l2sp import Pull as Pull
from steepest.transfer.l2sp import l2sp as l2sp
from steepest.transfer.layer_decay import layer_decay as layer_decay
from steepest.transfer.layers import depths as depths
from steepest.transfer.rates import rates as rates
from steepest.transfer.start import start as start
from steepest.transfer.surgical import surgical as surgical
from steepest.transfer.unfreeze import unfreeze as unfreeze
from steepest.transfer.warm import warm as warm
