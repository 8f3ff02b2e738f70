"""privacy: what a federation promises each client, counted, and refused where it would not hold."""

from steepest.federated.privacy.accounting import Release as Release
from steepest.federated.privacy.accounting import calibrated as calibrated
from steepest.federated.privacy.accounting import epsilon as epsilon
from steepest.federated.privacy.banded import Banded as Banded
from steepest.federated.privacy.central import Central as Central
from steepest.federated.privacy.examples import Examples as Examples
from steepest.federated.privacy.ftrl import Ftrl as Ftrl
from steepest.federated.privacy.local import Local as Local
from steepest.federated.privacy.mechanism import Guard as Guard
from steepest.federated.privacy.mechanism import Privacy as Privacy
from steepest.federated.privacy.mechanism import as_privacy as as_privacy
from steepest.federated.privacy.noise import KEY as KEY
from steepest.federated.privacy.noise import Noise as Noise
from steepest.federated.privacy.noise import key_of as key_of
from steepest.federated.privacy.refuse import refuse as refuse
