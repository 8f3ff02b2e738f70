"""A run as plain data in a folder: what ran, what was measured, and where to go on.

.. code-block:: text

    run.json                 what ran: task, strategy, seed, steps (or experiment.json, for many runs)
    metrics.jsonl            one JSON object a line, append-only
    checkpoint.pt            the newest state; checkpoint.previous.pt is the one before it
    result.json              how it ended; written last

Every file but ``metrics.jsonl`` appears whole or not at all: it is written under another name, flushed to the disk and
renamed. A line of ``metrics.jsonl`` that was torn by a crash is dropped when the file is next opened. So a process may
be killed at any moment, and what is left on the disk is a state that it passed through.
"""

from steepest.core.records.checkpoints import load_checkpoint as load_checkpoint
from steepest.core.records.checkpoints import load_model as load_model
from steepest.core.records.checkpoints import read_checkpoint as read_checkpoint
from steepest.core.records.checkpoints import save_checkpoint as save_checkpoint
from steepest.core.records.files import plain as plain
from steepest.core.records.files import read_json as read_json
from steepest.core.records.files import slug as slug
from steepest.core.records.files import sweep as sweep
from steepest.core.records.files import try_place as try_place
from steepest.core.records.files import write_bytes as write_bytes
from steepest.core.records.files import write_json as write_json
from steepest.core.records.folders import differences as differences
from steepest.core.records.folders import lock as lock
from steepest.core.records.folders import read_result as read_result
from steepest.core.records.folders import read_run as read_run
from steepest.core.records.folders import refuse_other as refuse_other
from steepest.core.records.metrics import Metrics as Metrics
from steepest.core.records.metrics import read_metrics as read_metrics
from steepest.core.records.names import CHECKPOINT as CHECKPOINT
from steepest.core.records.names import DAMAGED as DAMAGED
from steepest.core.records.names import EXPERIMENT as EXPERIMENT
from steepest.core.records.names import FINDINGS as FINDINGS
from steepest.core.records.names import METRICS as METRICS
from steepest.core.records.names import PREVIOUS as PREVIOUS
from steepest.core.records.names import RECOMMENDATION as RECOMMENDATION
from steepest.core.records.names import RESULT as RESULT
from steepest.core.records.names import RUN as RUN
from steepest.core.records.names import SCHEMA as SCHEMA
from steepest.core.records.names import STABLE as STABLE
from steepest.core.records.names import SUMMARY as SUMMARY
from steepest.core.records.provenance import command as command
from steepest.core.records.provenance import commit as commit
from steepest.core.records.provenance import cores as cores
from steepest.core.records.provenance import machine as machine
from steepest.core.records.provenance import provenance as provenance
from steepest.core.records.provenance import versions as versions
from steepest.core.records.taking import take as take
