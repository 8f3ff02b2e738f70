"""federated: many clients with different rows, one model.

>>> import steepest as st
>>> st.federated.FedAvg(client=st.sgd(lr=0.1), server=st.adam(lr=0.01))
fedavg(server=adam(lr=0.01))
"""

from steepest.federated.attacks import as_attack as as_attack
from steepest.federated.compress import as_codec as as_codec
from steepest.federated.errors import FederationError as FederationError
from steepest.federated.federation import Federation as Federation
from steepest.federated.journal import Federated as Federated
from steepest.federated.method import Method as Method
from steepest.federated.method import Round as Round
from steepest.federated.method import method as method
from steepest.federated.methods import Aligned as Aligned
from steepest.federated.methods import Apfl as Apfl
from steepest.federated.methods import Ditto as Ditto
from steepest.federated.methods import FedAsync as FedAsync
from steepest.federated.methods import FedAvg as FedAvg
from steepest.federated.methods import FedBuff as FedBuff
from steepest.federated.methods import FedDecorr as FedDecorr
from steepest.federated.methods import FedDyn as FedDyn
from steepest.federated.methods import FedExP as FedExP
from steepest.federated.methods import FedNova as FedNova
from steepest.federated.methods import FedPer as FedPer
from steepest.federated.methods import FedProx as FedProx
from steepest.federated.methods import FedRep as FedRep
from steepest.federated.methods import FineTune as FineTune
from steepest.federated.methods import Mifa as Mifa
from steepest.federated.methods import Mime as Mime
from steepest.federated.methods import MimeLite as MimeLite
from steepest.federated.methods import Moon as Moon
from steepest.federated.methods import PFedMe as PFedMe
from steepest.federated.methods import Qffl as Qffl
from steepest.federated.methods import Scaffold as Scaffold
from steepest.federated.methods import as_method as as_method
from steepest.federated.partition import Partition as Partition
from steepest.federated.partitioners import Dealer as Dealer
from steepest.federated.partitioners import classes as classes
from steepest.federated.partitioners import dirichlet as dirichlet
from steepest.federated.partitioners import dirichlet_clients as dirichlet_clients
from steepest.federated.partitioners import features as features
from steepest.federated.partitioners import iid as iid
from steepest.federated.partitioners import natural as natural
from steepest.federated.partitioners import quantity as quantity
from steepest.federated.privacy import as_privacy as as_privacy
from steepest.federated.robust import as_aggregate as as_aggregate
from steepest.federated.secure import as_secure as as_secure
