"""The files of a Flower app, with places for what is the federation's own."""

from __future__ import annotations

PROJECT = """\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "federation-app"
version = "1.0.0"
description = "A federation of steepest, as a Flower app"
license = "Apache-2.0"
dependencies = ["{{flower}}", "steepest[tasks,federated]"]

[tool.hatch.build.targets.wheel]
packages = ["federation_app"]

[tool.flwr.app]
publisher = "me"

[tool.flwr.app.components]
serverapp = "federation_app.server:app"
clientapp = "federation_app.client:app"

# out: where the server keeps records and a checkpoint after each round; empty: nowhere
# wait: seconds that a round waits for a node that is lost; timeout: seconds that a node has to answer
[tool.flwr.app.config]
num-rounds = {{rounds}}
out = {{out}}
wait = 600.0
timeout = 3600.0
"""

FEDERATION = '''\
"""The federation: the same on the server and on every node."""

import steepest as st
from steepest.federated.partitioners import parse


def federation() -> st.Federation:
    return st.Federation(
        {{task}},
        parse({{partition}}, {{clients}}),
        {{method}},{{arguments}}
    )
'''

SERVER = '''\
"""The server: rounds, records and checkpoints."""

from federation_app.federation import federation
from steepest.federated.flower import server_app

app = server_app(federation)
'''

CLIENT = '''\
"""A node: it trains the clients that are its own."""

from federation_app.federation import federation
from steepest.federated.flower import client_app

app = client_app(federation)
'''

README = """\
# A federation as a Flower app

{{clients}} clients, {{method}}, {{rounds}} rounds.

Of P nodes the one with `partition-id=p` has the clients p, p + P, p + 2P, ...; with as many nodes as clients each has
one. Nodes and server deal the same rows from the same seed, so this comes to the weights of the simulation.
`federation_app/federation.py` is all that differs from another federation.

On every machine: `pip install "{{flower}}" "steepest[tasks,federated]"`.

## On one machine

```console
export FLWR_HOME=$PWD/.flwr FLWR_TELEMETRY_ENABLED=0
mkdir -p $FLWR_HOME
printf '[superlink]\\ndefault = "here"\\n\\n[superlink.here]\\n' > $FLWR_HOME/config.toml
printf 'address = "127.0.0.1:8000"\\ninsecure = true\\n' >> $FLWR_HOME/config.toml

flower-superlink --insecure --host 127.0.0.1 --port 8000 --disable-runtime-dependency-installation &
for i in 0 1; do
  flower-supernode --insecure --superlink 127.0.0.1:8000 --port 900$i \\
      --node-config "partition-id=$i num-partitions=2" &
done
flwr run . here --stream
```

## What may die

- **A node**: its clients are asked again when it is back, or when another has its partition-id. A round waits `wait`
  seconds; then it goes on without them, and the records say so.
- **The SuperLink or the ServerApp**: start the SuperLink and the nodes again, and `flwr run` with the same `out`. It
  goes on after the last round that was finished, and ends with the same weights. (Flower by itself does not go on with
  a run whose SuperLink was killed.)

Records lie in `out` on the server's machine: `steepest report OUT` draws them.

## With TLS and nodes that are known

```console
# a certificate authority, and a certificate of the server with the names that nodes call it by
openssl req -x509 -newkey rsa:3072 -nodes -days 365 -keyout ca.key -out ca.crt -subj '/CN=federation-ca'
openssl req -newkey rsa:3072 -nodes -keyout server.key -out server.csr -subj '/CN=server.example'
printf 'subjectAltName=DNS:server.example,DNS:localhost,IP:127.0.0.1\\n' > san.txt
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -extfile san.txt -out server.crt

flower-superlink --ssl-ca-certfile ca.crt --ssl-certfile server.crt --ssl-keyfile server.key \\
    --enable-supernode-auth --host 0.0.0.0 --port 8000 --disable-runtime-dependency-installation

# in $FLWR_HOME/config.toml, in place of "insecure = true":   root-certificates = "/path/to/ca.crt"

# a key for each node; its public half is made known to the SuperLink
ssh-keygen -t ecdsa -b 384 -N '' -f node0
flwr supernode register node0.pub here

flower-supernode --superlink server.example:8000 --root-certificates ca.crt --auth-supernode-private-key node0 \\
    --node-config 'partition-id=0 num-partitions=2'
```

Keep private keys off this folder: `flwr run` sends the app's files to the SuperLink.

## What to know

- Every machine loads the task `{{task}}` by its name. Nodes train on the rows of their own clients alone. The server
  measures: it reads validation and test rows and, for the spread over clients, the rows of all clients.
- What a simulation draws or does in the server's place (attacks, absence, clocks, codecs, local noise, secret sums) is
  refused by name.
"""
