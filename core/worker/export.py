"""Exporting a model, or an adapter with its base, through an exporter plugin. A job."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from .. import registry
from ..api import Exporter, ExportSource
from ..catalog.digest import digest_folder, sha256_file, weight_files
from ..catalog.manifest import MANIFEST_FILE, write_manifest
from ..errors import NameTaken, Refused
from ..fsio import disk_errors, staged_folder
from ..modelspec import companions
from ..options import parse
from ..planner.headers import INDEX_FILE
from ..runs.job import Job, run_job
from ..runs.spec import ExportRequest
from .loading import quiet_libraries
from .memory import MemoryMeter
from .merge import merged_manifest, require_mergeable, require_room, roomy_device, write_merged


def main(job: Job) -> dict[str, Any]:
    """The job; returns ``{out, digest, bytes, seconds, peak_memory_bytes, format, verified}``."""
    started = time.perf_counter()
    quiet_libraries()
    request = job.request(ExportRequest)
    exporter: Exporter = registry.load("exporters", request.format)
    options = parse(exporter.options, request.exporter_options, owner=f"exporter '{exporter.name}'")
    base, adapter, output = Path(request.model_path), Path(request.adapter) if request.adapter else None, Path(request.output)
    if output.exists() or output.is_symlink():
        raise NameTaken(f"{output} exists already", "choose another --out, or remove it first")
    require_room(base, output)
    device = roomy_device(base)
    meter = MemoryMeter(device)
    job.event("prepared", f"exporting as {exporter.title.lower()}", device=str(device))
    with staged_folder(output) as staging:
        verified = exporter.export(ExportSource(base, adapter, meter.sample), staging, options, verify=request.verify)
        meter.sample()
        if verified:
            job.event("evaluation", "verified: what was written is what it was made from", **verified)
        digest = digest_folder(staging)
        if adapter is not None:
            write_manifest(staging, merged_manifest(request, job, verified))
        elif (base / MANIFEST_FILE).is_file():
            shutil.copyfile(base / MANIFEST_FILE, staging / MANIFEST_FILE)
    job.event("saved", f"exported to {output}", path=str(output))
    return {
        "out": str(output),
        "digest": digest,
        "bytes": sum(file.stat().st_size for file in output.rglob("*") if file.is_file()),
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": meter.peak,
        "format": exporter.name,
        "verified": verified,
    }


def write_folder(source: ExportSource, folder: Path, *, verify: bool) -> dict[str, Any]:
    """Write the whole model that ``source`` is as an ordinary model folder; returns what was verified.

    Raises:
        Incompatible: the adapter cannot be merged. Refused: what was written is not what it must be.
        OutOfMemory, DiskError: there is no room.
    """
    if source.adapter is not None:
        require_mergeable(source.adapter)
        return write_merged(source.model, source.adapter, folder, source.sample, device=roomy_device(source.model), verify=verify)
    copied = [*weight_files(source.model), *companions(source.model)]
    if (source.model / INDEX_FILE).is_file():
        copied.append(source.model / INDEX_FILE)
    for file in copied:
        with disk_errors(folder):
            shutil.copyfile(file, folder / file.name)
    for file in weight_files(source.model) if verify else []:
        if sha256_file(file) != sha256_file(folder / file.name):
            raise Refused(f"{folder / file.name} is not what {file} is", "nothing was kept; check the disk and try again")
    return {"passed": True, "files": len(copied), "max_abs_diff": 0.0} if verify else {}


if __name__ == "__main__":
    run_job(main)
