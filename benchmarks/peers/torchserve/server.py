"""TorchServe over the shared model: packs the archive, writes the configuration, then becomes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from served import BATCH_WINDOW_SECONDS, MAX_BATCH, MODEL, PORT, SCRATCH, free_port

programs = Path(sys.executable).parent
(SCRATCH / "model-config.yaml").write_text(
    f"minWorkers: 1\nmaxWorkers: 1\nbatchSize: {MAX_BATCH}\n"
    f"maxBatchDelay: {int(BATCH_WINDOW_SECONDS * 1000)}\nresponseTimeout: 120\n"
)
handler = Path(__file__).with_name("handler.py")
subprocess.run(
    [
        *(programs / "torch-model-archiver", "--model-name", MODEL, "--version", "1.0", "--handler", handler),
        *("--config-file", SCRATCH / "model-config.yaml", "--export-path", SCRATCH, "--force"),
    ],
    check=True,
)
log_levels = SCRATCH / "log4j2.xml"
log_levels.write_text(
    '<Configuration><Appenders><Console name="out"/></Appenders>'
    '<Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers></Configuration>'
)
configuration = SCRATCH / "config.properties"
configuration.write_text(
    f"inference_address=http://127.0.0.1:{PORT}\nmanagement_address=http://127.0.0.1:{free_port()}\n"
    f"metrics_address=http://127.0.0.1:{free_port()}\ngrpc_inference_port={free_port()}\n"
    f"grpc_management_port={free_port()}\nmodel_store={SCRATCH}\nload_models={MODEL}={MODEL}.mar\n"
    "disable_token_authorization=true\njob_queue_size=10000\ndefault_response_timeout=120\n"
    "enable_envvars_config=false\ndisable_system_metrics=true\n"
)
environment = {
    **os.environ,
    "PATH": f"{programs}:{os.environ['PATH']}",
    "LOG_LOCATION": str(SCRATCH),
    "METRICS_LOCATION": str(SCRATCH),
}
os.chdir(SCRATCH)
os.execve(
    programs / "torchserve",
    ["torchserve", "--start", "--foreground", "--ncs", "--ts-config", configuration, "--log-config", log_levels],
    environment,
)
