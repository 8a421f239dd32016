"""The job process of push and pull runs: ``python -m finetui.hub.jobs RUN_DIR``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ..core import registry
from ..core.api import HubContext, Transfer
from ..core.fsio import staged_folder
from ..core.runs.job import Job, Stopped, run_job
from ..core.runs.spec import HubRequest
from .transfer import accept, make_parcel


def main(job: Job) -> dict[str, Any]:
    """Do the transfer; returns ``{repo, revision, files, bytes_sent, url, adapter}``."""
    request = job.request(HubRequest)
    return push(job, request) if job.spec.kind == "push" else pull(job, request)


def push(job: Job, request: HubRequest) -> dict[str, Any]:
    """Publish an adapter folder."""
    hub = registry.load("hubs", request.hub)
    parcel = make_parcel(job.home, request.adapter, request.repo)
    plan = parcel.plan(request.repo, request.private)
    for warning in plan.warnings:
        job.event("warning", warning)
    with tempfile.TemporaryDirectory(prefix="upload-", dir=job.dir) as folder:
        parcel.unpack(Path(folder))
        transfer = hub.push(
            plan, Path(folder), _context(job, request), revision=request.revision, pull_request=request.pull_request,
            message=f"Upload {request.name or 'adapter'} with FineTUI",
        )  # fmt: skip
    return _result(transfer, request.adapter)


def pull(job: Job, request: HubRequest) -> dict[str, Any]:
    """Fetch an adapter into the catalog; it appears there whole or not at all."""
    hub = registry.load("hubs", request.hub)
    target = job.home.create().adapters / request.name
    with staged_folder(target) as staging:
        transfer = hub.pull(request.repo, request.revision, staging, _context(job, request))
        accept(staging, request.name, request.hub, transfer)
    job.event("saved", f"{request.name} is in the catalog", path=str(target))
    return _result(transfer, str(target))


def _context(job: Job, request: HubRequest) -> HubContext:
    def progress(done: int, total: int, _name: str) -> None:
        if job.stop_requested():
            raise Stopped()
        job.progress(done, total, "bytes")

    return HubContext(Path(request.home) if request.home else job.home.root, request.settings, progress)


def _result(transfer: Transfer, adapter: str) -> dict[str, Any]:
    return {
        "repo": transfer.repo, "revision": transfer.revision, "files": list(transfer.files), "bytes_sent": transfer.bytes_sent,
        "url": transfer.url, "adapter": adapter,
    }  # fmt: skip


if __name__ == "__main__":
    run_job(main)
