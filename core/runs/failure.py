"""Any exception, in the words of the errors that users see."""

from __future__ import annotations

import errno

from .. import errors, fsio

LESS_MEMORY = "lower per_device_train_batch_size or max_length, set gradient_checkpointing=true, or take qlora; `finetui plan` compares"

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def describe_error(problem: BaseException) -> errors.FineTUIError:
    """Any exception as one of the errors that users see; those of the family come back as they are."""
    if isinstance(problem, errors.FineTUIError):
        return problem
    text = str(problem).strip()
    name = type(problem).__name__
    if isinstance(problem, OSError) and problem.errno in _DISK_FULL:
        return _disk_full(problem)
    if "No space left on device" in text:  # libraries in Rust and C++ wrap the OSError in types of their own
        return errors.DiskError(f"the disk is full: {text}", "free some space, or use another --home")
    if isinstance(problem, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in text:
        return errors.OutOfMemory(
            f"out of memory: {text.splitlines()[0] if text else name}",
            LESS_MEMORY,
        )
    if "devices are busy or unavailable" in text or "device(s) is/are busy or unavailable" in text:
        return errors.DeviceBusy(
            f"the GPU is in use by others: {text.splitlines()[0]}", "try again when they are done: finetui runs resume"
        )
    return errors.WorkFailed(f"{name}: {text}" if text else name, "the traceback is in the run's console.log (`finetui runs logs`)")


def _disk_full(problem: OSError) -> errors.DiskError:
    try:
        with fsio.disk_errors(problem.filename or "the disk"):
            raise problem
    except errors.DiskError as known:
        return known
