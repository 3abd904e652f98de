"""Run by FLARE's own Python: writes the job, hands it in and waits for its end. `flare_job.py FOLDER ADMIN_KIT ROUNDS [INTERVAL]`."""

import json
import sys
from pathlib import Path

from nvflare.fuel.flare_api.flare_api import new_secure_session
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import FrameworkType, ScriptRunner

from bench.networks.flare_server import FromFile
from bench.networks.stopwatch import SITES

SCRIPT = Path(__file__).with_name("flare_site.py")


def main(folder: Path, kit: Path, rounds: int, interval: str) -> None:
    """Write the job, hand it in, wait."""
    job = FedJob(name="round", min_clients=len(SITES))
    job.to_server(FromFile(path=str(folder / "base.npz"), num_clients=len(SITES), num_rounds=rounds))
    for site in SITES:
        job.to(ScriptRunner(script=str(SCRIPT), script_args=site, framework=FrameworkType.NUMPY), site)
    job.export_job(str(folder / "job"))
    if interval:
        for config in (folder / "job").rglob("config_fed_server.json"):
            content = json.loads(config.read_text(encoding="utf-8"))
            content.setdefault("server", {})["task_request_interval"] = float(interval)
            config.write_text(json.dumps(content), encoding="utf-8")
    session = new_secure_session(kit.name, str(kit), timeout=120)
    try:
        job_id = session.submit_job(str(folder / "job" / "round"))
        session.monitor_job(job_id, timeout=800, poll_interval=1.0)
    finally:
        session.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
