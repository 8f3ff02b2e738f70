"""secure: sums of updates that show the server no single one, in the manner of SecAgg+."""

from steepest.federated.secure.client import Client as Client
from steepest.federated.secure.crypto import SecureError as SecureError
from steepest.federated.secure.plan import Secagg as Secagg
from steepest.federated.secure.plan import as_secure as as_secure
from steepest.federated.secure.protocol import Summed as Summed
from steepest.federated.secure.protocol import secure_sum as secure_sum
from steepest.federated.secure.refuse import refuse as refuse
from steepest.federated.secure.ring import Scale as Scale
from steepest.federated.secure.server import Server as Server
from steepest.federated.secure.uplink import SecureUplink as SecureUplink
from steepest.federated.secure.uplink import Sum as Sum
