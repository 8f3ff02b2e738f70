"""What numbers from a few seeds and a few tasks allow one to say."""

from steepest.compare.statistics.binomial import share as share
from steepest.compare.statistics.curves import area as area
from steepest.compare.statistics.curves import first as first
from steepest.compare.statistics.holm import holm as holm
from steepest.compare.statistics.paired import ENOUGH as ENOUGH
from steepest.compare.statistics.paired import LEVEL as LEVEL
from steepest.compare.statistics.paired import Difference as Difference
from steepest.compare.statistics.paired import interval as interval
from steepest.compare.statistics.paired import paired as paired
from steepest.compare.statistics.profile import profile as profile
from steepest.compare.statistics.profile import ratios as ratios
from steepest.compare.statistics.profile import score as score
from steepest.compare.statistics.profile import speed as speed
from steepest.compare.statistics.ranks import leave_one_out as leave_one_out
from steepest.compare.statistics.ranks import mean_ranks as mean_ranks
from steepest.compare.statistics.ranks import ranks as ranks
from steepest.compare.statistics.student import power as power
from steepest.compare.statistics.student import quantile as quantile
from steepest.compare.statistics.student import seeds_needed as seeds_needed
from steepest.compare.statistics.student import tail as tail
